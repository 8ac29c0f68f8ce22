//! What stands in the brackets of `#[task(...)]`, checked where it is written.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Lit, Path, Result, Token};

use crate::trigger::Trigger;
use crate::units::{check_name, duration_ms, size_bytes};

const KNOWN: &str = "`name`, `queue`, `timeout`, `max_retries`, `backoff`, `patience`, \
                     `result_ttl`, `memory`, `profile`, `concurrency`, `positional`, `mechanism`, \
                     `run_in_main_thread`; of a trigger `cron`, `tz`, `every`, \
                     `at`, `at_start`, `on`, `misfire`, `overlap`, `jitter`, `args`, `kwargs`; the hooks \
                     `on_submit`, `pre_op`, `post_op`, `do_retry`, `do_callback`, `on_retry`, \
                     `on_failure`, `on_success`, `on_revocation`";

/// No process starts with less, in bytes.
const LEAST_MEMORY: u64 = 16 << 20;

/// The options that were given, as the expressions they become.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<(String, Span)>,
    pub(crate) queue: Option<TokenStream>,
    pub(crate) timeout_ms: Option<TokenStream>,
    pub(crate) max_retries: Option<TokenStream>,
    pub(crate) backoff: Option<TokenStream>,
    pub(crate) patience_ms: Option<TokenStream>,
    pub(crate) result_ttl: Option<TokenStream>,
    pub(crate) memory: Option<TokenStream>,
    pub(crate) profile: Option<TokenStream>,
    pub(crate) concurrency: Option<TokenStream>,
    pub(crate) positional: Option<bool>,
    pub(crate) hooks: Vec<(&'static str, Path)>,
    pub(crate) trigger: Trigger,
    pub(crate) mechanism: Option<(Mechanism, Span)>,
    pub(crate) run_in_main_thread: Option<(bool, Span)>,
}

/// What a task's function runs in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Process,
    Thread,
    Async,
}

/// Options whose values are functions.
pub(crate) const HOOKS: [&str; 9] = [
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

struct Pair {
    key: Ident,
    value: Option<Expr>,
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key: Ident = input.parse()?;
        let is_given = input.parse::<Option<Token![=]>>()?.is_some();
        let value = is_given.then(|| input.parse()).transpose()?;
        Ok(Self { key, value })
    }
}

/// What was written, each option once.
pub(crate) fn pairs(tokens: TokenStream, known: &str) -> Result<Vec<(Ident, Expr)>> {
    let pairs = Punctuated::<Pair, Token![,]>::parse_terminated.parse2(tokens)?;
    let mut given: Vec<(Ident, Expr)> = Vec::new();
    for Pair { key, value } in pairs {
        let Some(value) = value else {
            let text = format!("option `{key}` needs a value: `{key} = ...` (known: {known})");
            return Err(Error::new(key.span(), text));
        };
        if given.iter().any(|(before, _)| *before == key) {
            let text = format!("option `{key}` is given twice");
            return Err(Error::new(key.span(), text));
        }
        given.push((key, value));
    }
    Ok(given)
}

pub(crate) fn parse(tokens: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in &pairs(tokens, KNOWN)? {
        options.set(&key.to_string(), key, value)?;
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, name: &str, key: &Ident, value: &Expr) -> Result<()> {
        if let Some(hook) = HOOKS.into_iter().find(|hook| *hook == name) {
            self.hooks
                .push((hook, function(name, value, "the name of a function")?));
            return Ok(());
        }
        match name {
            "name" => self.name = Some((named("task", name, value)?, value.span())),
            "queue" => {
                let queue = named("queue", name, value)?;
                self.queue = Some(quote!(#queue));
            }
            "timeout" => {
                let ms = timeout(value)?;
                self.timeout_ms = Some(quote!(#ms));
            }
            "patience" => {
                let ms = duration(name, value)?;
                self.patience_ms = Some(quote!(#ms));
            }
            "max_retries" => self.max_retries = Some(retries(value)?),
            "backoff" => self.backoff = Some(backoff(value)?),
            "result_ttl" => self.result_ttl = Some(keep(value)?),
            "memory" => {
                let bytes = memory(value)?;
                self.memory = Some(quote!(#bytes));
            }
            "profile" => {
                let profile = named("profile", name, value)?;
                self.profile = Some(quote!(#profile));
            }
            "concurrency" => {
                let most = concurrency(value)?;
                self.concurrency = Some(quote!(#most));
            }
            "positional" => match literal(value) {
                Some(Lit::Bool(flag)) => self.positional = Some(flag.value),
                _ => return Err(expected(value, name, "`true` or `false`")),
            },
            "mechanism" => {
                let what = "`\"process\"`, `\"thread\"` or, for an `async fn`, `\"async\"`";
                let mechanism = match &*string(name, value, what)? {
                    "process" => Mechanism::Process,
                    "thread" => Mechanism::Thread,
                    "async" => Mechanism::Async,
                    _ => return Err(expected(value, name, what)),
                };
                self.mechanism = Some((mechanism, value.span()));
            }
            "run_in_main_thread" => match literal(value) {
                Some(Lit::Bool(flag)) => {
                    self.run_in_main_thread = Some((flag.value, value.span()));
                }
                _ => return Err(expected(value, name, "`true` or `false`")),
            },
            name if self.trigger.set(name, value)? => {}
            _ => {
                let text = format!("option `{name}` is unknown (known: {KNOWN})");
                return Err(Error::new(key.span(), text));
            }
        }
        Ok(())
    }
}

impl Options {
    /// What the function runs in, once it is known whether it is an `async fn`.
    pub(crate) fn resolve(&self, is_async: bool) -> Result<Mechanism> {
        let usual = match is_async {
            true => Mechanism::Async,
            false => Mechanism::Process,
        };
        let (mechanism, span) = self.mechanism.unwrap_or_else(|| (usual, Span::call_site()));
        if is_async != (mechanism == Mechanism::Async) {
            let text = match is_async {
                true => "an `async fn` runs on the runtime of a group: leave `mechanism` out",
                false => "`mechanism = \"async\"` is for an `async fn`",
            };
            return Err(Error::new(span, text));
        }
        if let Some((true, span)) = self.run_in_main_thread
            && is_async
        {
            let text = "an `async fn` runs on the runtime's thread, not on the main one";
            return Err(Error::new(span, text));
        }
        if mechanism != Mechanism::Process && self.memory.is_some() {
            let text = "`memory` is the limit of a process, and a group's jobs share theirs: leave \
                        it out (--memory limits the group), or run the task in a process";
            return Err(Error::new(span, text));
        }
        Ok(mechanism)
    }
}

pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(literal) => Some(&literal.lit),
        // What other macros hand over comes in an invisible group.
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

/// A path, such as that of a function.
pub(crate) fn function(option: &str, value: &Expr, what: &str) -> Result<Path> {
    match value {
        Expr::Path(path) => Ok(path.path.clone()),
        Expr::Group(group) => function(option, &group.expr, what),
        _ => Err(expected(value, option, what)),
    }
}

fn is_none(value: &Expr) -> bool {
    matches!(value, Expr::Path(path) if path.path.is_ident("none") || path.path.is_ident("None"))
}

fn concurrency(value: &Expr) -> Result<u32> {
    let most = match literal(value) {
        Some(Lit::Int(most)) => most.base10_parse().ok(),
        _ => None,
    };
    let what = "a number of jobs from 1 (leave it out for no limit)";
    most.filter(|most| *most > 0)
        .ok_or_else(|| expected(value, "concurrency", what))
}

pub(crate) fn expected(value: &Expr, option: &str, what: &str) -> Error {
    Error::new(value.span(), format!("`{option}` must be {what}"))
}

pub(crate) fn string(option: &str, value: &Expr, what: &str) -> Result<String> {
    match literal(value) {
        Some(Lit::Str(text)) => Ok(text.value()),
        _ => Err(expected(value, option, what)),
    }
}

pub(crate) fn named(kind: &str, option: &str, value: &Expr) -> Result<String> {
    let name = string(option, value, "a text in quotes")?;
    check_name(kind, &name)
        .map_err(|text| Error::new(value.span(), format!("`{option}`: {text}")))?;
    Ok(name)
}

pub(crate) fn duration(option: &str, value: &Expr) -> Result<u64> {
    let text = string(option, value, "a duration in quotes, such as `\"30s\"`")?;
    duration_ms(&text).map_err(|text| Error::new(value.span(), format!("`{option}`: {text}")))
}

pub(crate) fn timeout(value: &Expr) -> Result<u64> {
    match duration("timeout", value)? {
        0 => {
            let text = "`timeout` is zero (leave it out for the supervisor's default)";
            Err(Error::new(value.span(), text))
        }
        ms => Ok(ms),
    }
}

pub(crate) fn retries(value: &Expr) -> Result<TokenStream> {
    if is_none(value) {
        return Ok(quote!(::bulkhead_child::__private::Retries::Unlimited));
    }
    let times = match literal(value) {
        Some(Lit::Int(times)) => times.base10_parse::<u32>().ok(),
        _ => None,
    };
    let what = "a number of attempts after the first, or `none` for no end";
    let times = times.ok_or_else(|| expected(value, "max_retries", what))?;
    Ok(quote!(::bulkhead_child::__private::Retries::Times(#times)))
}

fn keep(value: &Expr) -> Result<TokenStream> {
    if is_none(value) {
        return Ok(quote!(::bulkhead_child::__private::Keep::Forever));
    }
    let what = "a duration in quotes, such as `\"1h\"`, `\"0\"` to keep no result, or `none`";
    let text = string("result_ttl", value, what)?;
    let ms = duration_ms(&text)
        .map_err(|text| Error::new(value.span(), format!("`result_ttl`: {text}")))?;
    Ok(quote!(::bulkhead_child::__private::Keep::For { ms: #ms }))
}

pub(crate) fn memory(value: &Expr) -> Result<u64> {
    let text = string("memory", value, "a size in quotes, such as `\"512MiB\"`")?;
    let wrong = |text: String| Error::new(value.span(), format!("`memory`: {text}"));
    let bytes = size_bytes(&text).map_err(wrong)?;
    if bytes < LEAST_MEMORY {
        let text = format!("{bytes} bytes is below 16MiB (no process starts with less)");
        return Err(wrong(text));
    }
    Ok(bytes)
}

/// The numbers inside `exponential(...)`, `linear(...)` or `constant(...)`.
struct Curve {
    base: Option<u32>,
    length: Option<u64>,
    floor: Option<u64>,
    ceiling: Option<u64>,
}

const CURVES: &str = "`exponential(base = 4, factor = \"10s\", floor = \"60s\", ceiling = \"1h\")`, \
                      `linear(\"30s\")` or `constant(\"5s\")`";

pub(crate) fn backoff(value: &Expr) -> Result<TokenStream> {
    let Expr::Call(call) = value else {
        return Err(expected(value, "backoff", CURVES));
    };
    let Expr::Path(function) = &*call.func else {
        return Err(expected(value, "backoff", CURVES));
    };
    let algorithm = function
        .path
        .get_ident()
        .map(Ident::to_string)
        .unwrap_or_default();
    let (length_name, mut curve) = match algorithm.as_str() {
        "exponential" => ("factor", Curve::bounded(Some(4), Some(10_000))),
        "linear" => ("factor", Curve::bounded(None, None)),
        "constant" => (
            "constant",
            Curve {
                base: None,
                length: None,
                floor: None,
                ceiling: None,
            },
        ),
        _ => return Err(expected(value, "backoff", CURVES)),
    };
    for argument in &call.args {
        curve.set(&algorithm, length_name, argument)?;
    }
    let Some(length) = curve.length else {
        let text =
            format!("`backoff`: `{algorithm}` needs a duration, such as `{algorithm}(\"30s\")`");
        return Err(Error::new(call.span(), text));
    };
    if let (Some(floor), Some(ceiling)) = (curve.floor, curve.ceiling)
        && floor > ceiling
    {
        let text = format!(
            "`backoff`: floor of {floor}ms is above the ceiling of {ceiling}ms \
             (lower `floor`, 60s if it is left out, or write `floor = none`)"
        );
        return Err(Error::new(call.span(), text));
    }
    let algorithm = match (algorithm.as_str(), curve.base) {
        ("constant", _) => quote!(Constant { constant_ms: #length }),
        (_, Some(base)) => quote!(Exponential { base: #base, factor_ms: #length }),
        (_, None) => quote!(Linear { factor_ms: #length }),
    };
    let floor = option(curve.floor);
    let ceiling = option(curve.ceiling);
    Ok(quote!(::bulkhead_child::__private::Backoff {
        algorithm: ::bulkhead_child::__private::Algorithm::#algorithm,
        floor_ms: #floor,
        ceiling_ms: #ceiling,
        zero_override: true,
    }))
}

impl Curve {
    /// Between the usual bounds.
    const fn bounded(base: Option<u32>, length: Option<u64>) -> Self {
        Self {
            base,
            length,
            floor: Some(60_000),
            ceiling: Some(3_600_000),
        }
    }

    fn set(&mut self, algorithm: &str, length_name: &str, argument: &Expr) -> Result<()> {
        let Expr::Assign(assign) = argument else {
            self.length = Some(duration("backoff", argument)?);
            return Ok(());
        };
        let name = match &*assign.left {
            Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
            _ => None,
        };
        let name = name.unwrap_or_default();
        let value = &*assign.right;
        match name.as_str() {
            "base" if self.base.is_some() => self.base = Some(base(value)?),
            "floor" => self.floor = bound(&name, value)?,
            "ceiling" => self.ceiling = bound(&name, value)?,
            name if name == length_name => self.length = Some(duration(name, value)?),
            _ => {
                let base = if self.base.is_some() { "`base`, " } else { "" };
                let text = format!(
                    "`backoff`: `{algorithm}` has no `{name}` (known: {base}`{length_name}`, `floor`, `ceiling`)"
                );
                return Err(Error::new(assign.left.span(), text));
            }
        }
        Ok(())
    }
}

fn base(value: &Expr) -> Result<u32> {
    let base = match literal(value) {
        Some(Lit::Int(base)) => base.base10_parse().ok(),
        _ => None,
    };
    base.filter(|&base| base > 0)
        .ok_or_else(|| expected(value, "base", "a whole number from 1"))
}

fn bound(name: &str, value: &Expr) -> Result<Option<u64>> {
    if is_none(value) {
        return Ok(None);
    }
    duration(name, value).map(Some)
}

pub(crate) fn option<T: quote::ToTokens>(value: Option<T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: TokenStream) -> String {
        let Err(error) = parse(options) else {
            panic!("it was taken");
        };
        error.to_string()
    }

    #[test]
    fn a_wrong_option_is_named_with_those_that_exist() {
        let text = refused(quote!(retries = 3));
        assert!(text.starts_with("option `retries` is unknown (known: `name`, `queue`"));
        assert!(refused(quote!(queue)).contains("`queue` needs a value"));
        assert!(refused(quote!(queue = "a", queue = "b")).contains("`queue` is given twice"));
    }

    #[test]
    fn a_wrong_value_is_refused_under_its_options_name() {
        for (options, words) in [
            (quote!(name = "a b"), ["`name`", "' '"]),
            (quote!(queue = 3), ["`queue`", "in quotes"]),
            (quote!(queue = ""), ["`queue`", "empty"]),
            (quote!(timeout = "soon"), ["`timeout`", "`soon`"]),
            (quote!(timeout = "0s"), ["`timeout`", "zero"]),
            (quote!(timeout = 30), ["`timeout`", "\"30s\""]),
            (quote!(max_retries = -1), ["`max_retries`", "`none`"]),
            (quote!(max_retries = "3"), ["`max_retries`", "`none`"]),
            (quote!(patience = "1"), ["`patience`", "`1`"]),
            (quote!(result_ttl = 1), ["`result_ttl`", "`none`"]),
            (quote!(memory = "1MiB"), ["`memory`", "16MiB"]),
            (quote!(memory = "much"), ["`memory`", "`much`"]),
            (quote!(concurrency = 0), ["`concurrency`", "from 1"]),
            (quote!(concurrency = "2"), ["`concurrency`", "from 1"]),
            (quote!(positional = "yes"), ["`positional`", "`false`"]),
            (quote!(backoff = "5s"), ["`backoff`", "constant"]),
            (quote!(backoff = cubic("5s")), ["`backoff`", "constant"]),
            (quote!(backoff = linear()), ["`backoff`", "`linear`"]),
            (quote!(backoff = linear("5")), ["`backoff`", "`5`"]),
            (
                quote!(backoff = linear(base = 2)),
                ["no `base`", "`factor`"],
            ),
            (
                quote!(backoff = exponential(base = 0)),
                ["`base`", "from 1"],
            ),
            (
                quote!(backoff = exponential(ceiling = "1s")),
                ["floor of 60000ms", "none"],
            ),
        ] {
            let text = refused(options.clone());
            assert!(
                words.iter().all(|word| text.contains(word)),
                "{options}: {text}"
            );
        }
    }
}
