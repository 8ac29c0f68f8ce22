//! What a producer submits.
//!
//! A [`MessageBuilder`] collects, [`MessageBuilder::build`] checks once, and a [`Message`] is
//! right by construction. A store keeps it as a [`Header`] (versioned JSON) and a payload
//! (bytes it never looks into).

mod error;
mod parts;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::flow::{Chain, JobStep, Member, Refusal, write_plan};
use crate::hook::HookKind;
use crate::name::{QueueName, TaskName};
use crate::policy::{Keep, Retries};
use crate::time::{Timestamp, millis};
use crate::units::LONGEST;

pub use error::MessageError;

/// Default for the largest payload, in bytes: what fits through a pipe in well under a second.
pub const PAYLOAD_LIMIT: usize = 16 << 20;

/// Largest metadata, in bytes: they travel with every listing.
pub const METADATA_LIMIT: usize = 64 << 10;

/// The layout of [`Header`] that this version writes.
pub const HEADER_VERSION: u32 = 1;

/// The part of a message that a supervisor reads; stored as versioned JSON and never rewritten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// The layout, [`HEADER_VERSION`].
    pub v: u32,
    /// When it was built.
    pub created_at: Timestamp,
    /// Longest run of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// From SIGTERM to SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ms: Option<u64>,
    /// Attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<Retries>,
    /// Wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How long the end is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_ttl: Option<Keep>,
    /// Memory of the process, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The sandbox profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Longest wait in ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// End of the whole life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The user's own data, a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The first message of the line this one descends from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progenitor_uuid: Option<Uuid>,
    /// The message before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_message_uuid: Option<Uuid>,
    /// Bytes at the end of the payload that are what the message before this one returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_bytes: Option<u64>,
    /// What follows it: a list of [`crate::flow::Step`]s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<RawValue>>,
    /// Its place in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Box<Member>>,
    /// Why it ends as failed without being run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Box<Refusal>>,
    /// It runs this hook of its task, not the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookKind>,
}

/// Arguments as they travel: `{"args": [...], "kwargs": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// By position.
    #[serde(default)]
    pub args: Vec<Value>,
    /// By name.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

/// A message that has been checked.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id: unique within its namespace and queue.
    pub uuid: Uuid,
    /// The task it is for.
    pub task: TaskName,
    /// The queue it names, if it does.
    pub queue: Option<QueueName>,
    /// Lower runs first.
    pub priority: u32,
    /// When it may start; at once if absent.
    pub ready_at: Option<Timestamp>,
    /// What the supervisor reads.
    pub header: Header,
    /// [`Arguments`] as JSON, and behind them the previous result, if there is one.
    pub payload: Vec<u8>,
    /// What its producer does once it is stored; travels nowhere.
    pub on_submit: Option<fn(&Message)>,
}

impl Message {
    /// Starts a message for `task`.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a message comes out of its builder, checked"
    )]
    pub fn new(task: &str) -> MessageBuilder {
        MessageBuilder::new(task)
    }
}

/// Collects the parts of a [`Message`].
///
/// ```
/// use bulkhead_shared::Message;
/// use std::time::Duration;
/// let message = Message::new("add").arg(2).arg(3).priority(1).timeout(Duration::from_secs(5));
/// assert_eq!(message.build().unwrap().task.as_str(), "add");
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct MessageBuilder {
    task: String,
    queue: Option<String>,
    uuid: Option<Uuid>,
    arguments: Arguments,
    wrong: Option<MessageError>,
    priority: i64,
    delay: Option<Duration>,
    at: Option<Timestamp>,
    expires: Option<Duration>,
    metadata: Option<Map<String, Value>>,
    previous_result: Option<Value>,
    header: Header,
    then: Chain,
    payload_limit: usize,
    on_submit: Option<fn(&Message)>,
}

impl MessageBuilder {
    fn new(task: &str) -> Self {
        Self {
            task: task.into(),
            queue: None,
            uuid: None,
            arguments: Arguments::default(),
            wrong: None,
            priority: 0,
            delay: None,
            at: None,
            expires: None,
            metadata: None,
            previous_result: None,
            header: Header::new(),
            then: Chain::new(),
            payload_limit: PAYLOAD_LIMIT,
            on_submit: None,
        }
    }

    /// Adds an argument by position.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        let place = self.arguments.args.len().to_string();
        match serde_json::to_value(value) {
            Ok(value) => self.arguments.args.push(value),
            Err(source) => self.refuse(MessageError::Argument {
                parameter: place,
                source,
            }),
        }
        self
    }

    /// Adds an argument by name.
    pub fn kwarg(mut self, name: &str, value: impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => drop(self.arguments.kwargs.insert(name.into(), value)),
            Err(source) => self.refuse(MessageError::Argument {
                parameter: name.into(),
                source,
            }),
        }
        self
    }

    /// Sets all arguments.
    pub fn arguments(mut self, arguments: Arguments) -> Self {
        self.arguments = arguments;
        self
    }

    /// Sends it to `queue` instead of its task's.
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Gives it an id. A second message with the same id in the same queue is refused.
    pub const fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Lower runs first; 0 is the default and the first.
    pub const fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Starts it no earlier than this long after it is built.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Starts it no earlier than at `time`.
    pub const fn at(mut self, time: Timestamp) -> Self {
        self.at = Some(time);
        self
    }

    /// Longest run of one attempt.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.header.timeout_ms = self.positive("timeout", timeout);
        self
    }

    /// From SIGTERM to SIGKILL.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.bounded("patience", patience);
        self.header.patience_ms = Some(millis(patience));
        self
    }

    /// Longest wait in ready; delays and running do not count.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.header.ttl_ms = self.positive("ttl", ttl);
        self
    }

    /// End of the whole life, this long after it is built.
    pub fn expires(mut self, expires: Duration) -> Self {
        if self.positive("expires", expires).is_some() {
            self.expires = Some(expires);
        }
        self
    }

    /// Attempts after the first.
    pub const fn max_retries(mut self, retries: Retries) -> Self {
        self.header.max_retries = Some(retries);
        self
    }

    /// Wait between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        if let (Some(floor), Some(ceiling)) = (backoff.floor_ms, backoff.ceiling_ms)
            && floor > ceiling
        {
            self.refuse(MessageError::Backoff { floor, ceiling });
        }
        self.header.backoff = Some(backoff);
        self
    }

    /// How long the end is kept.
    pub const fn result_ttl(mut self, keep: Keep) -> Self {
        self.header.result_ttl = Some(keep);
        self
    }

    /// Memory of the process, in bytes.
    pub fn memory(mut self, bytes: u64) -> Self {
        if bytes < 16 << 20 {
            self.refuse(MessageError::Memory { bytes });
        }
        self.header.memory = Some(bytes);
        self
    }

    /// The sandbox profile.
    pub fn profile(mut self, profile: &str) -> Self {
        self.header.profile = Some(profile.into());
        self
    }

    /// The user's own data.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// The first message of the line this one descends from.
    pub const fn progenitor_uuid(mut self, uuid: Uuid) -> Self {
        self.header.progenitor_uuid = Some(uuid);
        self
    }

    /// What follows when it has succeeded: a message, a group, or several one after the other.
    /// Each gets what the one before it returned. Called again, it adds to the end.
    ///
    /// ```
    /// use bulkhead_shared::Message;
    /// let add = Message::new("add").arg(2).arg(3);
    /// let message = add.callback(Message::new("add_previous").arg(4)).build().unwrap();
    /// assert_eq!(message.descendants().unwrap().len(), 1);
    /// ```
    pub fn callback(mut self, next: impl Into<Chain>) -> Self {
        self.then.append(next.into());
        self
    }

    /// The message before this one, and what it returned.
    pub fn previous(mut self, uuid: Uuid, result: Value) -> Self {
        self.header.previous_message_uuid = Some(uuid);
        self.previous_result = Some(result);
        self
    }

    /// Has [`Client::submit`](crate::client::Client::submit) call `hook` once the message is stored,
    /// in the producer's process. Of a message that was known already it is not called.
    pub const fn on_submit(mut self, hook: fn(&Message)) -> Self {
        self.on_submit = Some(hook);
        self
    }

    /// Raises or lowers the largest payload, in bytes ([`PAYLOAD_LIMIT`] is the default and the
    /// most that a supervisor takes).
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.payload_limit = bytes.min(PAYLOAD_LIMIT);
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first [`MessageError`], with its way out.
    pub fn build(self) -> Result<Message, MessageError> {
        self.build_at(Timestamp::now())
    }

    /// [`MessageBuilder::build`] at a given time.
    ///
    /// # Errors
    /// As [`MessageBuilder::build`].
    pub fn build_at(mut self, now: Timestamp) -> Result<Message, MessageError> {
        let previous = self.previous_result.take();
        let (limit, on_submit) = (self.payload_limit, self.on_submit);
        let (step, then) = self.step(now);
        let step = step?;
        let mut message = step.into_message(now);
        message.header.created_at = now;
        message.on_submit = on_submit;
        if let Some(wrong) = then.wrong {
            return Err(wrong.into());
        }
        message.header.then = write_plan(then.steps.iter())?;
        if let Some(previous) = previous {
            let json = serde_json::to_vec(&previous).map_err(|source| MessageError::Argument {
                parameter: "previous result".into(),
                source,
            })?;
            within("previous result", json.len(), limit)?;
            message.header.previous_bytes = u64::try_from(json.len()).ok();
            message.payload.extend(json);
        }
        Ok(message)
    }

    /// The step it is, and what follows it.
    pub(crate) fn into_step(self) -> (Result<JobStep, MessageError>, Chain) {
        self.step(Timestamp::now())
    }

    fn step(mut self, now: Timestamp) -> (Result<JobStep, MessageError>, Chain) {
        let then = std::mem::take(&mut self.then);
        (self.checked(now), then)
    }

    fn checked(mut self, now: Timestamp) -> Result<JobStep, MessageError> {
        if let Some(delay) = self.delay {
            self.bounded("delay", delay);
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let priority = u32::try_from(self.priority).map_err(|_| MessageError::Priority {
            priority: self.priority,
        })?;
        let task = TaskName::new(&self.task)?;
        let queue = self.queue.as_deref().map(QueueName::new).transpose()?;
        let ready = self.at.or_else(|| self.delay.map(|delay| now.plus(delay)));
        let expires = self.expires.map(|expires| now.plus(expires));
        if let (Some(expires), Some(ready)) = (expires, ready)
            && expires <= ready
        {
            return Err(MessageError::ExpiresFirst { expires, ready });
        }
        let mut header = self.header;
        header.created_at = now;
        header.metadata = self
            .metadata
            .map(|data| raw("metadata", &data))
            .transpose()?;
        let payload =
            serde_json::to_vec(&self.arguments).map_err(|source| MessageError::Argument {
                parameter: "*".into(),
                source,
            })?;
        within("payload", payload.len(), self.payload_limit)?;
        Ok(JobStep {
            uuid: self.uuid.unwrap_or_else(Uuid::now_v7),
            task,
            queue,
            priority,
            at: self.at,
            delay_ms: self.delay.map(millis),
            expires_ms: self.expires.map(millis),
            header,
            payload,
        })
    }

    fn refuse(&mut self, error: MessageError) {
        self.wrong.get_or_insert(error);
    }

    fn bounded(&mut self, field: &'static str, duration: Duration) {
        if duration > LONGEST {
            self.refuse(MessageError::TooLong { field });
        }
    }

    fn positive(&mut self, field: &'static str, duration: Duration) -> Option<u64> {
        self.bounded(field, duration);
        if millis(duration) == 0 {
            self.refuse(MessageError::Zero { field });
            return None;
        }
        Some(millis(duration))
    }
}

impl TryFrom<MessageBuilder> for Message {
    type Error = MessageError;
    fn try_from(builder: MessageBuilder) -> Result<Self, MessageError> {
        builder.build()
    }
}

fn within(what: &'static str, len: usize, limit: usize) -> Result<(), MessageError> {
    if len > limit {
        Err(MessageError::TooLarge { what, len, limit })
    } else {
        Ok(())
    }
}

fn raw(what: &'static str, value: &impl Serialize) -> Result<Box<RawValue>, MessageError> {
    let raw = serde_json::value::to_raw_value(value).map_err(|source| MessageError::Argument {
        parameter: what.into(),
        source,
    })?;
    within(what, raw.get().len(), METADATA_LIMIT)?;
    Ok(raw)
}

#[cfg(test)]
mod tests;
