//! What follows a job: chains of callbacks, groups and their joins.
//!
//! A message carries a flat list of steps in its header; a [`Step`] is a message or a group. When
//! a job succeeds, its first step is submitted in the move that ends it, with the others as what
//! follows that one. A group is kept by the store: each member's end is counted in the move that
//! ends it, and when all have ended the group is closed in one move that starts what follows.
//!
//! [`follow`] decides which [`Errand`]s an ending brings; it is pure. Stores do them.

mod chain;
mod errand;
pub mod follow;
mod group;
pub(crate) mod plan;
mod sent;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::MessageError;
use crate::name::{QueueName, TaskName};

pub use chain::{Chain, Flow};
pub use errand::{Complete, Count, Errand, Errands, GroupRecord, MemberEnd, Opening};
pub use group::{BuiltGroup, Group};
pub use plan::{GroupStep, JobStep, Step};

pub(crate) use plan::{check_uuids, read as read_plan, write as write_plan};

/// Largest list of steps of one message, in bytes of JSON: about twenty thousand small ones. It
/// travels with each of them in turn.
pub const PLAN_LIMIT: usize = 4 << 20;

/// Most members of a group: they are started in one move.
pub const MEMBERS_LIMIT: usize = 10_000;

/// Bytes of all payloads of a group's members, previous results included: they are written in one
/// move.
pub const OPENING_LIMIT: usize = 32 << 20;

/// Groups within groups.
pub const DEPTH_LIMIT: usize = 16;

/// What a join does about members that have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailed {
    /// It does not run: it ends as failed, and says who failed.
    #[default]
    Stop,
    /// It runs; a failed member's place in the results is `null`.
    Null,
    /// It runs; a failed member's place is `{"error": {"uuid", "cause", "name", "text"}}`.
    Error,
}

/// A job's place in a group: kept in its message's header, and in those of the steps that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The group.
    pub group: Uuid,
    /// The queue that the group is kept with.
    pub home: QueueName,
    /// Its place, from 0.
    pub index: u32,
}

/// Why a job ends as failed without being run: a message that cannot do what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A short name.
    pub name: String,
    /// The text, with a way out.
    pub text: String,
}

/// Why a flow cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// A group has no members.
    #[error(
        "the group has no members, so nothing would ever start its join (submit the join by itself, or give the group a member)"
    )]
    Empty,
    /// A member or a list of callbacks without a message.
    #[error("a chain has no messages (leave it out, or give it one)")]
    EmptyChain,
    /// What follows another job is submitted whatever else there is.
    #[error(
        "task `{task}` follows another or is a member of a group, and cannot be unique (leave `unique` out, or make the first message of the flow unique)"
    )]
    Unique {
        /// The task.
        task: TaskName,
    },
    /// Two of its messages or groups have the same id.
    #[error(
        "uuid {uuid} occurs twice in the flow (leave it out, or give each message and each group its own; `Message::duplicate` copies a message under a new one)"
    )]
    Twice {
        /// The id.
        uuid: Uuid,
    },
    /// Steps are kept as JSON.
    #[error(
        "task `{task}` follows another, is a member of a group or is submitted by a task: its arguments must be JSON (leave the encoding out)"
    )]
    Packed {
        /// The task.
        task: TaskName,
    },
    /// More than [`MEMBERS_LIMIT`].
    #[error(
        "the group has more than {MEMBERS_LIMIT} members (let each member do several things, or make groups the members of a group)"
    )]
    TooMany,
    /// More than [`DEPTH_LIMIT`].
    #[error("groups within groups go deeper than {DEPTH_LIMIT} (use chains of groups instead)")]
    TooDeep,
    /// More than [`PLAN_LIMIT`].
    #[error(
        "what follows the message has {len} bytes as JSON, more than {PLAN_LIMIT} (pass paths or keys instead of data, or let the last step submit the next part)"
    )]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// More than [`OPENING_LIMIT`].
    #[error(
        "the members of the group have {len} bytes of arguments, more than {OPENING_LIMIT} (pass paths or keys instead of data)"
    )]
    TooLarge {
        /// Their length.
        len: usize,
    },
    /// What a task has sent is no list of steps.
    #[error(
        "what the task submits is no flow: {0} (it is a JSON list of steps, see the guide to the protocol)"
    )]
    NoFlow(#[source] serde_json::Error),
    /// One of its messages is wrong.
    #[error(transparent)]
    Message(Box<MessageError>),
    /// A stored list of steps makes no sense.
    #[error("the stored list of what follows cannot be read: {0} (submit the flow again)")]
    Unreadable(#[source] serde_json::Error),
}

impl From<MessageError> for FlowError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Flow(inner) => *inner,
            error => Self::Message(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
