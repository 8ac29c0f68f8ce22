//! What a producer submits.
//!
//! A [`MessageBuilder`] collects, [`MessageBuilder::build`] checks once, and a [`Message`] is
//! right by construction. A store keeps it as a [`Header`] (versioned JSON) and a payload
//! (bytes it never looks into).

#[cfg(feature = "store")]
mod amend;
mod builder;
mod encoding;
mod error;
mod foreign;
mod limits;
mod parts;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::flow::{Member, Refusal};
use crate::hook::HookKind;
use crate::limits::Limits;
use crate::name::{QueueName, TaskName};
use crate::policy::{Keep, Retries};
use crate::task::Mechanism;
use crate::time::Timestamp;

#[cfg(feature = "store")]
pub(crate) use amend::amended;
#[cfg(feature = "store")]
pub use amend::{Amended, Amendment};
pub use builder::MessageBuilder;
pub use encoding::{Encoding, EncodingError};
pub use error::MessageError;
pub use limits::{Concurrency, Gate, Linked, LinkedLock, Unique};

/// Default for the largest payload, in bytes: what fits through a pipe in well under a second.
pub const PAYLOAD_LIMIT: usize = 16 << 20;

/// Largest metadata, in bytes: they travel with every listing.
pub const METADATA_LIMIT: usize = 64 << 10;

/// The layout of [`Header`] that this version writes.
pub const HEADER_VERSION: u32 = 1;

/// The part of a message that a supervisor reads; stored as versioned JSON, and changed only by
/// an amendment while the job waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// The layout, [`HEADER_VERSION`].
    pub v: u32,
    /// When it was built.
    pub created_at: Timestamp,
    /// How its arguments are written; JSON if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
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
    /// What else it may consume.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The sandbox profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What the task's function is to run in, if not what its task says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
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
    /// The job whose task submitted the flow that this one is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<Uuid>,
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
    /// One job with its key is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// How many with its key may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The lock it holds while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LinkedLock>,
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
    pub on_submit: Option<fn(&Self)>,
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

#[cfg(test)]
mod tests;
