//! A backoff as it is typed: `"5s"`, or an object like the `backoff` option of a task.

use std::time::Duration;

use bulkhead_shared::backoff::{Algorithm, Backoff};
use bulkhead_shared::time::millis;
use bulkhead_shared::units::duration;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::line::span;

const WAYS: &str = "write `\"5s\"` for always the same wait, or an object such as \
    `{\"algorithm\": \"exponential\", \"base\": 2, \"factor\": \"10s\", \"floor\": \"1s\", \"ceiling\": \"1h\"}`";

/// The object. A `null` floor or ceiling is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Curve {
    algorithm: Name,
    base: Option<u32>,
    #[serde(default, deserialize_with = "span")]
    factor: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    constant: Option<Duration>,
    #[serde(default = "usual_floor", deserialize_with = "span")]
    floor: Option<Duration>,
    #[serde(default = "usual_ceiling", deserialize_with = "span")]
    ceiling: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Constant,
    Linear,
    Exponential,
}

fn usual_floor() -> Option<Duration> {
    Backoff::default().floor_ms.map(Duration::from_millis)
}

fn usual_ceiling() -> Option<Duration> {
    Backoff::default().ceiling_ms.map(Duration::from_millis)
}

impl Curve {
    fn backoff(self) -> Result<Backoff, String> {
        let lacks = |key: &str| format!("`backoff` lacks `{key}` ({WAYS})");
        let strange = |key: &str| Err(format!("`backoff` has a `{key}` it does not use ({WAYS})"));
        let factor = self.factor.map(millis);
        let algorithm = match (self.algorithm, self.base) {
            (Name::Constant, None) if factor.is_none() => {
                // A single wait needs no bounds: those of the others do not apply.
                return Ok(Backoff::constant(
                    self.constant.ok_or_else(|| lacks("constant"))?,
                ));
            }
            (Name::Constant, None) => return strange("factor"),
            (Name::Linear | Name::Exponential, _) if self.constant.is_some() => {
                return strange("constant");
            }
            (Name::Constant | Name::Linear, Some(_)) => return strange("base"),
            (Name::Exponential, Some(0)) => {
                return Err("`base` of `backoff` is 0 (write a whole number from 1)".into());
            }
            (Name::Linear, None) => Algorithm::Linear {
                factor_ms: factor.ok_or_else(|| lacks("factor"))?,
            },
            (Name::Exponential, base) => Algorithm::Exponential {
                base: base.unwrap_or(4),
                factor_ms: factor.unwrap_or(10_000),
            },
        };
        Ok(Backoff {
            floor_ms: self.floor.map(millis),
            ceiling_ms: self.ceiling.map(millis),
            ..Backoff::new(algorithm)
        })
    }
}

fn read(value: Value) -> Result<Backoff, String> {
    match value {
        Value::String(text) => duration(&text)
            .map(Backoff::constant)
            .map_err(|error| format!("{error}, or an object")),
        Value::Object(_) => serde_json::from_value::<Curve>(value)
            .map_err(|error| format!("`backoff`: {error} ({WAYS})"))?
            .backoff(),
        _ => Err(format!("`backoff` is no text and no object ({WAYS})")),
    }
}

/// Reads the option `--backoff`: a duration, or the object.
pub(super) fn option(text: &str) -> Result<Backoff, String> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text)
            .map_err(|error| format!("is not JSON: {error}"))
            .and_then(read),
        false => read(Value::String(text.into())),
    }
}

/// Reads the key `backoff`.
pub(super) fn key<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Backoff>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        value => read(value).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_always_the_same_wait() {
        let five = Backoff::constant(Duration::from_secs(5));
        assert_eq!(option("5s"), Ok(five));
        assert_eq!(
            option(r#"{"algorithm":"constant","constant":"5s"}"#),
            Ok(five)
        );
    }

    #[test]
    fn curves_have_the_bounds_of_a_task_unless_they_are_told() {
        let usual = option(r#"{"algorithm":"exponential"}"#);
        assert_eq!(usual, Ok(Backoff::default()));
        let none = r#"{"algorithm":"linear","factor":"1s","floor":null,"ceiling":null}"#;
        let none = option(none).unwrap();
        assert_eq!((none.floor_ms, none.ceiling_ms), (None, None));
        assert_eq!(none.wait(3), Duration::from_secs(3));
    }

    #[test]
    fn wrong_backoffs_say_what_is_wrong_with_them() {
        for (text, word) in [
            ("soon", "`soon`"),
            ("{", "JSON"),
            (r#"{"algorithm":"cubic"}"#, "cubic"),
            (r#"{"algorithm":"linear"}"#, "`factor`"),
            (r#"{"algorithm":"linear","factor":"1s","base":2}"#, "`base`"),
            (r#"{"algorithm":"exponential","base":0}"#, "from 1"),
            (
                r#"{"algorithm":"constant","constant":"1s","factor":"1s"}"#,
                "`factor`",
            ),
            (
                r#"{"algorithm":"exponential","constant":"1s"}"#,
                "`constant`",
            ),
            (r#"{"algorithm":"exponential","colour":1}"#, "colour"),
        ] {
            let error = option(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
