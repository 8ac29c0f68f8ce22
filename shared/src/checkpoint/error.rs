//! What can go wrong with a checkpoint.

use super::Broken;
use crate::broker::BrokerError;
use crate::name::{CheckpointName, NameError};

/// What somebody else's code says went wrong.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a checkpoint did not go on. Unless it says otherwise, nothing was acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store failed. What was to be written may be written or not; the same call may be made
    /// again.
    #[error("the checkpoint's store: {0}")]
    Store(#[from] BrokerError),
    /// What is stored is no such checkpoint. Nothing is read from it and nothing written over it.
    #[error(
        "{place} is damaged: {what} (put back a copy, or remove it with `forget_checkpoint` to begin \
         from nothing)"
    )]
    Damaged {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        what: Broken,
    },
    /// There are too many.
    #[error(
        "no checkpoint `{name}` can be added: there are {} (remove some with `forget_checkpoint`)",
        super::MOST
    )]
    Full {
        /// The one that was to be added.
        name: CheckpointName,
    },
    /// The offset is lower than the one that is kept.
    #[error(
        "checkpoint `{name}` is at offset {kept} and does not go back to {wanted} (go on from {kept}; \
         to read again from the start, remove it with `forget_checkpoint`)"
    )]
    Back {
        /// Which.
        name: CheckpointName,
        /// Where it is.
        kept: u64,
        /// Where it was to go.
        wanted: u64,
    },
    /// Somebody else writes the same checkpoint.
    #[error(
        "{place} was changed by somebody else (let one process write it; to take it over, read it \
         and go on from there)"
    )]
    Overtaken {
        /// Where it lies.
        place: String,
    },
    /// Other processes change the checkpoint all the time.
    #[error(
        "checkpoint `{name}` is changed by others again and again (the same call may be made again)"
    )]
    Contended {
        /// Which.
        name: String,
    },
    /// The offset is kept, and the batch could not be acknowledged. The same call does both again.
    #[error("offset {offset} is kept, but its batch is not acknowledged: {source}")]
    Acknowledge {
        /// The offset.
        offset: u64,
        /// What the consumer says.
        source: Cause,
    },
    /// The checkpoint has no dependency of that name.
    #[error("`{name}` is no dependency of this checkpoint (it has {known})")]
    Unknown {
        /// What was named.
        name: String,
        /// Those it has.
        known: String,
    },
    /// Nobody can know which dependency is meant.
    #[error("the checkpoint has several dependencies (name one of {known} with `heartbeat_of`)")]
    Which {
        /// Those it has.
        known: String,
    },
    /// The checkpoint has none, or two of the same name.
    #[error("{0}")]
    Dependencies(String),
    /// The dependent could not be paused or resumed. The same call tries again.
    #[error("the dependent could not be {what}: {source}")]
    Dependent {
        /// `paused` or `resumed`.
        what: &'static str,
        /// What it says.
        source: Cause,
    },
    /// A callback failed. It is called again with the same call.
    #[error("the callback about dependency `{dependency}` failed: {source}")]
    Callback {
        /// Whom it was about.
        dependency: String,
        /// What it says.
        source: Cause,
    },
}
