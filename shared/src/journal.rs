//! What a job remembers from one run to the next: entries that its attempts write, and signals that
//! others send it. Stores keep both and know nothing of what they mean.
//!
//! An entry is written under the fence of the attempt that writes it, so an attempt that has lost
//! its job changes nothing; its time is the store's, and stays that of the first writing.

use std::fmt;

use crate::broker::{BrokerError, Receipt};
use crate::name::Key;
use crate::time::Timestamp;
use uuid::Uuid;

pub use crate::ask::{BYTES_MOST, ENTRIES_MOST, ENTRY_LIMIT};

/// Largest payload of a signal, in bytes.
pub const SIGNAL_LIMIT: usize = 64 << 10;

/// Signals that one job keeps, taken or not.
pub const SIGNALS_MOST: u32 = 1_000;

/// Entries in one answer to [`Journals::recall`].
pub const PAGE: usize = 500;

/// Bytes in one answer to [`Journals::recall`], about.
pub const PAGE_BYTES: usize = 512 << 10;

/// An entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The right to write it.
    pub receipt: Receipt,
    /// Names it within the job's journal; a later record replaces the body.
    pub key: String,
    /// What is kept.
    pub body: Vec<u8>,
    /// The writer takes the journal for empty: nothing is written if it is not.
    pub is_first: bool,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is written.
    Written {
        /// When its key was first written.
        at: Timestamp,
        /// The store's time now.
        now: Timestamp,
    },
    /// Nothing: the journal is not empty, and the writer does not know it.
    Behind,
    /// Nothing: the job is not held under this fence any more.
    Lost,
    /// Nothing: the journal has as many entries, or bytes, as it may have.
    Full,
}

/// An entry that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// When its key was first written.
    pub at: Timestamp,
    /// Its place in the order of first writing.
    pub number: u32,
    /// What was written last.
    pub body: Vec<u8>,
}

/// A part of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of first writing.
    pub entries: Vec<Entry>,
    /// There are more, after the last of these.
    pub more: bool,
    /// The store's time now.
    pub now: Timestamp,
}

/// Something that a job may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What it says.
    pub name: Key,
    /// A signal that is sent again under the same key is one.
    pub key: String,
    /// What comes with it: JSON.
    pub payload: Vec<u8>,
}

/// A signal that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSignal {
    /// What it says.
    pub name: String,
    /// Under which key.
    pub key: String,
    /// When it came.
    pub at: Timestamp,
    /// The entry that took it, if one has.
    pub taken_by: Option<String>,
    /// What came with it.
    pub payload: Vec<u8>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// It is kept, and the job woken if it slept for it.
    Kept,
    /// One with this name and key was there before; nothing was changed.
    Known,
    /// The job has ended.
    Ended,
    /// Nobody knows the job.
    Unknown,
    /// The job keeps as many signals as it may.
    Full,
}

/// What became of the wish to take a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Here it is; the same asker is given the same one again.
    Signal {
        /// What came with it.
        payload: Vec<u8>,
        /// The store's time now.
        now: Timestamp,
    },
    /// There is none that nobody has taken.
    Nothing {
        /// The store's time now.
        now: Timestamp,
    },
    /// The job is not held under this fence any more.
    Lost,
}

/// All that a job remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Journal {
    /// In the order of first writing.
    pub entries: Vec<Entry>,
    /// In the order in which they came.
    pub signals: Vec<KeptSignal>,
}

/// Keeps journals. Each method is one atomic move.
pub trait Journals: Send + Sync + fmt::Debug {
    /// Writes entries, each by itself; an answer for each.
    ///
    /// # Errors
    /// [`BrokerError`]; after [`BrokerError::Away`] they may be written.
    fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, BrokerError>;

    /// What was written after the first `after` entries; `None` if the job is not held under this
    /// fence any more.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn recall(&self, receipt: &Receipt, after: u32) -> Result<Option<Page>, BrokerError>;

    /// Takes the oldest signal of that name that nobody has taken, for the entry `by`.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn take(&self, receipt: &Receipt, name: &Key, by: &str) -> Result<Taken, BrokerError>;

    /// Sends a signal to a job that has not ended.
    ///
    /// # Errors
    /// [`BrokerError`]; after [`BrokerError::Away`] it may be kept: sent again it is known.
    fn signal(&self, uuid: Uuid, signal: &Signal) -> Result<Signalled, BrokerError>;

    /// How many jobs that have not ended remember something. Looks at all of them.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn remembering(&self) -> Result<u64, BrokerError>;

    /// All that a job remembers; `None` if nobody knows it.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn journal(&self, uuid: Uuid) -> Result<Option<Journal>, BrokerError>;
}
