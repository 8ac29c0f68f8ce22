//! The offset of a consumer: kept first, acknowledged then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keeper::Keeper;
use super::{Cause, CheckpointError, Checkpoints};
use crate::name::CheckpointName;
use crate::time::Timestamp;

const KIND: &str = "offset";

/// What is kept about a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where to go on from.
    pub offset: u64,
    /// When it was written, for show.
    pub written_at: Timestamp,
    /// Which [`CheckpointManager`] wrote it.
    pub writer: Uuid,
}

/// Keeps how far a consumer has come, and has it acknowledge only what is kept.
///
/// One manager writes a checkpoint. If there are two, the one that has not read what the other wrote
/// is told so ([`CheckpointError::Overtaken`]), and acknowledges nothing.
///
/// ```
/// use bulkhead_shared::checkpoint::{CheckpointManager, FileCheckpoints};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = Arc::new(FileCheckpoints::open(&dir.path().join("offsets"))?);
/// let mut progress = CheckpointManager::new(store, "mail")?;
/// assert_eq!(progress.offset()?, 0);
///
/// let mut acknowledged = Vec::new();
/// progress.commit(3, || {
///     acknowledged.extend(["1-0", "2-0", "3-0"]);
///     Ok::<(), std::io::Error>(())
/// })?;
/// assert_eq!(progress.offset()?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CheckpointManager {
    keeper: Keeper<Progress>,
    writer: Uuid,
    /// The offset of the record that the keeper knows.
    known: u64,
}

impl CheckpointManager {
    /// A manager of the checkpoint of that name. Reads and writes nothing yet.
    ///
    /// # Errors
    /// [`CheckpointError::Name`].
    pub fn new(store: Arc<dyn Checkpoints>, name: &str) -> Result<Self, CheckpointError> {
        Ok(Self {
            keeper: Keeper::new(store, CheckpointName::new(name)?, KIND),
            writer: Uuid::new_v4(),
            known: 0,
        })
    }

    /// The offset that is kept, 0 if there is none. Writes nothing; whoever wrote it, the next
    /// [`Self::commit`] goes on from there.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Store`].
    pub fn offset(&mut self) -> Result<u64, CheckpointError> {
        Ok(self.progress()?.map_or(0, |progress| progress.offset))
    }

    /// All that is kept, as [`Self::offset`] reads it.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Store`].
    pub fn progress(&mut self) -> Result<Option<Progress>, CheckpointError> {
        let found = self.keeper.read()?;
        self.known = found.as_ref().map_or(0, |progress| progress.offset);
        Ok(found)
    }

    /// Keeps `offset`, and calls `acknowledge` when the store has said that it is kept.
    ///
    /// After an error nothing is acknowledged, unless it is [`CheckpointError::Acknowledge`]. The
    /// same call may be made again, or the batch read again from [`Self::offset`]. An offset that is
    /// kept already is written once more: only a write that succeeds says that it will last.
    ///
    /// # Errors
    /// [`CheckpointError::Back`] for an offset that is lower than the kept one,
    /// [`CheckpointError::Overtaken`], [`CheckpointError::Damaged`], [`CheckpointError::Full`],
    /// [`CheckpointError::Store`]; [`CheckpointError::Acknowledge`] if `acknowledge` fails.
    pub fn commit<E: Into<Cause>>(
        &mut self,
        offset: u64,
        acknowledge: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), CheckpointError> {
        if !self.keeper.is_known() {
            let found = self.keeper.read_own()?;
            self.known = found.map_or(0, |progress| progress.offset);
        }
        if offset < self.known {
            return Err(CheckpointError::Back {
                name: self.keeper.name().clone(),
                kept: self.known,
                wanted: offset,
            });
        }
        self.keeper.write(&Progress {
            offset,
            written_at: Timestamp::now(),
            writer: self.writer,
        })?;
        self.known = offset;
        acknowledge().map_err(|source| CheckpointError::Acknowledge {
            offset,
            source: source.into(),
        })
    }
}
