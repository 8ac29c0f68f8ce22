use crate::flow::FlowError;
use crate::limits::LimitError;
use crate::name::{LockName, NameError};
use crate::time::Timestamp;

/// Why a message cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A task or queue name is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The priority does not fit the order of the queue.
    #[error(
        "priority {priority} is not between 0 and {} (lower runs first)",
        u32::MAX
    )]
    Priority {
        /// What was given.
        priority: i64,
    },
    /// A length of time that must be positive is zero.
    #[error("{field} is zero (leave it out for the default)")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A length of time no one means.
    #[error("{field} is longer than ten years (check the unit)")]
    TooLong {
        /// The field.
        field: &'static str,
    },
    /// Too many bytes.
    #[error(
        "{what} has {len} bytes, more than {limit} (store the data elsewhere and pass its path or key)"
    )]
    TooLarge {
        /// Payload, metadata or previous result.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A value that JSON cannot hold.
    #[error(
        "argument `{parameter}` cannot be written as JSON (maps need text keys, numbers must be finite)"
    )]
    Argument {
        /// The parameter.
        parameter: String,
        /// What the serializer said.
        #[source]
        source: serde_json::Error,
    },
    /// The memory limit is too small for any process.
    #[error("memory limit of {bytes} bytes is below 16MiB (no process starts with less)")]
    Memory {
        /// What was given.
        bytes: u64,
    },
    /// A limit that no task could live with.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The job would end before it may start.
    #[error(
        "the message expires at {expires} but is not ready before {ready} (raise `expires` or lower the delay)"
    )]
    ExpiresFirst {
        /// End of its life.
        expires: Timestamp,
        /// When it may start.
        ready: Timestamp,
    },
    /// The floor of the backoff is above its ceiling.
    #[error("backoff floor {floor}ms is above its ceiling {ceiling}ms (swap them)")]
    Backoff {
        /// Shortest wait.
        floor: u64,
        /// Longest wait.
        ceiling: u64,
    },
    /// A lock is linked to the message already.
    #[error("the message is linked to lock `{lock}` already (replace it, or leave one out)")]
    LinkedAlready {
        /// That lock.
        lock: LockName,
    },
    /// A job waits at one gate only.
    #[error(
        "the message names lock `{lock}` and a concurrency key (leave one out: a lock lets one job run at once)"
    )]
    TwoGates {
        /// The lock.
        lock: LockName,
    },
    /// A task says of a message what only the supervisor can know.
    #[error("a message that a task submits cannot say `{field}` (leave it out)")]
    NotYours {
        /// The key of its header.
        field: &'static str,
    },
    /// A stored message is to be changed in what does not change any more.
    #[error(
        "only the priority, the metadata and the rules of attempts of a stored message can be changed (remove the job and submit another)"
    )]
    Fixed,
    /// What follows it is wrong.
    #[error(transparent)]
    Flow(#[from] Box<FlowError>),
}

impl From<FlowError> for MessageError {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Message(inner) => *inner,
            error => Self::Flow(Box::new(error)),
        }
    }
}
