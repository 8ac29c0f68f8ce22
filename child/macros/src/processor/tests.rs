use super::*;
use syn::parse_quote;

fn refused(options: TokenStream, function: &ItemFn) -> String {
    match parse(options).and_then(|options| expand(&options, function)) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

fn plain() -> ItemFn {
    parse_quote!(
        fn ledger(events: Events<Order>) {}
    )
}

#[test]
fn options_are_refused_under_their_names_with_a_way_out() {
    for (options, words) in [
        (quote!(), ["needs a stream", "stream = orders"]),
        (quote!(stream = "orders"), ["`stream`", "function"]),
        (quote!(stream), ["`stream` needs a value", "known"]),
        (quote!(stream = a, stream = b), ["`stream`", "twice"]),
        (quote!(stream = a, name = ""), ["`name`", "empty"]),
        (
            quote!(stream = a, streams = b),
            ["`streams` is unknown", "`stream`"],
        ),
        (
            quote!(stream = a, exception_policy = panic),
            ["`exception_policy`", "`halt`"],
        ),
        (
            quote!(stream = a, exception_policy = retry, then = retry),
            ["`then`", "`ignore`"],
        ),
        (quote!(stream = a, then = ignore), ["`then`", "= retry"]),
        (
            quote!(stream = a, exception_policy = halt, max_retries = 3),
            ["`max_retries`", "= retry"],
        ),
        (
            quote!(stream = a, backoff = constant("1s")),
            ["`backoff`", "= retry"],
        ),
        (quote!(stream = a, timeout = "0"), ["`timeout`", "zero"]),
        (quote!(stream = a, memory = "1KiB"), ["`memory`", "16MiB"]),
        (
            quote!(stream = a, prefetch_count = 0),
            ["`prefetch_count`", "10000"],
        ),
        (
            quote!(stream = a, prefetch_count = "8"),
            ["`prefetch_count`", "10000"],
        ),
        (
            quote!(stream = a, lock_expiry = "0"),
            ["`lock_expiry`", "longer"],
        ),
        (
            quote!(stream = a, grace_period = 3),
            ["`grace_period`", "\"30s\""],
        ),
        (
            quote!(stream = a, join_delay = "soon"),
            ["`join_delay`", "`soon`"],
        ),
        (
            quote!(stream = a, middleware = Audit),
            ["`middleware`", "[Timing, Audit]"],
        ),
    ] {
        let text = refused(options.clone(), &plain());
        let is_told = words.iter().all(|word| text.contains(word));
        assert!(is_told, "{options}: {text}");
    }
}

#[test]
fn what_other_libraries_and_tasks_have_is_refused_with_the_reason() {
    for (name, why) in WITHOUT {
        let key = Ident::new(name, Span::call_site());
        let text = refused(quote!(stream = a, #key = 3), &plain());
        assert!(text.contains(name) && text.contains(why), "{text}");
    }
    for name in OF_TASKS {
        let key = Ident::new(name, Span::call_site());
        let text = refused(quote!(stream = a, #key = 3), &plain());
        assert!(
            text.starts_with(&format!("`{name}` is for tasks")),
            "{text}"
        );
    }
}

#[test]
fn functions_that_are_no_processors_are_refused() {
    let cases: [(ItemFn, &str); 7] = [
        (
            parse_quote!(
                fn f() {}
            ),
            "takes `Events<T>`",
        ),
        (
            parse_quote!(
                fn f(events: Events<u8>, more: u8) {}
            ),
            "takes `Events<T>`",
        ),
        (
            parse_quote!(
                fn f(order: Order) {}
            ),
            "takes `Events<T>`",
        ),
        (
            parse_quote!(
                fn f(events: Events<u8>, ctx: &Context) {}
            ),
            "first",
        ),
        (
            parse_quote!(
                fn f<T>(events: Events<T>) {}
            ),
            "a processor cannot be generic",
        ),
        (
            parse_quote!(
                fn f(events: &Events<u8>) {}
            ),
            "a processor's arguments are owned",
        ),
        (
            parse_quote!(
                async fn f(events: Events<u8>) {}
            ),
            "plain `fn`",
        ),
    ];
    for (function, words) in cases {
        let text = refused(quote!(stream = orders), &function);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_limit_is_that_of_the_shared_crate() {
    assert_eq!(PREFETCH_MOST, bulkhead_shared::stream::PREFETCH_MOST);
}

#[test]
fn policies_are_words_or_texts() {
    for (options, expected) in [
        (quote!(stream = a), "ExceptionPolicy::Halt"),
        (
            quote!(stream = a, exception_policy = IGNORE),
            "ExceptionPolicy::Ignore",
        ),
        (
            quote!(stream = a, exception_policy = "dead-letter"),
            "ExceptionPolicy::DeadLetter",
        ),
        (
            quote!(stream = a, exception_policy = retry),
            "LastResort::Quarantine",
        ),
        (
            quote!(
                stream = a,
                exception_policy = retry,
                then = dead_letter,
                max_retries = 3
            ),
            "LastResort::DeadLetter",
        ),
    ] {
        let Ok(options) = parse(options) else {
            panic!("{expected} was refused");
        };
        let text = options.exception_policy().to_string().replace(' ', "");
        assert!(text.contains(expected), "{text}");
    }
}
