//! For producers: submit, watch, fetch, revoke.
//!
//! A [`Client`] is cheap to clone and may be used from several threads.
//!
//! ```no_run
//! use bulkhead_shared::Message;
//! use bulkhead_shared::client::{Client, ClientError};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), ClientError> {
//! let client = Client::open("sqlite:bulkhead.db")?;
//! let job = client.submit(Message::new("add").arg(2).arg(3))?;
//! let sum: i64 = client.result_as(job, Some(Duration::from_secs(10)))?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```

mod amend;
#[cfg(feature = "async")]
mod async_lock;
#[cfg(feature = "async")]
mod asynchronous;
mod control;
mod descent;
mod error;
mod flow;
mod journal;
mod lock;
mod results;
mod schedule;
mod stream;
mod updates;
mod wait;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::backend::{self, Backend, Options};
use crate::broker::{Revocation, Submission, Submitted};
use crate::catalog::{KeptResult, State};
use crate::flow::Flow;
use crate::message::Message;
use crate::name::{QueueName, TaskName};
use crate::status::{JobStatus, Status};
use crate::task::TaskSpec;

#[cfg(feature = "async")]
pub use async_lock::AsyncLockGuard;
#[cfg(feature = "async")]
pub use asynchronous::AsyncClient;
pub use descent::Descent;
pub use error::ClientError;
pub use flow::{FlowState, FlowStep, FlowView};
pub use journal::{JournalEntry, JournalSignal, JournalView};
pub use results::{JobResult, ResultPool};
pub use schedule::{ScheduleError, Scheduled};
pub use stream::{SendError, StoredAt, StreamSender, push};
pub use updates::Updates;
pub use wait::{Look, Wait};

/// Messages in one transaction: enough to make its cost small, few enough not to keep the
/// store's other writers waiting.
pub const BATCH: usize = 500;

/// Payload bytes in one transaction, about.
const BATCH_BYTES: usize = 32 << 20;

/// What became of one of several messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The job.
    pub uuid: Uuid,
    /// Its queue.
    pub queue: QueueName,
    /// Whether it is new.
    pub submitted: Submitted,
}

impl Ticket {
    /// The job's id, if it is new.
    ///
    /// # Errors
    /// [`ClientError::Known`], [`ClientError::Draining`], [`ClientError::NotUnique`].
    pub fn accepted(self) -> Result<Uuid, ClientError> {
        let Self {
            uuid,
            queue,
            submitted,
        } = self;
        match submitted {
            Submitted::Created => Ok(uuid),
            Submitted::Duplicate => Err(ClientError::Known { uuid, queue }),
            Submitted::Closed => Err(ClientError::Draining { uuid, queue }),
            Submitted::NotUnique { by } => Err(ClientError::NotUnique { by, queue }),
        }
    }
}

/// A producer's access to one store.
#[derive(Debug, Clone)]
pub struct Client {
    backend: Backend,
    learnt: HashMap<TaskName, Option<QueueName>>,
}

impl Client {
    /// Opens the store at `url`, such as `sqlite:bulkhead.db`, and makes it if it is missing.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn open(url: &str) -> Result<Self, ClientError> {
        Self::with_options(&Options::new(url))
    }

    /// Opens the store that `options` names.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn with_options(options: &Options) -> Result<Self, ClientError> {
        Ok(Self::new(backend::open(options)?))
    }

    /// Uses a store that is open already.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            learnt: HashMap::new(),
        }
    }

    /// The open store.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Tells the client of tasks that no supervisor has registered yet. What supervisors have
    /// registered goes before it.
    pub fn learn(&mut self, tasks: impl IntoIterator<Item = TaskSpec>) {
        let tasks = tasks.into_iter().map(|spec| (spec.name, spec.queue));
        self.learnt.extend(tasks);
    }

    /// Submits one message.
    ///
    /// It goes to the queue it names, else to that of its task's registration, else to
    /// `default`. All other defaults are found when it runs.
    ///
    /// # Errors
    /// [`ClientError::Message`], [`ClientError::Known`], [`ClientError::Draining`],
    /// [`ClientError::NotUnique`],
    /// [`ClientError::Store`].
    pub fn submit<M>(&self, message: M) -> Result<Uuid, ClientError>
    where
        M: TryInto<Message>,
        ClientError: From<M::Error>,
    {
        let message = message.try_into()?;
        let tickets = self.submit_many(std::slice::from_ref(&message))?;
        match tickets.into_iter().next() {
            Some(ticket) => ticket.accepted(),
            None => Ok(message.uuid),
        }
    }

    /// Submits messages in this order, [`BATCH`] of them in a transaction, and says of each
    /// whether it is new. Known uuids change nothing.
    ///
    /// # Errors
    /// [`ClientError::Store`] if none are stored, [`ClientError::Partly`] if only the first are.
    pub fn submit_many(&self, messages: &[Message]) -> Result<Vec<Ticket>, ClientError> {
        let settled = self.settle_steps(messages)?;
        let messages = settled.as_deref().unwrap_or(messages);
        let queues = self.queues_of(messages)?;
        let mut tickets = Vec::with_capacity(messages.len());
        while tickets.len() < messages.len() {
            let start = tickets.len();
            let end = start + batch_len(&messages[start..]);
            let batch: Vec<_> = messages[start..end]
                .iter()
                .zip(&queues[start..end])
                .map(|(message, queue)| Submission { message, queue })
                .collect();
            let became = match self.backend.broker.submit(&batch) {
                Ok(became) => became,
                Err(source) if start == 0 => return Err(source.into()),
                Err(source) => {
                    return Err(ClientError::Partly {
                        stored: start,
                        source,
                    });
                }
            };
            for (one, submitted) in batch.iter().zip(became) {
                if submitted == Submitted::Created {
                    after_submission(one.message);
                }
                tickets.push(Ticket {
                    uuid: one.message.uuid,
                    queue: one.queue.clone(),
                    submitted,
                });
            }
            debug_assert_eq!(tickets.len(), end, "a store answers for every message");
        }
        Ok(tickets)
    }

    /// The tasks of these, and of what follows them, whose queue nobody has told: they would go to
    /// `default`.
    ///
    /// # Errors
    /// [`ClientError::Store`], [`ClientError::Flow`].
    pub fn unregistered(&self, flows: &[Flow]) -> Result<Vec<TaskName>, ClientError> {
        let mut missing = Vec::new();
        for flow in flows {
            missing.extend(flow.unsettled()?);
        }
        if !missing.is_empty() {
            let known = self.all_registrations()?;
            missing.retain(|task| !known.contains_key(task));
        }
        missing.sort();
        missing.dedup();
        Ok(missing)
    }

    fn queues_of(&self, messages: &[Message]) -> Result<Vec<QueueName>, ClientError> {
        let known = self.registrations(messages)?;
        let queue_of = |message: &Message| {
            let registered = || known.get(&message.task).cloned().flatten();
            message
                .queue
                .clone()
                .or_else(registered)
                .unwrap_or_default()
        };
        Ok(messages.iter().map(queue_of).collect())
    }

    /// Tasks and their queues, as far as these messages need to know.
    fn registrations(
        &self,
        messages: &[Message],
    ) -> Result<HashMap<TaskName, Option<QueueName>>, ClientError> {
        if messages.iter().any(|message| message.queue.is_none()) {
            self.all_registrations()
        } else {
            Ok(HashMap::new())
        }
    }

    fn all_registrations(&self) -> Result<HashMap<TaskName, Option<QueueName>>, ClientError> {
        let mut known = self.learnt.clone();
        let stored = self.backend.catalog.tasks()?;
        known.extend(stored.into_iter().map(|spec| (spec.name, spec.queue)));
        Ok(known)
    }

    /// How a job stands; [`Status::Unknown`] if nobody knows it.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn status(&self, uuid: Uuid) -> Result<JobStatus, ClientError> {
        let mut jobs = self.statuses(&[uuid])?;
        Ok(jobs.pop().unwrap_or_else(|| JobStatus::unknown(uuid)))
    }

    /// How jobs stand, in this order.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn statuses(&self, uuids: &[Uuid]) -> Result<Vec<JobStatus>, ClientError> {
        let rows = self.backend.catalog.jobs_by_id(uuids)?;
        let jobs = uuids
            .iter()
            .zip(rows)
            .map(|(&uuid, row)| row.map_or_else(|| JobStatus::unknown(uuid), JobStatus::from));
        Ok(jobs.collect())
    }

    /// The bytes that a job returned. Waits at most `within` for its end; `None` does not wait.
    ///
    /// # Errors
    /// [`ClientError::Failed`], [`ClientError::NotEnded`], [`ClientError::TimedOut`],
    /// [`ClientError::NotFound`], [`ClientError::NoResult`], [`ClientError::Store`].
    pub fn result(&self, uuid: Uuid, within: Option<Duration>) -> Result<Vec<u8>, ClientError> {
        self.expect_success(uuid, within)?;
        kept(uuid, self.backend.catalog.result(uuid)?)
    }

    /// [`Client::result`], read from JSON.
    ///
    /// # Errors
    /// As [`Client::result`], and [`ClientError::Decode`].
    pub fn result_as<T: DeserializeOwned>(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<T, ClientError> {
        let bytes = self.result(uuid, within)?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Decode { uuid, source })
    }

    /// [`Client::result`], and forgets the result: the next call finds none.
    ///
    /// # Errors
    /// As [`Client::result`].
    pub fn take_result(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<Vec<u8>, ClientError> {
        self.expect_success(uuid, within)?;
        kept(uuid, self.backend.catalog.take_result(uuid)?)
    }

    fn expect_success(&self, uuid: Uuid, within: Option<Duration>) -> Result<(), ClientError> {
        let mut job = self.status(uuid)?;
        if let Some(within) = within
            && !job.status.has_ended()
            && job.status != Status::Unknown
        {
            let ended = [Status::Succeeded, Status::Failed];
            let waited = self.wait_for(&[uuid], &ended, within)?;
            job = waited.into_iter().next().unwrap_or(job);
        }
        match job.status {
            Status::Succeeded => Ok(()),
            Status::Failed => Err(ClientError::Failed(job.into())),
            Status::Unknown => Err(ClientError::NotFound { uuid }),
            Status::Submitted | Status::Running | Status::Retrying => {
                Err(ClientError::NotEnded(job.into()))
            }
        }
    }

    /// Says that a job is no longer wanted. A waiting job ends at once; a running one is stopped
    /// by its supervisor, unless `skip_if_running`.
    ///
    /// # Errors
    /// [`ClientError::Store`]. That nobody knows the job is an answer, not an error.
    pub fn revoke(&self, uuid: Uuid, skip_if_running: bool) -> Result<Revocation, ClientError> {
        Ok(self.backend.broker.revoke(uuid, skip_if_running)?)
    }

    /// Forgets a job that has ended or waits. Returns whether it did: running jobs stay.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn remove(&self, uuid: Uuid) -> Result<bool, ClientError> {
        Ok(self.backend.broker.remove(&[uuid])? > 0)
    }

    /// Whether the store knows a job: it waits, runs, or has ended and is not forgotten.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn exists(&self, uuid: Uuid) -> Result<bool, ClientError> {
        Ok(self.status(uuid)?.status != Status::Unknown)
    }

    /// Forgets a job that has ended, its result included.
    ///
    /// # Errors
    /// [`ClientError::NotEnded`] while it waits or runs ([`Client::remove`] removes one that waits),
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub fn forget(&self, uuid: Uuid) -> Result<(), ClientError> {
        let job = self.status(uuid)?;
        match job.status {
            Status::Unknown => Err(ClientError::NotFound { uuid }),
            status if status.has_ended() => self.remove(uuid).map(drop),
            _ => Err(ClientError::NotEnded(job.into())),
        }
    }

    /// The message of a job, as it was submitted.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`]; [`ClientError::Damaged`] if what the store
    /// holds is no message.
    pub fn message(&self, uuid: Uuid) -> Result<Message, ClientError> {
        let rows = self.backend.catalog.jobs_by_id(&[uuid])?;
        let payload = self.backend.catalog.payload(uuid)?;
        let (Some(row), Some(payload)) = (rows.into_iter().flatten().next(), payload) else {
            return Err(ClientError::NotFound { uuid });
        };
        let header = serde_json::from_slice(&row.header)
            .map_err(|source| ClientError::Damaged { uuid, source })?;
        Ok(Message {
            uuid,
            task: row.task,
            queue: Some(row.queue),
            priority: row.priority,
            ready_at: (row.ready_at > row.submitted_at).then_some(row.ready_at),
            header,
            payload,
            on_submit: None,
        })
    }

    /// Whether a job is a dead letter.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn is_dead_letter(&self, uuid: Uuid) -> Result<bool, ClientError> {
        let rows = self.backend.catalog.jobs_by_id(&[uuid])?;
        Ok(rows.iter().flatten().any(|row| row.state == State::Dead))
    }
}

fn kept(uuid: Uuid, result: Option<KeptResult>) -> Result<Vec<u8>, ClientError> {
    let result = result.ok_or(ClientError::NoResult { uuid })?;
    Ok(result.bytes)
}

/// Whatever the hook does, the message is stored.
fn after_submission(message: &Message) {
    if let Some(hook) = message.on_submit
        && catch_unwind(AssertUnwindSafe(|| hook(message))).is_err()
    {
        tracing::warn!(job = %message.uuid, task = %message.task, "its `on_submit` panicked");
    }
}

/// How many of these go into one transaction: at least one, if there is one.
fn batch_len(messages: &[Message]) -> usize {
    let mut bytes = 0usize;
    let fits = |message: &&Message| {
        let then = message.header.then.as_ref();
        bytes = bytes.saturating_add(message.payload.len());
        bytes = bytes.saturating_add(then.map_or(0, |then| then.get().len()));
        bytes <= BATCH_BYTES
    };
    let fitting = messages.iter().take(BATCH).take_while(fits).count();
    fitting.max(1).min(messages.len())
}

#[cfg(test)]
mod tests;
