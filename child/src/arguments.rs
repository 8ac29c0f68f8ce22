//! From a payload to typed parameters: the only place that decodes arguments.
//!
//! The values stay raw JSON until their parameter's type is known, so each is decoded once.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use bulkhead_shared::frame::Failure;

use crate::registry::Definition;

/// Longest part of a decoder's message that is kept: it may quote the argument.
const REASON_LIMIT: usize = 256;

/// Why arguments do not fit their task.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ArgumentsError {
    #[error("payload is not `{{\"args\": [...], \"kwargs\": {{...}}}}` in JSON: {reason}")]
    Payload { reason: String },
    #[error("{given} arguments are given by position, `{task}` takes {takes} ({known})")]
    TooMany {
        task: &'static str,
        given: usize,
        takes: usize,
        known: Known,
    },
    #[error("`{task}` takes its arguments by name only ({known}; put them into `kwargs`)")]
    Position { task: &'static str, known: Known },
    #[error("parameter `{parameter}` is unknown to `{task}` ({known})")]
    Unknown {
        task: &'static str,
        parameter: String,
        known: Known,
    },
    #[error("parameter `{parameter}` is given twice")]
    Twice { parameter: String },
    #[error("parameter `{parameter}` is missing")]
    Missing { parameter: &'static str },
    #[error("parameter `{parameter}`: {reason}")]
    Type {
        parameter: &'static str,
        reason: String,
    },
}

impl From<ArgumentsError> for Failure {
    fn from(error: ArgumentsError) -> Self {
        Self {
            name: "arguments".into(),
            text: error.to_string(),
            traceback: None,
            is_final: true,
        }
    }
}

/// The parameters of a task, as a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known(&'static [&'static str]);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("it has no parameters"),
            names => write!(f, "known: `{}`", names.join("`, `")),
        }
    }
}

/// Arguments as messages hold them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Payload<'a> {
    #[serde(borrow, default)]
    pub(crate) args: Vec<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "pairs")]
    pub(crate) kwargs: Vec<(String, &'a RawValue)>,
}

impl<'a> Payload<'a> {
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, ArgumentsError> {
        serde_json::from_slice(payload).map_err(|error| {
            let reason = shorten(error.to_string());
            ArgumentsError::Payload { reason }
        })
    }
}

/// Keeps a name that is given twice, which a map would hide.
fn pairs<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(String, &'de RawValue)>, D::Error> {
    struct Pairs<'a>(PhantomData<&'a ()>);
    impl<'de> Visitor<'de> for Pairs<'de> {
        type Value = Vec<(String, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    d.deserialize_map(Pairs(PhantomData))
}

/// The arguments of one call, each at the place of its parameter.
#[doc(hidden)]
#[derive(Debug)]
pub struct Given<'a> {
    params: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Given<'a> {
    /// Gives each argument its place.
    pub(crate) fn bind(
        task: &'static Definition,
        payload: &'a [u8],
    ) -> Result<Self, ArgumentsError> {
        let name = task.name;
        let known = Known(task.params);
        let payload = Payload::read(payload)?;
        let given = payload.args.len();
        if given > 0 && !task.positional {
            return Err(ArgumentsError::Position { task: name, known });
        }
        if given > task.params.len() {
            return Err(ArgumentsError::TooMany {
                task: name,
                given,
                takes: task.params.len(),
                known,
            });
        }
        let mut values: Vec<_> = payload.args.into_iter().map(Some).collect();
        values.resize(task.params.len(), None);
        for (parameter, value) in payload.kwargs {
            let Some(place) = task.params.iter().position(|&p| p == parameter) else {
                return Err(ArgumentsError::Unknown {
                    task: name,
                    parameter: shorten(parameter),
                    known,
                });
            };
            if values[place].replace(value).is_some() {
                return Err(ArgumentsError::Twice { parameter });
            }
        }
        Ok(Self {
            params: task.params,
            values,
        })
    }

    /// Decodes the argument at `place`; what is absent is `None` for an `Option`.
    ///
    /// # Errors
    /// A [`Failure`] that names the parameter.
    pub fn take<T: DeserializeOwned>(&mut self, place: usize) -> Result<T, Failure> {
        let parameter = self.params[place];
        let decoded = match self.values[place].take() {
            Some(raw) => decode(raw.get()).map_err(|error| ArgumentsError::Type {
                parameter,
                reason: mismatch(&error),
            }),
            None => T::deserialize(Absent).map_err(|_| ArgumentsError::Missing { parameter }),
        };
        decoded.map_err(Failure::from)
    }
}

/// By itself, so that what is rehearsed is what is called.
#[inline(never)]
fn decode<T: DeserializeOwned>(value: &str) -> serde_json::Result<T> {
    serde_json::from_str(value)
}

/// Decodes a value of each kind as an argument of this type, and forgets it: code that has been run is
/// code that a zygote can hand down.
#[doc(hidden)]
pub fn rehearse<T: DeserializeOwned>() {
    const VALUES: [&str; 7] = [
        "null",
        "true",
        "1",
        "0.5",
        r#""text""#,
        r#"[1, "text"]"#,
        r#"{"a": [1]}"#,
    ];
    for value in VALUES {
        drop(decode::<T>(value));
    }
}

/// Answers only those who can do without a value: `Option`, whatever alias it hides behind.
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = de::value::Error;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("absent"))
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// `invalid type: string "x", expected u32 at line 1 column 3` as `expected u32, got string "x"`.
fn mismatch(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(place.as_str()).unwrap_or(&text);
    let found = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "));
    let parts = found.and_then(|found| found.rsplit_once(", expected "));
    match parts {
        Some((got, expected)) => {
            let got = shorten(got.into());
            format!("expected {}, got {got}", shorten(expected.into()))
        }
        None => shorten(text.into()),
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > REASON_LIMIT {
        text.truncate(text.floor_char_boundary(REASON_LIMIT));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, tasks};
    use proptest::prelude::*;

    type Maybe<T> = Option<T>;

    #[crate::task]
    fn resize(path: String, width: u32, title: Maybe<String>) -> String {
        format!("{path} {width} {title:?}")
    }

    #[crate::task(positional = false)]
    fn named(a: i64) -> i64 {
        a
    }

    fn call(task: crate::Task, payload: &str) -> Result<String, String> {
        let definition = task.definition();
        let reply = Given::bind(definition, payload.as_bytes())
            .map_err(Failure::from)
            .and_then(|given| definition.call.now(&Context::detached("test"), given));
        match reply {
            Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Err(failure) => {
                assert_eq!(failure.name, "arguments");
                assert!(failure.is_final);
                Err(failure.text)
            }
        }
    }

    fn refused(payload: &str) -> String {
        call(tasks![resize][0], payload).unwrap_err()
    }

    #[test]
    fn arguments_are_taken_by_position_and_by_name() {
        let resize = tasks![resize][0];
        let payload = r#"{"args": ["a"], "kwargs": {"width": 3}}"#;
        assert_eq!(call(resize, payload).unwrap(), r#""a 3 None""#);
        let payload = r#"{"kwargs": {"title": "t", "width": 3, "path": "a"}}"#;
        assert_eq!(call(resize, payload).unwrap(), r#""a 3 Some(\"t\")""#);
        let payload = r#"{"args": ["a", 3, null]}"#;
        assert_eq!(call(resize, payload).unwrap(), r#""a 3 None""#);
    }

    #[test]
    fn every_misfit_names_its_parameter() {
        assert_eq!(
            refused(r#"{"args": ["a"]}"#),
            "parameter `width` is missing"
        );
        assert_eq!(
            refused(r#"{"args": ["a"], "kwargs": {"path": "b", "width": 1}}"#),
            "parameter `path` is given twice"
        );
        assert_eq!(
            refused(r#"{"kwargs": {"path": "b", "path": "c", "width": 1}}"#),
            "parameter `path` is given twice"
        );
        assert_eq!(
            refused(r#"{"args": ["a", 1], "kwargs": {"height": 1}}"#),
            "parameter `height` is unknown to `resize` (known: `path`, `width`, `title`)"
        );
        assert_eq!(
            refused(r#"{"args": [1, 2, 3, 4]}"#),
            "4 arguments are given by position, `resize` takes 3 (known: `path`, `width`, `title`)"
        );
        assert_eq!(
            refused(r#"{"args": ["a", "x"]}"#),
            "parameter `width`: expected u32, got string \"x\""
        );
        assert_eq!(
            refused(r#"{"args": ["a", -1]}"#),
            "parameter `width`: expected u32, got integer `-1`"
        );
    }

    #[test]
    fn a_task_that_wants_names_refuses_positions() {
        let named = tasks![named][0];
        assert_eq!(call(named, r#"{"kwargs": {"a": 1}}"#).unwrap(), "1");
        assert_eq!(
            call(named, r#"{"args": [1]}"#).unwrap_err(),
            "`named` takes its arguments by name only (known: `a`; put them into `kwargs`)"
        );
    }

    #[test]
    fn a_payload_of_another_shape_is_refused() {
        assert!(refused("[1, 2]").starts_with("payload is not"));
        assert!(refused("{\"argz\": []}").contains("argz"));
        assert!(refused("").starts_with("payload is not"));
    }

    #[test]
    fn a_huge_wrong_argument_does_not_become_a_huge_text() {
        let payload = format!(r#"{{"args": ["a", "{}"]}}"#, "x".repeat(1 << 20));
        assert!(refused(&payload).len() < 1000);
    }

    proptest! {
        #[test]
        fn random_payloads_end_in_a_value_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let task = tasks![resize][0].definition();
            if let Ok(given) = Given::bind(task, &bytes) {
                let _ = task.call.now(&Context::detached("test"), given);
            }
        }
    }
}
