//! What keeps checkpoints. A store looks into none of them.

use std::fmt::Debug;

use crate::broker::BrokerError;
use crate::name::CheckpointName;

/// Most checkpoints of a namespace, or of a directory.
pub const MOST: usize = 10_000;

/// Largest [`Kept::body`], in bytes: it is written as a whole at each step.
pub const BODY_LIMIT: usize = 64 << 10;

/// A checkpoint as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Another one after each change; never 0.
    pub version: u64,
    /// What was written.
    pub body: Vec<u8>,
}

/// What became of a checkpoint that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is stored, and survives whatever the store can survive.
    Written {
        /// Its version from now on.
        version: u64,
    },
    /// Somebody else has changed it: nothing was written.
    Stale,
    /// There are [`MOST`] of them already: nothing was written.
    Full,
}

/// Keeps checkpoints. Object-safe; one instance serves all threads of a process.
///
/// For a store of your own: [`Self::checkpoint`] writes nothing, and [`Keep::Written`] is said only
/// when a crash can no longer take away what was written. After an error it may be written or not.
pub trait Checkpoints: Send + Sync + Debug {
    /// The checkpoint of that name.
    ///
    /// # Errors
    /// [`BrokerError`]; [`BrokerError::Damaged`] for what this store has not written.
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError>;

    /// Writes a checkpoint in one move, if the stored one has this version still, or there is none
    /// and the version is 0.
    ///
    /// # Errors
    /// [`BrokerError`]; [`BrokerError::Refused`] for a body above [`BODY_LIMIT`].
    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError>;

    /// Removes a checkpoint, whatever is in it. Returns whether there was one.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError>;

    /// Where that checkpoint lies, for people.
    fn place_of(&self, name: &CheckpointName) -> String;
}

/// Refuses a body that is too large.
pub(crate) fn check(name: &CheckpointName, body: &[u8]) -> Result<(), BrokerError> {
    if body.len() <= BODY_LIMIT {
        return Ok(());
    }
    Err(BrokerError::Refused {
        reason: format!(
            "checkpoint `{name}` has {} bytes, more than {BODY_LIMIT}",
            body.len()
        ),
        way_out: "keep large state elsewhere and a reference to it in the checkpoint".into(),
    })
}
