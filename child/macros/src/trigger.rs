//! The options that make a task run by itself. The whole trigger is checked when the child
//! starts, by those who read it then; here it is checked that it can be written down.

use syn::{Error, Expr, Lit, Result};

use crate::options::{duration, expected, literal, string};

/// What was given, as JSON.
#[derive(Default)]
pub(crate) struct Trigger {
    keys: Vec<(&'static str, String)>,
    args: Option<String>,
    kwargs: Option<String>,
    kinds: usize,
    place: Option<proc_macro2::Span>,
}

impl Trigger {
    /// Takes an option; false if it is none of a trigger.
    pub(crate) fn set(&mut self, name: &str, value: &Expr) -> Result<bool> {
        use syn::spanned::Spanned as _;
        let (key, json) = match name {
            "cron" => (
                "cron",
                quoted(&string(
                    name,
                    value,
                    "a text in quotes, such as `\"0 3 * * *\"`",
                )?),
            ),
            "tz" => (
                "tz",
                quoted(&string(
                    name,
                    value,
                    "a zone in quotes, such as `\"Europe/Berlin\"`",
                )?),
            ),
            "every" => ("every_ms", duration(name, value)?.to_string()),
            "at" => (
                "at",
                quoted(&string(
                    name,
                    value,
                    "a time in quotes, such as `\"2030-01-31T09:30:00Z\"`",
                )?),
            ),
            "at_start" => match literal(value) {
                Some(Lit::Bool(flag)) => ("at_start", flag.value.to_string()),
                _ => return Err(expected(value, name, "`true` or `false`")),
            },
            "on" => ("on", one_of(name, value, &["one", "each"])?),
            "overlap" => (
                "overlap",
                one_of(name, value, &["allow", "skip", "queue-one"])?,
            ),
            "misfire" => ("misfire", misfire(value)?),
            "jitter" => ("jitter_ms", duration(name, value)?.to_string()),
            "args" => {
                self.args = Some(json_like(name, value, '[', ']')?);
                self.place.get_or_insert_with(|| value.span());
                return Ok(true);
            }
            "kwargs" => {
                self.kwargs = Some(json_like(name, value, '{', '}')?);
                self.place.get_or_insert_with(|| value.span());
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if matches!(name, "cron" | "every" | "at" | "at_start") && json != "false" {
            self.kinds += 1;
        }
        self.place.get_or_insert_with(|| value.span());
        self.keys.push((key, json));
        Ok(true)
    }

    /// All of it as JSON; nothing if nothing was given.
    pub(crate) fn json(&self, task: &str) -> Result<Option<String>> {
        let Some(place) = self.place else {
            return Ok(None);
        };
        if self.kinds != 1 {
            let text = format!(
                "task `{task}` needs exactly one of `cron`, `every`, `at` and `at_start` to run by itself"
            );
            return Err(Error::new(place, text));
        }
        let mut parts: Vec<_> = self
            .keys
            .iter()
            .map(|(key, json)| format!("\"{key}\":{json}"))
            .collect();
        let (args, kwargs) = (self.args.as_deref(), self.kwargs.as_deref());
        let arguments = format!(
            "\"arguments\":{{\"args\":{},\"kwargs\":{}}}",
            args.unwrap_or("[]"),
            kwargs.unwrap_or("{}")
        );
        parts.push(arguments);
        Ok(Some(format!("{{{}}}", parts.join(","))))
    }
}

fn one_of(name: &str, value: &Expr, known: &[&str]) -> Result<String> {
    let quoted_words: Vec<_> = known.iter().map(|word| format!("`\"{word}\"`")).collect();
    let what = quoted_words.join(" or ");
    let text = string(name, value, &what)?;
    if known.contains(&text.as_str()) {
        Ok(quoted(&text))
    } else {
        Err(expected(value, name, &what))
    }
}

fn misfire(value: &Expr) -> Result<String> {
    let what = "`\"skip\"`, `\"one\"` or `\"all 100\"`";
    let text = string("misfire", value, what)?;
    match text
        .strip_prefix("all ")
        .map(|most| most.trim().parse::<u32>())
    {
        Some(Ok(most)) => Ok(format!("{{\"all\":{most}}}")),
        None if text == "skip" || text == "one" => Ok(quoted(&text)),
        _ => Err(expected(value, "misfire", what)),
    }
}

/// JSON that begins and ends as it should; whether it is JSON is seen when the child starts.
fn json_like(name: &str, value: &Expr, first: char, last: char) -> Result<String> {
    let what = format!("JSON in quotes that begins with `{first}`");
    let text = string(name, value, &what)?;
    let text = text.trim();
    if text.starts_with(first) && text.ends_with(last) {
        Ok(text.into())
    } else {
        Err(expected(value, name, &what))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if u32::from(letter) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
