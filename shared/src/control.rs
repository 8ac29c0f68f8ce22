//! What operators do to queues and namespaces as a whole.

use std::fmt;

use serde::Serialize;

use crate::broker::BrokerError;
use crate::name::QueueName;

/// What a queue lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueGate {
    /// Jobs come in and go out.
    #[default]
    Open,
    /// Jobs come in; none is started. What runs goes on.
    Paused,
    /// Producers are refused; what is there runs to its end, with its retries and callbacks.
    Draining,
}

impl QueueGate {
    /// The name it is printed under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for QueueGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Acts on queues and namespaces. Object-safe.
pub trait Control: Send + Sync + fmt::Debug {
    /// Sets what a queue lets through, also of one that was never used. Returns what it was.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn set_gate(&self, queue: &QueueName, gate: QueueGate) -> Result<QueueGate, BrokerError>;

    /// Forgets up to about `limit` jobs of the namespace, whatever they are and whoever runs them: a
    /// running one is lost to its supervisor, which stops it. Returns how many; with none left, all
    /// else that the namespace holds is forgotten too: groups, schedules, streams, registrations,
    /// gates of queues. Locks and checkpoints stay.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn clear(&self, limit: usize) -> Result<usize, BrokerError>;

    /// Looks for what a store can hold only if somebody else took a part of it away - an evicted
    /// key, a deleted row - and removes the rest, about `limit` entries in one call. A job without
    /// its message is unknown from then on. Returns how many were removed.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn mend(&self, limit: usize) -> Result<usize, BrokerError>;
}
