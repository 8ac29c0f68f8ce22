//! Collects what a message is made of, and checks it once.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Arguments, Encoding, Header, METADATA_LIMIT, Message, MessageError, PAYLOAD_LIMIT, limits,
};
use crate::backoff::Backoff;
use crate::flow::{Chain, JobStep, check_uuids, write_plan};
use crate::limits::Limits;
use crate::name::{QueueName, TaskName};
use crate::policy::{Keep, Retries};
use crate::task::Mechanism;
use crate::time::{Timestamp, millis};
use crate::units::LONGEST;

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
    pub(super) task: String,
    pub(super) queue: Option<String>,
    pub(super) uuid: Option<Uuid>,
    pub(super) arguments: Arguments,
    pub(super) wrong: Option<MessageError>,
    pub(super) priority: i64,
    pub(super) delay: Option<Duration>,
    pub(super) at: Option<Timestamp>,
    pub(super) expires: Option<Duration>,
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) previous_result: Option<Value>,
    pub(super) header: Header,
    pub(super) then: Chain,
    pub(super) payload_limit: usize,
    pub(super) on_submit: Option<fn(&Message)>,
}

impl MessageBuilder {
    pub(super) fn new(task: &str) -> Self {
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

    /// How its arguments travel: [`Encoding::Json`] unless something else is said.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.header.encoding = Some(encoding).filter(|encoding| *encoding != Encoding::Json);
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

    /// Processes and threads at once; as each of these limits it can only lower what the profile of
    /// its job allows.
    pub fn processes(self, most: u64) -> Self {
        self.lower(|limits| limits.processes = Some(most))
    }

    /// CPU time of each of its processes, in whole seconds: what is more is cut off.
    pub fn cpu_time(self, most: Duration) -> Self {
        self.lower(|limits| limits.cpu_time_s = Some(most.as_secs()))
    }

    /// Size of each file that it writes, in bytes.
    pub fn file_size(self, bytes: u64) -> Self {
        self.lower(|limits| limits.file_size = Some(bytes))
    }

    /// Open files, pipes and sockets of each of its processes.
    pub fn open_files(self, most: u64) -> Self {
        self.lower(|limits| limits.open_files = Some(most))
    }

    /// All limits of what it may consume besides memory.
    pub fn limits(self, limits: Limits) -> Self {
        self.lower(|all| *all = limits)
    }

    fn lower(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.header.limits);
        if let Err(error) = self.header.limits.check() {
            self.refuse(error.into());
        }
        self
    }

    /// The sandbox profile.
    pub fn profile(mut self, profile: &str) -> Self {
        self.header.profile = Some(profile.into());
        self
    }

    /// What its task's function is to run in. `process` asks a `thread` task for more isolation;
    /// anything else must be what the task itself says, or the job fails without being run.
    pub const fn mechanism(mut self, mechanism: Mechanism) -> Self {
        self.header.mechanism = Some(mechanism);
        self
    }

    /// The user's own data.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Adds to the user's own data; a key that is there already gets the new value.
    pub fn add_metadata(mut self, key: &str, value: impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => {
                let data = self.metadata.get_or_insert_default();
                data.insert(key.into(), value);
            }
            Err(source) => self.refuse(MessageError::Argument {
                parameter: format!("metadata `{key}`"),
                source,
            }),
        }
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
        if !then.steps.is_empty() {
            check_uuids(&then.steps, &mut HashSet::from([message.uuid]))?;
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
        (self.check_at(now), then)
    }

    fn check_at(mut self, now: Timestamp) -> Result<JobStep, MessageError> {
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
        limits::check(&header)?;
        header.created_at = now;
        header.metadata = self
            .metadata
            .map(|data| raw("metadata", &data))
            .transpose()?;
        let payload = header.encoding.unwrap_or_default().write(&self.arguments)?;
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

    pub(super) fn refuse(&mut self, error: MessageError) {
        self.wrong.get_or_insert(error);
    }

    pub(super) fn bounded(&mut self, field: &'static str, duration: Duration) {
        if duration > LONGEST {
            self.refuse(MessageError::TooLong { field });
        }
    }

    pub(super) fn positive(&mut self, field: &'static str, duration: Duration) -> Option<u64> {
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

pub(super) fn within(what: &'static str, len: usize, limit: usize) -> Result<(), MessageError> {
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
