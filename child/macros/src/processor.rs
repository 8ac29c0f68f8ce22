//! What stands in the brackets of `#[processor(...)]`, and the code beside its function.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Lit, Path, Result, Type};

use crate::expand::{beside, reply};
use crate::options::{
    backoff, duration, expected, function, literal, memory, named, option, pairs, retries, timeout,
};
use crate::signature::{Param, check};
use crate::units::check_name;

const KNOWN: &str = "`stream`, `name`, `exception_policy`, `then`, `max_retries`, `backoff`, \
                     `timeout`, `patience`, `memory`, `profile`, `prefetch_count`, `lock_expiry`, \
                     `grace_period`, `join_delay`, `middleware`";

/// Options that such libraries have, and why there is nothing to be set here.
const WITHOUT: [(&str, &str); 4] = [
    (
        "assignment_attempts",
        "a supervisor takes free partitions for as long as it lives",
    ),
    (
        "assignment_sleep",
        "a supervisor hears of partitions that are free",
    ),
    (
        "read_timeout",
        "the supervisor reads for all partitions, and is told of new events",
    ),
    (
        "pool_size",
        "a processor has no connections: its supervisor reads for it",
    ),
];

/// Options of tasks.
const OF_TASKS: [&str; 26] = [
    "queue",
    "result_ttl",
    "concurrency",
    "positional",
    "mechanism",
    "run_in_main_thread",
    "cron",
    "tz",
    "every",
    "at",
    "at_start",
    "on",
    "misfire",
    "overlap",
    "jitter",
    "args",
    "kwargs",
    "on_submit",
    "pre_op",
    "post_op",
    "do_retry",
    "do_callback",
    "on_retry",
    "on_failure",
    "on_success",
    "on_revocation",
];

const POLICIES: &str = "`halt`, `quarantine`, `ignore`, `retry` or `dead_letter`";

/// The options that were given, as the expressions they become.
#[derive(Default)]
pub(crate) struct Options {
    stream: Option<Path>,
    name: Option<String>,
    policy: Option<(String, Span)>,
    then: Option<(String, Span)>,
    max_retries: Option<(TokenStream, Span)>,
    backoff: Option<(TokenStream, Span)>,
    timeout_ms: Option<u64>,
    patience_ms: Option<u64>,
    memory: Option<u64>,
    profile: Option<String>,
    prefetch: Option<u32>,
    lock_expiry_ms: Option<u64>,
    grace_period_ms: Option<u64>,
    join_delay_ms: Option<u64>,
    middleware: Vec<Expr>,
}

pub(crate) fn parse(tokens: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in pairs(tokens, KNOWN)? {
        options.set(&key, &value)?;
    }
    for (name, given) in [
        ("then", options.then.as_ref().map(|(_, span)| span)),
        (
            "max_retries",
            options.max_retries.as_ref().map(|(_, span)| span),
        ),
        ("backoff", options.backoff.as_ref().map(|(_, span)| span)),
    ] {
        let is_retried = options
            .policy
            .as_ref()
            .is_some_and(|(policy, _)| policy == "retry");
        if let Some(span) = given
            && !is_retried
        {
            let text = format!("`{name}` is for `exception_policy = retry`");
            return Err(Error::new(*span, text));
        }
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, key: &Ident, value: &Expr) -> Result<()> {
        let name = &*key.to_string();
        let span = value.span();
        match name {
            "stream" => {
                let what = "the name of a function that returns the `Stream`";
                self.stream = Some(function(name, value, what)?);
            }
            "name" => self.name = Some(named("task", name, value)?),
            "exception_policy" => self.policy = Some((word(name, value, true)?, span)),
            "then" => self.then = Some((word(name, value, false)?, span)),
            "max_retries" => self.max_retries = Some((retries(value)?, span)),
            "backoff" => self.backoff = Some((backoff(value)?, span)),
            "timeout" => self.timeout_ms = Some(timeout(value)?),
            "patience" => self.patience_ms = Some(duration(name, value)?),
            "memory" => self.memory = Some(memory(value)?),
            "profile" => self.profile = Some(named("profile", name, value)?),
            "prefetch_count" => self.prefetch = Some(prefetch(value)?),
            "lock_expiry" => self.lock_expiry_ms = Some(some_time(name, value)?),
            "grace_period" => self.grace_period_ms = Some(duration(name, value)?),
            "join_delay" => self.join_delay_ms = Some(duration(name, value)?),
            "middleware" => match value {
                Expr::Array(list) => self.middleware = list.elems.iter().cloned().collect(),
                _ => return Err(expected(value, name, "a list, such as `[Timing, Audit]`")),
            },
            _ => return Err(Error::new(key.span(), strange(name))),
        }
        Ok(())
    }

    fn exception_policy(&self) -> TokenStream {
        let variant = |word: &str| match word {
            "quarantine" => quote!(Quarantine),
            "ignore" => quote!(Ignore),
            "dead_letter" => quote!(DeadLetter),
            _ => quote!(Halt),
        };
        let private = quote!(::bulkhead_child::__private);
        match self.policy.as_ref().map(|(policy, _)| &**policy) {
            Some("retry") => {
                let then = self.then.as_ref().map_or("quarantine", |(then, _)| then);
                let then = variant(then);
                quote!(#private::ExceptionPolicy::Retry { then: #private::LastResort::#then })
            }
            policy => {
                let policy = variant(policy.unwrap_or("halt"));
                quote!(#private::ExceptionPolicy::#policy)
            }
        }
    }
}

fn strange(name: &str) -> String {
    if let Some((_, why)) = WITHOUT.iter().find(|(known, _)| *known == name) {
        return format!("there is no `{name}`: {why} (leave it out)");
    }
    if OF_TASKS.contains(&name) {
        return format!(
            "`{name}` is for tasks: a processor is given the events of its stream and runs as long as there may be more (known: {KNOWN})"
        );
    }
    format!("option `{name}` is unknown (known: {KNOWN})")
}

/// A policy, as a word or in quotes.
fn word(name: &str, value: &Expr, with_retry: bool) -> Result<String> {
    let text = match (value, literal(value)) {
        (Expr::Path(path), _) => path.path.get_ident().map(Ident::to_string),
        (_, Some(Lit::Str(text))) => Some(text.value().replace('-', "_")),
        _ => None,
    };
    let known = ["halt", "quarantine", "ignore", "dead_letter", "retry"];
    let known = &known[..known.len() - usize::from(!with_retry)];
    let what = match with_retry {
        true => POLICIES,
        false => "`halt`, `quarantine`, `ignore` or `dead_letter`",
    };
    let text = text.map(|text| text.to_ascii_lowercase());
    text.filter(|text| known.contains(&&**text))
        .ok_or_else(|| expected(value, name, what))
}

/// As `bulkhead_shared` has it; a test compares the two.
const PREFETCH_MOST: u32 = 10_000;

fn prefetch(value: &Expr) -> Result<u32> {
    let count = match literal(value) {
        Some(Lit::Int(count)) => count.base10_parse().ok(),
        _ => None,
    };
    count
        .filter(|count| (1..=PREFETCH_MOST).contains(count))
        .ok_or_else(|| expected(value, "prefetch_count", "a number from 1 to 10000"))
}

fn some_time(name: &str, value: &Expr) -> Result<u64> {
    match duration(name, value)? {
        0 => Err(expected(value, name, "longer than nothing")),
        ms => Ok(ms),
    }
}

pub(crate) fn expand(options: &Options, function: &ItemFn) -> Result<TokenStream> {
    let ident = &function.sig.ident;
    let Some(stream) = &options.stream else {
        let text = "a processor needs a stream: `#[processor(stream = orders)]`, where `fn orders() -> Stream<Order>` declares it";
        return Err(Error::new(ident.span(), text));
    };
    if let Some(word) = &function.sig.asyncness {
        let text = "a processor is a plain `fn`: it has a process of its own, and waits there";
        return Err(Error::new(word.span(), text));
    }
    let params = check(function).map_err(|error| {
        Error::new(
            error.span(),
            error.to_string().replace("a task", "a processor"),
        )
    })?;
    let [Param { ty: events, .. }] = &params.params[..] else {
        let text = "a processor takes `Events<T>`, and `&Context` before it if it wants to";
        return Err(Error::new(function.sig.inputs.span(), text));
    };
    if !is_events(events) {
        let text = "a processor takes `Events<T>`, where `T` is the record of its stream";
        return Err(Error::new(events.span(), text));
    }
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| ident.unraw().to_string());
    check_name("task", &name).map_err(|text| {
        let text = format!("{text}; or set one: `#[processor(name = \"...\", ...)]`");
        Error::new(ident.span(), text)
    })?;
    let context = params.has_context.then(|| quote!(__context,));
    let reply = reply(function, &quote!(#ident(#context __events)));
    let task = task(options, stream, &name, function, (events, &reply));
    Ok(beside(
        function,
        &format!("The processor `{name}`"),
        &quote!(),
        &task,
    ))
}

/// `Events<T>`, `bulkhead_child::Events<T>`.
fn is_events(ty: &Type) -> bool {
    let Type::Path(path) = ty else {
        return false;
    };
    path.path
        .segments
        .last()
        .is_some_and(|last| last.ident == "Events")
}

fn task(
    options: &Options,
    stream: &Path,
    name: &str,
    function: &ItemFn,
    (events, reply): (&Type, &TokenStream),
) -> TokenStream {
    let vis = &function.vis;
    let private = quote!(::bulkhead_child::__private);
    let policy = options.exception_policy();
    let [prefetch] = [option(options.prefetch)];
    let [
        lock_expiry_ms,
        grace_period_ms,
        join_delay_ms,
        timeout_ms,
        patience_ms,
        memory,
    ] = [
        options.lock_expiry_ms,
        options.grace_period_ms,
        options.join_delay_ms,
        options.timeout_ms,
        options.patience_ms,
        options.memory,
    ]
    .map(option);
    let max_retries = option(options.max_retries.as_ref().map(|(times, _)| times));
    let backoff = option(options.backoff.as_ref().map(|(backoff, _)| backoff));
    let profile = option(options.profile.as_ref());
    let middleware = &options.middleware;
    let begin = quote_spanned!(stream.span()=> #private::process(
        &PROCESSOR,
        #stream,
        (__context, __assignment),
        |__events: #events| { #reply },
    ));
    quote! {
        #[doc = "What `tasks!` lists."]
        #vis fn task() -> ::bulkhead_child::Task {
            fn __stream() -> ::core::result::Result<#private::StreamSpec, #private::StreamError> {
                #private::Stream::spec(&#stream())
            }
            static PROCESSOR: #private::Processor = #private::Processor {
                stream: __stream,
                exception_policy: #policy,
                prefetch: #prefetch,
                lock_expiry_ms: #lock_expiry_ms,
                grace_period_ms: #grace_period_ms,
                join_delay_ms: #join_delay_ms,
                middleware: &[#(&#middleware),*],
            };
            fn __call(
                __context: &::bulkhead_child::Context,
                __assignment: &#private::Assignment,
            ) -> #private::Reply {
                #[allow(unused_imports)]
                use #private::{ViaDisplay, ViaError, ViaSerialize};
                #begin
            }
            static DEFINITION: #private::Definition = #private::Definition {
                name: #name,
                timeout_ms: #timeout_ms,
                max_retries: #max_retries,
                backoff: #backoff,
                patience_ms: #patience_ms,
                memory: #memory,
                profile: #profile,
                processor: ::core::option::Option::Some(&PROCESSOR),
                ..#private::Definition::new(#private::Function::Processor(__call))
            };
            ::bulkhead_child::Task::new(&DEFINITION)
        }
    }
}

#[cfg(test)]
mod tests;
