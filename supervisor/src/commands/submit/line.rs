//! One message as it is typed: a line of JSON, or the options of the command line.

use std::time::Duration;

use bulkhead_shared::message::{Arguments, Message};
use bulkhead_shared::policy::{Keep, Retries};
use bulkhead_shared::time::millis;
use bulkhead_shared::units::duration;
use bulkhead_shared::{Timestamp, Uuid};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::JsonArray;

/// What a line may say; everything may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Line {
    pub task: Option<String>,
    pub args: Option<Vec<Value>>,
    pub kwargs: Option<Map<String, Value>>,
    pub queue: Option<String>,
    pub priority: Option<i64>,
    #[serde(deserialize_with = "span")]
    pub delay: Option<Duration>,
    #[serde(deserialize_with = "moment")]
    pub at: Option<Timestamp>,
    #[serde(deserialize_with = "span")]
    pub timeout: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub expires: Option<Duration>,
    #[serde(deserialize_with = "budget")]
    pub max_retries: Option<Retries>,
    pub uuid: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    #[serde(deserialize_with = "keeping")]
    pub result_ttl: Option<Keep>,
}

impl Line {
    /// Reads a line and adds what it leaves out.
    pub(super) fn parse(json: &[u8], defaults: &Self) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(json).map_err(|error| {
            // The line in the file is named by the caller; serde knows only this one.
            error
                .to_string()
                .replace(" at line 1 column ", ", at column ")
        })?;
        if line.delay.is_some() && line.at.is_some() {
            return Err("both `delay` and `at` are given (leave one out)".into());
        }
        Ok(line.or(defaults))
    }

    fn or(self, defaults: &Self) -> Self {
        let has_time = self.delay.is_some() || self.at.is_some();
        let (delay, at) = match has_time {
            true => (self.delay, self.at),
            false => (defaults.delay, defaults.at),
        };
        Self {
            task: self.task.or_else(|| defaults.task.clone()),
            args: self.args.or_else(|| defaults.args.clone()),
            kwargs: self.kwargs.or_else(|| defaults.kwargs.clone()),
            queue: self.queue.or_else(|| defaults.queue.clone()),
            priority: self.priority.or(defaults.priority),
            delay,
            at,
            timeout: self.timeout.or(defaults.timeout),
            expires: self.expires.or(defaults.expires),
            max_retries: self.max_retries.or(defaults.max_retries),
            uuid: self.uuid.or(defaults.uuid),
            metadata: self.metadata.or_else(|| defaults.metadata.clone()),
            result_ttl: self.result_ttl.or(defaults.result_ttl),
        }
    }

    /// The message it means.
    pub(super) fn message(self) -> Result<Message, String> {
        let task = self
            .task
            .ok_or("it names no task (add the key `task`, or name one on the command line)")?;
        let mut builder = Message::new(&task).arguments(Arguments {
            args: self.args.unwrap_or_default(),
            kwargs: self.kwargs.unwrap_or_default(),
        });
        if let Some(queue) = self.queue {
            builder = builder.queue(&queue);
        }
        if let Some(priority) = self.priority {
            builder = builder.priority(priority);
        }
        if let Some(delay) = self.delay {
            builder = builder.delay(delay);
        }
        if let Some(at) = self.at {
            builder = builder.at(at);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(expires) = self.expires {
            builder = builder.expires(expires);
        }
        if let Some(max_retries) = self.max_retries {
            builder = builder.max_retries(max_retries);
        }
        if let Some(uuid) = self.uuid {
            builder = builder.uuid(uuid);
        }
        if let Some(metadata) = self.metadata {
            builder = builder.metadata(metadata);
        }
        if let Some(keep) = self.result_ttl {
            builder = builder.result_ttl(keep);
        }
        builder
            .build()
            .map_err(|error| super::super::error::chain(&error))
    }
}

/// Reads the option `--args`.
pub(super) fn array(text: &str) -> Result<JsonArray, String> {
    match value(text)? {
        Value::Array(values) => Ok(JsonArray(values)),
        other => Err(format!(
            "must be a JSON array, got {} (write it as `[2, 3]`)",
            kind(&other)
        )),
    }
}

/// Reads the options `--kwargs` and `--metadata`.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match value(text)? {
        Value::Object(map) => Ok(map),
        other => Err(format!(
            "must be a JSON object, got {} (write it as `{{\"key\": 1}}`)",
            kind(&other)
        )),
    }
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads the option `--max-retries`.
pub(super) fn retries(text: &str) -> Result<Retries, String> {
    match text {
        "none" => Ok(Retries::Unlimited),
        text => text
            .parse()
            .map(Retries::Times)
            .map_err(|_| "write a number from 0, or `none` for no limit".into()),
    }
}

/// Reads the option `--result-ttl`.
pub(super) fn keep(text: &str) -> Result<Keep, String> {
    match text {
        "none" => Ok(Keep::Forever),
        text => duration(text)
            .map(|time| Keep::For { ms: millis(time) })
            .map_err(|error| format!("{error}, or `0` for no result, or `none` for ever")),
    }
}

fn span<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| duration(&text))
        .transpose()
        .map_err(Error::custom)
}

fn moment<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| Timestamp::parse(&text))
        .transpose()
        .map_err(Error::custom)
}

/// Called only for a key that is there: null is a word of its own.
fn budget<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Retries>, D::Error> {
    let times = Option::<u32>::deserialize(d)?;
    Ok(Some(times.map_or(Retries::Unlimited, Retries::Times)))
}

fn keeping<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Keep>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(text) => keep(&text).map(Some).map_err(Error::custom),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(Some(Keep::For { ms: 0 })),
        other => Err(Error::custom(format!(
            "`result_ttl` is {} (write `\"1h\"`, `0` or `\"none\"`)",
            kind(&other)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Line, String> {
        Line::parse(json.as_bytes(), &Line::default())
    }

    #[test]
    fn null_retries_mean_no_end_and_absent_ones_the_default() {
        let unlimited = parse(r#"{"task":"a","max_retries":null}"#).unwrap();
        assert_eq!(unlimited.max_retries, Some(Retries::Unlimited));
        assert_eq!(parse(r#"{"task":"a"}"#).unwrap().max_retries, None);
        let three = parse(r#"{"task":"a","max_retries":3}"#).unwrap();
        assert_eq!(three.max_retries, Some(Retries::Times(3)));
    }

    #[test]
    fn options_are_the_defaults_of_lines() {
        let defaults = Line {
            task: Some("add".into()),
            priority: Some(3),
            at: Some(Timestamp::from_millis(5)),
            ..Line::default()
        };
        let line = Line::parse(br#"{"priority":1,"delay":"2s"}"#, &defaults).unwrap();
        assert_eq!(
            (line.task.as_deref(), line.priority),
            (Some("add"), Some(1))
        );
        assert_eq!((line.delay, line.at), (Some(Duration::from_secs(2)), None));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong_with_them() {
        let says = |json, words: &[&str]| {
            let error = parse(json).and_then(Line::message).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word}: {error}");
            }
        };
        says(r#"{"task":"a","colour":1}"#, &["`colour`", "max_retries"]);
        says(r#"{"task":"a","args":{}}"#, &["sequence", "column"]);
        says(r#"{"args":[]}"#, &["names no task"]);
        says(r#"{"task":"a","timeout":1}"#, &["string"]);
        says(r#"{"task":"a","timeout":"1"}"#, &["`250ms`"]);
        says(
            r#"{"task":"a","delay":"1s","at":"2030-01-31T09:30:00Z"}"#,
            &["leave one out"],
        );
        says(r#"{"task":"a","uuid":"x"}"#, &["UUID"]);
        says(r#"{"task":"a","result_ttl":5}"#, &["a number"]);
        says(r#"{"task":"a","priority":-1}"#, &["lower runs first"]);
        says("[1]", &["column"]);
        says("{", &["EOF"]);
    }

    #[test]
    fn options_of_the_wrong_kind_are_named() {
        assert!(
            array("{}")
                .unwrap_err()
                .contains("must be a JSON array, got an object")
        );
        assert!(
            object("[1]")
                .unwrap_err()
                .contains("must be a JSON object, got an array")
        );
        assert!(object("{oops}").unwrap_err().contains("column 2"));
        assert!(retries("-1").is_err() && retries("none") == Ok(Retries::Unlimited));
        assert_eq!(keep("0"), Ok(Keep::For { ms: 0 }));
        assert_eq!(keep("none"), Ok(Keep::Forever));
    }
}
