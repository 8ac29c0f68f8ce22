//! Keeps schedules: rows that say when jobs are made by themselves.
//!
//! A store decides nothing about them. Whoever changes a row says which version he has read; if it
//! is no longer that, nothing is changed. So any number of supervisors can fire the same schedule,
//! and each firing is made once.

use std::time::Duration;

use uuid::Uuid;

use crate::broker::BrokerError;
use crate::message::Message;
use crate::name::{QueueName, ScheduleName};
use crate::time::Timestamp;

mod body;

pub use body::{Body, BodyError, Origin};

/// Most schedules of a namespace: each supervisor reads all of them now and then.
pub const MOST: usize = 10_000;

/// Largest [`Row::body`], in bytes: all of them are read together.
pub const BODY_LIMIT: usize = 64 << 10;

/// One schedule as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique within its namespace.
    pub name: ScheduleName,
    /// Where its jobs go. To change it, remove the row and put it anew.
    pub queue: QueueName,
    /// Raised at every change; 0 for a row that is not stored yet.
    pub version: u64,
    /// When there is something to decide; `None` if never.
    pub due: Option<Timestamp>,
    /// A [`Body`] as JSON, which no store looks into.
    pub body: Vec<u8>,
}

/// What became of a row that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    Written,
    /// The row is another one by now: nothing was changed. Read it again.
    Stale,
    /// There are [`MOST`] of them already.
    Full,
}

/// Rows that are due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The store's time.
    pub now: Timestamp,
    /// Those that are due, the earliest first.
    pub rows: Vec<Row>,
    /// Until the next one is, if there is one.
    pub next: Option<Duration>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it is due again.
    pub due: Option<Timestamp>,
    /// Its body from now on.
    pub body: Vec<u8>,
}

/// A firing: jobs and the row's next step, in one move.
#[derive(Debug, Clone)]
pub struct Fire {
    /// The row.
    pub name: ScheduleName,
    /// Its queue, and that of the jobs.
    pub queue: QueueName,
    /// The version that was read.
    pub version: u64,
    /// The jobs to submit; a known uuid changes nothing.
    pub messages: Vec<Message>,
    /// What becomes of the row.
    pub next: Step,
    /// If this job of the queue has not ended, nothing is submitted and the row takes this step
    /// instead.
    pub unless: Option<(Uuid, Step)>,
}

/// What became of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// The jobs are submitted.
    Free,
    /// The job that was named has not ended: nothing is submitted.
    Busy,
    /// Somebody else was first: nothing was changed.
    Stale,
}

/// Keeps schedules. Object-safe; one instance serves all threads of a process.
pub trait Schedules: Send + Sync + std::fmt::Debug {
    /// Writes a row, if the stored one has the same version and queue, or there is none and the
    /// version is 0.
    ///
    /// # Errors
    /// [`BrokerError`]; [`BrokerError::Refused`] for a body above [`BODY_LIMIT`].
    fn put(&self, row: &Row) -> Result<Put, BrokerError>;

    /// The row of that name.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn find(&self, name: &ScheduleName) -> Result<Option<Row>, BrokerError>;

    /// All rows, by name.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn all(&self) -> Result<Vec<Row>, BrokerError>;

    /// Removes a row, if it has this version still. Returns whether it did.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn forget(&self, row: &Row) -> Result<bool, BrokerError>;

    /// At most `limit` rows that are due, and when the next one is.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn due(&self, limit: usize) -> Result<Due, BrokerError>;

    /// Fires, each in one move.
    ///
    /// # Errors
    /// [`BrokerError`]; some of them may have been made then. To try again does no harm.
    fn fire(&self, fires: &[Fire]) -> Result<Vec<Fired>, BrokerError>;
}

/// Refuses a body that is too large.
#[cfg(any(feature = "redis", feature = "sqlite"))]
pub(crate) fn check(row: &Row) -> Result<(), BrokerError> {
    if row.body.len() <= BODY_LIMIT {
        return Ok(());
    }
    Err(BrokerError::Refused {
        reason: format!(
            "schedule `{}` has {} bytes, more than {BODY_LIMIT}",
            row.name,
            row.body.len()
        ),
        way_out: "give its task a reference to large arguments instead of the arguments".into(),
    })
}
