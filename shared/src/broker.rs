//! Moves jobs, atomically and fenced. A broker decides nothing: callers bring [`Settlement`]s.
//!
//! Every method may be called from any thread and may be called again after an error: a move
//! that was already made is recognised by its uuid or fence.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::flow::{Complete, Errand, Errands, Opening};
use crate::message::Message;
pub use crate::message::{Amended, Amendment};
use crate::name::{LockName, QueueName, StreamName, TaskName};
use crate::retry::Move;
use crate::task::TaskSpec;
use crate::time::Timestamp;

/// Why a store could not do its work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Nothing answers there, or not in time. The same call may work later.
    #[error("the store is away: {reason}")]
    Away {
        /// What the store's library says.
        reason: String,
    },
    /// The store has no room.
    #[error("the store is full: {reason} (free some space; nothing was lost)")]
    Full {
        /// What the store's library says.
        reason: String,
    },
    /// The store cannot be used as it is.
    #[error("{reason} ({way_out})")]
    Refused {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        way_out: String,
    },
    /// What is stored makes no sense.
    #[error("the store is damaged: {reason} ({way_out})")]
    Damaged {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        way_out: String,
    },
}

impl BrokerError {
    /// Whether the same call may work later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Full { .. })
    }
}

/// A message with its queue settled.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The message.
    pub message: &'a Message,
    /// Its queue.
    pub queue: &'a QueueName,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is stored.
    Created,
    /// The queue knows this uuid already; nothing was changed.
    Duplicate,
    /// The queue is draining and takes nothing; nothing was stored.
    Closed,
    /// The queue knows another job with the same unique key; nothing was changed.
    NotUnique {
        /// That job.
        by: Uuid,
    },
}

/// One start of a supervisor: unique, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SupervisorId(pub Uuid);

impl fmt::Display for SupervisorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to one job, good while `fence` is its newest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The job.
    pub uuid: Uuid,
    /// Raised by one at every claim; never lowered, never reused.
    pub fence: u64,
    /// The store's own mark.
    pub mark: i64,
    /// The job's queue.
    pub queue: QueueName,
}

/// A job that was claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The right to it.
    pub receipt: Receipt,
    /// Its task.
    pub task: TaskName,
    /// Its message's header, JSON.
    pub header: Vec<u8>,
    /// Its message's payload.
    pub payload: Vec<u8>,
    /// Its history, JSON; empty before the first attempt.
    pub history: Vec<u8>,
}

/// Which jobs a supervisor takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// In this order: a later queue only when the earlier ones have nothing.
    pub queues: Vec<QueueName>,
    /// The tasks it knows.
    pub tasks: Vec<TaskName>,
}

/// A request for jobs.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who asks.
    pub owner: SupervisorId,
    /// What it takes.
    pub selection: &'a Selection,
    /// At most this many.
    pub room: usize,
    /// How long they are its own unless renewed.
    pub lease: Duration,
}

/// One fenced move that ends an attempt.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The right to the job.
    pub receipt: Receipt,
    /// Where it goes.
    pub next: Move,
    /// Its history from now on, JSON.
    pub history: Vec<u8>,
    /// When the attempt ended.
    pub at: Timestamp,
    /// What is done along with it.
    pub errands: Errands,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It is done.
    Applied,
    /// Somebody has revoked the job meanwhile: it has ended as revoked, the move was discarded.
    Revoked,
    /// The fence is no longer the newest, or the job has ended: nothing was written.
    Stale,
}

/// What a turn brought.
#[derive(Debug, Clone, Default)]
pub struct Turned {
    /// One per settlement, in order.
    pub settled: Vec<Settled>,
    /// Jobs claimed, in the order in which they are to be run.
    pub claimed: Vec<Claimed>,
    /// Leases of the claimant that a user has revoked, at least those in the queues asked for.
    pub revoked: Vec<Receipt>,
    /// Until the next delayed job is ready, if there is one.
    pub next_due: Option<Duration>,
    /// More jobs are ready than were asked for.
    pub more: bool,
    /// A group has become complete: [`Broker::complete`] lists it.
    pub has_completed: bool,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Held until the new end of the lease.
    Held,
    /// Held, and a user has revoked the job.
    Revoked,
    /// Somebody else has it, or it has ended.
    Lost,
}

/// What is written about a running job, under its fence.
#[derive(Debug, Clone)]
pub struct Note {
    /// The right to the job.
    pub receipt: Receipt,
    /// When its Run frame was written.
    pub started_at: Timestamp,
    /// The process it runs in.
    pub pid: u32,
    /// Details from the task, JSON, if it gave any.
    pub progress: Option<Vec<u8>>,
}

/// Jobs that no one will bring to an end unless somebody takes them over.
#[derive(Debug, Clone)]
pub enum Overdue<'a> {
    /// Leased, and the lease has ended or its holder is known to be dead.
    Lease,
    /// Waited longer in ready than their ttl, or lived past their `expires`.
    Expired,
    /// Ready in one of these queues, and no live supervisor of the queue has announced the task
    /// for `after`.
    UnknownTask {
        /// The queues to look at.
        queues: &'a [QueueName],
        /// How long nobody must have known it.
        after: Duration,
    },
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It was waiting and has ended in this very move.
    Ended,
    /// It is running; its supervisor has been told.
    Told,
    /// It is running and was left alone, as asked.
    Skipped,
    /// It had ended before; nothing was changed.
    AlreadyEnded,
    /// Nobody knows it.
    Unknown,
}

/// What a supervisor says about itself.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Which start.
    pub id: SupervisorId,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// What it takes.
    pub selection: Selection,
    /// Its tasks and their defaults.
    pub tasks: Vec<TaskSpec>,
    /// Its release.
    pub version: String,
    /// Jobs it can run at once; 0 for a command that only moves jobs.
    pub slots: u32,
    /// Since when it runs.
    pub started_at: Timestamp,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something was committed.
    Bell,
    /// The caller's own [`Interrupt`] was raised.
    Interrupted,
    /// Nothing happened.
    TimedOut,
}

/// Wakes a [`Bell::wait`] from another thread.
#[derive(Debug)]
pub struct Interrupt(nix::sys::eventfd::EventFd);

impl Interrupt {
    /// A new one, not raised.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> Result<Self, nix::Error> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Raises it: the current or the next wait ends at once.
    pub fn raise(&self) {
        // Full only after 2^64 - 1 raises, and then it is raised already.
        let _ = self.0.write(1);
    }

    /// Lowers it again.
    pub fn clear(&self) {
        // Nothing to read means it is lowered already.
        let _ = self.0.read();
    }
}

impl std::os::fd::AsFd for Interrupt {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a bell is to be heard for. A store may ring for more than that.
#[derive(Debug, Clone, Copy)]
pub enum Listen<'a> {
    /// Jobs for a supervisor, and revocations of those it holds. Of several that wait for the
    /// same work a store need wake only one.
    Work {
        /// Who waits.
        owner: SupervisorId,
        /// For what.
        selection: &'a Selection,
    },
    /// Anything that becomes of these jobs.
    Jobs(&'a [Uuid]),
    /// That a lock may be free.
    Lock(&'a LockName),
    /// That there are events in these streams, that partitions of them may be taken, or that somebody
    /// wishes something of their processors.
    Streams(&'a [StreamName]),
}

/// What of it matters now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// All of it.
    Everything,
    /// There is no room for work: it is left to others, revocations alone are heard.
    Revocations,
}

/// Hears commits by anybody. Made before the last empty look, so that no commit is missed.
pub trait Bell: Send + fmt::Debug {
    /// Waits for a commit that it listens for, `interrupt` or `at_most`. May wake without a reason.
    ///
    /// # Errors
    /// When the store is away.
    fn wait(
        &mut self,
        heed: Heed,
        interrupt: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError>;
}

/// Moves jobs. Object-safe; one instance serves all threads of a process.
pub trait Broker: Send + Sync + fmt::Debug {
    /// Stores messages, each in one move: ready or delayed, status SUBMITTED.
    ///
    /// # Errors
    /// [`BrokerError`]; none or all of the batch is stored then.
    fn submit(&self, batch: &[Submission<'_>]) -> Result<Vec<Submitted>, BrokerError>;

    /// Applies settlements and claims jobs, in one transaction.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was applied then.
    fn turn(
        &self,
        settlements: Vec<Settlement>,
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, BrokerError>;

    /// Extends leases; goes before everything that waits for the writer.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was extended then.
    fn renew(&self, receipts: &[Receipt], lease: Duration) -> Result<Vec<Renewal>, BrokerError>;

    /// Writes notes about running jobs; those that are no longer held are passed over.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn note(&self, notes: &[Note]) -> Result<(), BrokerError>;

    /// Takes over jobs that are overdue, at most `limit`, under a new fence, so that the caller
    /// can settle them.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn take_over(
        &self,
        what: &Overdue<'_>,
        owner: SupervisorId,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, BrokerError>;

    /// Ends a waiting job as revoked, or tells the owner of a running one. `skip_if_running`
    /// leaves running jobs alone.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn revoke(&self, uuid: Uuid, skip_if_running: bool) -> Result<Revocation, BrokerError>;

    /// Forgets jobs that have ended or wait; running ones are left alone. Returns how many.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn remove(&self, uuids: &[Uuid]) -> Result<usize, BrokerError>;

    /// Opens a group and starts its members, in one move or in moves that are made sure of; not where its
    /// queue is draining, unless it is known. A member whose uuid is known as another's counts as failed.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn open(&self, opening: &Opening) -> Result<Submitted, BrokerError>;

    /// Groups whose members have all ended and that nobody has closed, at most `limit`.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn complete(&self, limit: usize) -> Result<Vec<Complete>, BrokerError>;

    /// Closes a complete group and does these errands in the same move; false if it was closed
    /// already, and then nothing is done.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn close(&self, group: &Complete, errands: Vec<Errand>) -> Result<bool, BrokerError>;

    /// Does errands that were left undone by somebody who died, at most `limit`. Returns how many.
    /// A store whose moves are whole leaves none.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn deliver(&self, limit: usize) -> Result<usize, BrokerError> {
        let _ = limit;
        Ok(0)
    }
    /// Sets how many jobs of a queue may run at once, over all supervisors; `None` for no limit. More
    /// that run already go on.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn limit_queue(&self, queue: &QueueName, most: Option<u32>) -> Result<(), BrokerError>;

    /// Changes a job that waits, in its place: it keeps its age, its times, and its gate. May be
    /// asked for again.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn amend(&self, amendment: &Amendment) -> Result<Amended, BrokerError>;

    /// Makes dead letters ready again, with the same uuid and fresh budgets. Returns how many.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn retry_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError>;

    /// Forgets dead letters; a job that is none is left alone. Returns how many.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn drop_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError>;

    /// Says that a supervisor lives and what it serves; repeated from time to time.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn announce(&self, presence: &Presence) -> Result<(), BrokerError>;

    /// How many times as long as usual an idle supervisor may wait before it looks again by itself.
    /// Where others can be far away a look has its price for all, and rings are not lost.
    fn ease(&self) -> u32 {
        1
    }

    /// Whether an announcement has found since the last time that the store lost what it held:
    /// it was emptied, or came back without what it had.
    fn has_forgotten(&self) -> bool {
        false
    }

    /// Says that a supervisor is gone.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn leave(&self, id: SupervisorId) -> Result<(), BrokerError>;

    /// Forgets what is past its time, at most `limit` rows. Returns how many.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn prune(&self, limit: usize) -> Result<usize, BrokerError>;

    /// Starts listening.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn bell(&self, listen: Listen<'_>) -> Result<Box<dyn Bell>, BrokerError>;
}
