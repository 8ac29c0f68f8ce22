//! One message as it is typed: a line of JSON, or the options of the command line.

use std::time::Duration;

use bulkhead_shared::backoff::Backoff;
use bulkhead_shared::limits::Limits;
use bulkhead_shared::message::{Arguments, Message, MessageBuilder};
use bulkhead_shared::policy::{Keep, Retries};
use bulkhead_shared::task::Mechanism;
use bulkhead_shared::time::millis;
use bulkhead_shared::units::{Size, duration};
use bulkhead_shared::{Timestamp, Uuid};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{JsonArray, backoff, flow, limits};

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
    pub patience: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub ttl: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub expires: Option<Duration>,
    #[serde(deserialize_with = "budget")]
    pub max_retries: Option<Retries>,
    #[serde(deserialize_with = "backoff::key")]
    pub backoff: Option<Backoff>,
    #[serde(deserialize_with = "bytes")]
    pub memory: Option<Size>,
    #[serde(deserialize_with = "limits::key")]
    pub limits: Limits,
    #[serde(deserialize_with = "confinement")]
    pub profile: Option<String>,
    #[serde(deserialize_with = "mechanism")]
    pub mechanism: Option<Mechanism>,
    pub uuid: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    #[serde(deserialize_with = "keeping")]
    pub result_ttl: Option<Keep>,
    #[serde(deserialize_with = "flow::callbacks")]
    pub callback: Option<Vec<Self>>,
    pub group: Option<flow::GroupLine>,
    pub unique: Option<Once>,
    pub concurrency: Option<AtOnce>,
    pub lock: Option<String>,
}

/// A key of which one job is enough: for a time, or until it has ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Once {
    pub key: String,
    #[serde(default, rename = "for", deserialize_with = "span")]
    pub span: Option<Duration>,
}

/// How many jobs with a key may run at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtOnce {
    pub key: String,
    pub most: u32,
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
        // A group by itself is no message.
        if line.group.is_some() && line.task.is_none() {
            return Ok(line);
        }
        let has_both = line.delay.is_some() && line.at.is_some();
        Ok(if has_both { line } else { line.or(defaults) })
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
            patience: self.patience.or(defaults.patience),
            ttl: self.ttl.or(defaults.ttl),
            expires: self.expires.or(defaults.expires),
            max_retries: self.max_retries.or(defaults.max_retries),
            backoff: self.backoff.or(defaults.backoff),
            memory: self.memory.or(defaults.memory),
            limits: self.limits.or(defaults.limits),
            profile: self.profile.or_else(|| defaults.profile.clone()),
            mechanism: self.mechanism.or(defaults.mechanism),
            uuid: self.uuid.or(defaults.uuid),
            metadata: self.metadata.or_else(|| defaults.metadata.clone()),
            result_ttl: self.result_ttl.or(defaults.result_ttl),
            callback: self.callback,
            group: self.group,
            unique: self.unique.or_else(|| defaults.unique.clone()),
            concurrency: self.concurrency.or_else(|| defaults.concurrency.clone()),
            lock: self.lock.or_else(|| defaults.lock.clone()),
        }
    }

    /// Refuses a line without a task that speaks of one all the same.
    pub(super) fn says_nothing_else(self) -> Result<(), String> {
        let keys = [
            self.args.is_some() || self.kwargs.is_some(),
            self.queue.is_some() || self.priority.is_some() || self.uuid.is_some(),
            self.delay.is_some() || self.at.is_some() || self.ttl.is_some(),
            self.timeout.is_some() || self.patience.is_some() || self.expires.is_some(),
            self.max_retries.is_some() || self.backoff.is_some() || self.memory.is_some(),
            self.profile.is_some() || self.metadata.is_some() || self.result_ttl.is_some(),
            !self.limits.is_empty(),
            self.unique.is_some() || self.concurrency.is_some() || self.lock.is_some(),
        ];
        if keys.contains(&true) {
            return Err(
                "a line without a task has other keys than `group` (put them into the group's members or its `join`)"
                    .into(),
            );
        }
        Ok(())
    }

    /// The message it means, without what follows.
    pub(super) fn builder(self) -> Result<MessageBuilder, String> {
        if self.delay.is_some() && self.at.is_some() {
            return Err("both `delay` and `at` are given (leave one out)".into());
        }
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
        if let Some(patience) = self.patience {
            builder = builder.patience(patience);
        }
        if let Some(ttl) = self.ttl {
            builder = builder.ttl(ttl);
        }
        if let Some(expires) = self.expires {
            builder = builder.expires(expires);
        }
        if let Some(max_retries) = self.max_retries {
            builder = builder.max_retries(max_retries);
        }
        if let Some(backoff) = self.backoff {
            builder = builder.backoff(backoff);
        }
        if let Some(Size(bytes)) = self.memory {
            builder = builder.memory(bytes);
        }
        builder = builder.limits(self.limits);
        if let Some(profile) = self.profile {
            builder = builder.profile(&profile);
        }
        if let Some(mechanism) = self.mechanism {
            builder = builder.mechanism(mechanism);
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
        builder = match self.unique {
            Some(Once {
                key,
                span: Some(span),
            }) => builder.unique(&key, span),
            Some(Once { key, span: None }) => builder.unique_until_end(&key),
            None => builder,
        };
        if let Some(AtOnce { key, most }) = self.concurrency {
            builder = builder.concurrency(&key, most);
        }
        if let Some(lock) = self.lock {
            builder = builder.lock(&lock);
        }
        Ok(builder)
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

pub(super) const fn kind(value: &Value) -> &'static str {
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

/// Reads the option `--profile`.
pub(super) fn profile(text: &str) -> Result<String, String> {
    // Which there are is known to those who run the job.
    match crate::sandbox::profile::is_name(text) {
        true => Ok(text.into()),
        false => Err(format!(
            "`{text}` is no profile's name (it is made of letters, digits, `-` and `_`; built in \
             are `process`, `none` and `strict`)"
        )),
    }
}

pub(super) fn span<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| duration(&text))
        .transpose()
        .map_err(Error::custom)
}

fn mechanism<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Mechanism>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| text.parse())
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

fn bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Size>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(Error::custom),
        Value::Number(number) if number.is_u64() => Ok(number.as_u64().map(Size)),
        other => Err(Error::custom(format!(
            "`memory` is {} (write `\"512MiB\"`, or a whole number of bytes)",
            kind(&other)
        ))),
    }
}

fn confinement<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| profile(&text))
        .transpose()
        .map_err(Error::custom)
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
mod tests;
