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

mod error;
mod wait;

use std::collections::HashMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::backend::{self, Backend, Options};
use crate::broker::{Revocation, Submission, Submitted};
use crate::catalog::{KeptResult, State};
use crate::lock::{Lock, LockGuard, Tenure};
use crate::message::{Linked, Message, MessageBuilder};
use crate::name::{QueueName, TaskName};
use crate::status::{JobStatus, Status};
use crate::task::TaskSpec;

pub use error::ClientError;
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
    /// [`ClientError::Message`], [`ClientError::Known`], [`ClientError::NotUnique`],
    /// [`ClientError::Store`].
    pub fn submit<M>(&self, message: M) -> Result<Uuid, ClientError>
    where
        M: TryInto<Message>,
        ClientError: From<M::Error>,
    {
        let message = message.try_into()?;
        let tickets = self.submit_many(std::slice::from_ref(&message))?;
        let Some(ticket) = tickets.into_iter().next() else {
            return Ok(message.uuid);
        };
        refusal(&message, &ticket).map_or(Ok(ticket.uuid), Err)
    }

    /// Submits messages in this order, [`BATCH`] of them in a transaction, and says of each
    /// whether it is new. Known uuids change nothing.
    ///
    /// # Errors
    /// [`ClientError::Store`] if none are stored, [`ClientError::Partly`] if only the first are.
    pub fn submit_many(&self, messages: &[Message]) -> Result<Vec<Ticket>, ClientError> {
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
            tickets.extend(batch.iter().zip(became).map(|(one, submitted)| Ticket {
                uuid: one.message.uuid,
                queue: one.queue.clone(),
                submitted,
            }));
            debug_assert_eq!(tickets.len(), end, "a store answers for every message");
        }
        Ok(tickets)
    }

    /// The tasks of `messages` whose queue nobody has told: they would go to `default`.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn unregistered(&self, messages: &[Message]) -> Result<Vec<TaskName>, ClientError> {
        let known = self.registrations(messages)?;
        let mut missing: Vec<_> = messages
            .iter()
            .filter(|m| m.queue.is_none() && !known.contains_key(&m.task))
            .map(|m| m.task.clone())
            .collect();
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
        let mut known = HashMap::new();
        if messages.iter().any(|message| message.queue.is_none()) {
            known.clone_from(&self.learnt);
            let stored = self.backend.catalog.tasks()?;
            known.extend(stored.into_iter().map(|spec| (spec.name, spec.queue)));
        }
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

    /// A lock by its name, to be acquired: see [`lock`](crate::lock).
    ///
    /// ```
    /// # use bulkhead_shared::client::Client;
    /// # use std::time::Duration;
    /// # let client = Client::open("sqlite::memory:")?;
    /// let report = client.lock("report").ttl(Duration::from_secs(60));
    /// let held = report.acquire(Duration::from_secs(5))?;
    /// assert!(held.fence() > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock(&self, name: &str) -> Lock<'_> {
        Lock::new(&self.backend, name)
    }

    /// Submits a message together with a lock that is held: it is the job's, under the same fence,
    /// until its final end. If the message is not taken the lock is released.
    ///
    /// # Errors
    /// As [`Client::submit`]; [`ClientError::Message`] too if the message is linked to another
    /// lock, unless that is to be replaced.
    pub fn submit_with_lock(
        &self,
        message: MessageBuilder,
        lock: LockGuard,
        linked: Linked,
    ) -> Result<Uuid, ClientError> {
        let (name, fence) = (lock.name().clone(), lock.fence());
        let uuid = self.submit(message.link_lock(name.as_str(), fence, linked))?;
        lock.keep();
        // If nobody can do it now the job does, when it starts: it knows the fence.
        let passed = (self.backend.locks).pass_on(&name, fence, &Tenure::Job(uuid).owner());
        if let Err(error) = passed {
            tracing::warn!(lock = %name, %error, "a lock is not handed over until its job starts");
        }
        Ok(uuid)
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

/// Why a message was not taken, if it was not.
#[must_use]
pub fn refusal(message: &Message, ticket: &Ticket) -> Option<ClientError> {
    let queue = || ticket.queue.clone();
    match ticket.submitted {
        Submitted::Created => None,
        Submitted::Duplicate => Some(ClientError::Known {
            uuid: ticket.uuid,
            queue: queue(),
        }),
        Submitted::NotUnique { by } => Some(match &message.header.unique {
            Some(unique) => ClientError::NotUnique {
                by,
                queue: queue(),
                key: unique.key.clone(),
            },
            None => ClientError::Known {
                uuid: by,
                queue: queue(),
            },
        }),
    }
}

fn kept(uuid: Uuid, result: Option<KeptResult>) -> Result<Vec<u8>, ClientError> {
    let result = result.ok_or(ClientError::NoResult { uuid })?;
    Ok(result.bytes)
}

/// How many of these go into one transaction: at least one, if there is one.
fn batch_len(messages: &[Message]) -> usize {
    let mut bytes = 0usize;
    let fits = |message: &&Message| {
        bytes = bytes.saturating_add(message.payload.len());
        bytes <= BATCH_BYTES
    };
    let fitting = messages.iter().take(BATCH).take_while(fits).count();
    fitting.max(1).min(messages.len())
}

#[cfg(test)]
mod tests;
