//! Reads jobs; never moves them.

use std::fmt;

use uuid::Uuid;

use crate::broker::BrokerError;
use crate::control::QueueGate;
use crate::finding::{Depth, Finding};
use crate::fleet::Member;
use crate::name::{QueueName, TaskName};
use crate::outcome::Cause;
use crate::task::TaskSpec;
use crate::time::Timestamp;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// May be claimed.
    Ready,
    /// Waits for its time.
    Delayed,
    /// Held by a supervisor.
    Leased,
    /// Ended well.
    Succeeded,
    /// Ended badly; a dead letter.
    Dead,
    /// Ended badly; no dead letter.
    Dropped,
}

/// A job as it stands in the store.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its id.
    pub uuid: Uuid,
    /// Its task.
    pub task: TaskName,
    /// Its queue.
    pub queue: QueueName,
    /// Where it is.
    pub state: State,
    /// Lower runs first.
    pub priority: u32,
    /// Its newest fence.
    pub fence: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it will be, or became, ready.
    pub ready_at: Timestamp,
    /// When the running attempt's Run frame was written, if that has been noted.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// A user has revoked it and its supervisor has been told.
    pub is_revoked: bool,
    /// Details from the task, JSON.
    pub progress: Option<Vec<u8>>,
    /// The host that holds it.
    pub owner_host: Option<String>,
    /// The process that runs it, if that has been noted.
    pub pid: Option<u32>,
    /// Its message's header, JSON.
    pub header: Vec<u8>,
    /// Its history, JSON; may be empty.
    pub history: Vec<u8>,
    /// Bytes of its result, if one is kept.
    pub result_bytes: Option<u64>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In these states; all if empty.
    pub states: Vec<State>,
    /// Of this task.
    pub task: Option<TaskName>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// With this cause.
    pub cause: Option<Cause>,
}

/// How many jobs a queue holds.
#[derive(Debug, Clone)]
pub struct QueueCounts {
    /// The queue.
    pub queue: QueueName,
    /// May be claimed.
    pub ready: u64,
    /// Wait for their time.
    pub delayed: u64,
    /// Held by supervisors.
    pub leased: u64,
    /// Ended well and still kept.
    pub succeeded: u64,
    /// Dead letters.
    pub dead: u64,
    /// Since when the oldest ready job has been ready.
    pub oldest_ready: Option<Timestamp>,
    /// What it lets through.
    pub gate: QueueGate,
}

/// A result that is kept.
#[derive(Debug, Clone)]
pub struct KeptResult {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When it was written.
    pub at: Timestamp,
}

/// A group as it stands.
#[derive(Debug, Clone)]
pub struct GroupRow {
    /// Its id.
    pub uuid: Uuid,
    /// The queue it is kept with.
    pub home: QueueName,
    /// Its members.
    pub members: u32,
    /// Those that have ended.
    pub ended: u32,
    /// Those that have ended badly.
    pub failed: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When what follows was started.
    pub closed_at: Option<Timestamp>,
    /// [`crate::flow::GroupRecord`] as JSON.
    pub record: Vec<u8>,
    /// The places of members that have ended badly.
    pub failed_places: Vec<u32>,
    /// The places of members that have ended well.
    pub succeeded_places: Vec<u32>,
}

/// What of flows is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Groups that are not closed.
    pub groups: u64,
    /// Errands that are still to be done.
    pub errands: u64,
}

/// Queues that a look for what is overdue, complete or kept as a letter takes, if the store has more:
/// each goes on where the last one ended, and as many empty ones in a row as take all of them find nothing.
pub const QUEUES_A_LOOK: usize = 64;

/// Reads jobs. Object-safe.
pub trait Catalog: Send + Sync + fmt::Debug {
    /// The jobs with these ids, in order; `None` for unknown ones. Of several with one uuid in
    /// different queues the newest.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn jobs_by_id(&self, uuids: &[Uuid]) -> Result<Vec<Option<JobRow>>, BrokerError>;

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<JobRow>, BrokerError>;

    /// The kept result of a job, if there is one.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError>;

    /// Takes the kept result of a job away.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn take_result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError>;

    /// The message's payload of a job.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn payload(&self, uuid: Uuid) -> Result<Option<Vec<u8>>, BrokerError>;

    /// The groups with these ids, in order; `None` for unknown ones.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn groups(&self, uuids: &[Uuid]) -> Result<Vec<Option<GroupRow>>, BrokerError>;

    /// What of flows is under way.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn flows(&self) -> Result<FlowCounts, BrokerError>;

    /// All queues that were ever used.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError>;

    /// Ready, delayed and leased jobs in these queues, in all; those of paused queues do not count. Cheap: asked again and again, so a
    /// store may stop counting at ten thousand per state and queue.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn unfinished(&self, queues: &[QueueName]) -> Result<u64, BrokerError>;

    /// All tasks that supervisors have registered; those of the last second may be missing.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn tasks(&self) -> Result<Vec<TaskSpec>, BrokerError>;

    /// Where the store is, for people: an absolute path or an address without secrets.
    fn place(&self) -> String;

    /// The supervisors of the namespace, oldest first: all that live, and the dead until they are
    /// forgotten. One that has left is listed only while it holds jobs.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn fleet(&self) -> Result<Vec<Member>, BrokerError>;

    /// What is well and what is not about the store and where it is, each check once; changes no
    /// job. What is not well says why it matters, and from a warning on what to do.
    ///
    /// # Errors
    /// [`BrokerError`] if it cannot be looked at at all.
    fn examine(&self, depth: Depth) -> Result<Vec<Finding>, BrokerError>;
}
