//! What files of checkpoints ask of a disk, one step each, so that a test can cut the power between
//! any two of them.

use std::fmt::Debug;

use crate::broker::BrokerError;

/// Files in one directory. Names are without directories.
pub(super) trait Disk: Send + Sync + Debug {
    /// A file that is being written.
    type Handle;
    /// A lock that is held until it is dropped.
    type Lock;

    /// What is in a file, if there is one. A longer one than `longest` is read only so far.
    fn read(&self, name: &str, longest: usize) -> Result<Option<Vec<u8>>, BrokerError>;

    /// An empty file in place of whatever had that name.
    fn create(&self, name: &str) -> Result<Self::Handle, BrokerError>;

    /// Writes all of it.
    fn write(&self, handle: &mut Self::Handle, bytes: &[u8]) -> Result<(), BrokerError>;

    /// After this, what is in the file survives a power cut.
    fn sync(&self, handle: &Self::Handle) -> Result<(), BrokerError>;

    /// Gives a file the name of another one, in one step.
    fn rename(&self, from: &str, to: &str) -> Result<(), BrokerError>;

    /// After this, which names there are survives a power cut.
    fn sync_names(&self) -> Result<(), BrokerError>;

    /// Removes a file; false if there was none.
    fn remove(&self, name: &str) -> Result<bool, BrokerError>;

    /// How many names end like this.
    fn count(&self, end: &str) -> Result<usize, BrokerError>;

    /// Locks a file against other processes, made if it is missing; `None` if one of them holds it.
    fn lock(&self, name: &str) -> Result<Option<Self::Lock>, BrokerError>;

    /// Where a file is, for people.
    fn place(&self, name: &str) -> String;
}
