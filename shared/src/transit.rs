//! Moves jobs from one store to another, so that at no moment two stores can run the same one.
//!
//! A job goes in four steps. Each may be made again after an interruption, by a process that knows
//! nothing of the one before:
//!
//! | step | in the source | in the target |
//! |---|---|---|
//! | [`Transit::send_off`] | on its way: nobody can claim, end or forget it | |
//! | [`Transit::receive`] | on its way | arriving: nobody can claim, end or forget it |
//! | [`Transit::forget_sent`] | gone | arriving |
//! | [`Transit::admit`] | | what it was in the source |
//!
//! A job that is on its way or arriving is shown as what it was, and its uuid is known. Users may
//! revoke it: it ends where it is, under a new fence, and that end travels instead.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::broker::BrokerError;
use crate::catalog::State;
use crate::name::{QueueName, TaskName};
use crate::outcome::Cause;
use crate::time::Timestamp;

/// All there is about a job that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Its id.
    pub uuid: Uuid,
    /// Its queue.
    pub queue: QueueName,
    /// Its task.
    pub task: TaskName,
    /// Where it is; never [`State::Leased`].
    pub state: State,
    /// Lower runs first.
    pub priority: u32,
    /// Its newest fence, raised by [`Transit::send_off`].
    pub fence: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it will be, or became, ready.
    pub ready_at: Timestamp,
    /// The longest it may wait in ready.
    pub ttl: Option<Duration>,
    /// The end of its whole life.
    pub expires_at: Option<Timestamp>,
    /// When its last attempt was sent to its process, if that is kept outside of the history.
    pub started_at: Option<Timestamp>,
    /// The process of its last attempt, if that is kept outside of the history.
    pub pid: Option<u32>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// Details from the task, JSON.
    pub progress: Option<Vec<u8>>,
    /// Its message's header, JSON.
    pub header: Vec<u8>,
    /// Its message's payload.
    pub payload: Vec<u8>,
    /// Its history, JSON; may be empty.
    pub history: Vec<u8>,
    /// Its result, if one is kept.
    pub result: Option<Vec<u8>>,
    /// When the result is forgotten; `None` is with the job.
    pub result_until: Option<Timestamp>,
    /// When it is forgotten, if it has ended; `None` is never.
    pub purge_at: Option<Timestamp>,
}

/// What became of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is arriving.
    Stored,
    /// The queue knows this job already, in this state or a later one. Nothing of it was changed
    /// but its fence, which is at least that of the parcel unless somebody holds the job.
    Known,
}

/// Which parcel to forget, once its receipt is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The job.
    pub uuid: Uuid,
    /// Its queue.
    pub queue: QueueName,
    /// The fence it was sent off with.
    pub fence: u64,
}

impl From<&Parcel> for Sent {
    fn from(parcel: &Parcel) -> Self {
        Self {
            uuid: parcel.uuid,
            queue: parcel.queue.clone(),
            fence: parcel.fence,
        }
    }
}

/// How many jobs are between two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Underway {
    /// Sent off from here.
    pub leaving: u64,
    /// Received here, and not admitted yet.
    pub arriving: u64,
}

/// Moves jobs between stores. Object-safe; all of one namespace.
pub trait Transit: Send + Sync + fmt::Debug {
    /// Sends off up to `limit` jobs that nobody holds, under a new fence, those of each queue in the
    /// order in which they would run: those of earlier calls that were not forgotten are among them again, at
    /// their place. May give fewer, to keep the answer small; gives none only if there are none.
    ///
    /// # Errors
    /// [`BrokerError`]; none was sent off then, or all are given by the next call.
    fn send_off(&self, limit: usize) -> Result<Vec<Parcel>, BrokerError>;

    /// Stores parcels as arriving, those of each queue in this order and in one move. A uuid that is arriving here under
    /// an older fence is overwritten; any other known one is left as it is ([`Received::Known`]),
    /// and so is an arriving one that has ended if the parcel has not: somebody has revoked it
    /// here. A known one that has ended and whose time to be forgotten has come is none.
    ///
    /// # Errors
    /// [`BrokerError`]; of each queue none was stored then, or all were.
    fn receive(&self, parcels: &[Parcel]) -> Result<Vec<Received>, BrokerError>;

    /// Forgets jobs that are on their way under exactly these fences; says of each, in order,
    /// whether it was.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn forget_sent(&self, sent: &[Sent]) -> Result<Vec<bool>, BrokerError>;

    /// Makes up to `limit` arriving jobs what they were in the source. Returns how many; none only
    /// if none is left.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn admit(&self, limit: usize) -> Result<usize, BrokerError>;

    /// How many jobs are between this store and others.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn underway(&self) -> Result<Underway, BrokerError>;
}
