//! A job as users see it: one object with all keys always, null where nothing is known.
//!
//! New keys may come; none ever changes its meaning.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::catalog::{JobRow, State};
use crate::client::{FlowView, JournalView};
use crate::history::{Attempt, History};
use crate::hook::HookKind;
use crate::name::{QueueName, TaskName};
use crate::outcome::{Cause, ErrorDetails, Output, Usage};
use crate::time::Timestamp;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Nobody knows it: never submitted, or forgotten.
    Unknown,
    /// It waits and has not failed yet.
    Submitted,
    /// A supervisor has it.
    Running,
    /// It waits after an attempt that failed.
    Retrying,
    /// It has ended badly.
    Failed,
    /// It has ended well.
    Succeeded,
}

impl Status {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Submitted,
        Self::Running,
        Self::Retrying,
        Self::Failed,
        Self::Succeeded,
    ];

    /// The name it is printed under, such as `SUBMITTED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Submitted => "SUBMITTED",
            Self::Running => "RUNNING",
            Self::Retrying => "RETRYING",
            Self::Failed => "FAILED",
            Self::Succeeded => "SUCCEEDED",
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Succeeded)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a status (use SUBMITTED, RUNNING, RETRYING, FAILED or SUCCEEDED)")]
pub struct StatusError {
    text: String,
}

impl FromStr for Status {
    type Err = StatusError;
    /// Reads a status's name, in capitals or not.
    fn from_str(text: &str) -> Result<Self, StatusError> {
        let found = Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| StatusError { text: text.into() })
    }
}

/// One attempt of a job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptStatus {
    /// Counted from 1.
    pub n: u32,
    /// Why it failed; `None` if it returned.
    pub cause: Option<Cause>,
    /// What is known about the failure.
    pub error: Option<ErrorDetails>,
    /// What it consumed.
    pub usage: Usage,
    /// When it was sent to its process.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub finished_at: Option<Timestamp>,
}

impl From<Attempt> for AttemptStatus {
    fn from(attempt: Attempt) -> Self {
        Self {
            n: attempt.n,
            cause: attempt.cause,
            error: attempt.error,
            usage: attempt.usage,
            started_at: attempt.started_at,
            finished_at: Some(attempt.finished_at),
        }
    }
}

/// A job that sleeps in the middle of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sleeping {
    /// The signal that wakes it before.
    pub signal: Option<String>,
}

/// Everything that is known about a job. Serializes to the object of `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    /// Its id.
    pub uuid: Uuid,
    /// Its task.
    pub task: Option<TaskName>,
    /// Its queue.
    pub queue: Option<QueueName>,
    /// Where it stands.
    pub status: Status,
    /// The hook of its task that it runs, if it is one.
    pub hook: Option<HookKind>,
    /// Why it failed; of [`Status::Retrying`], why its last attempt did.
    pub cause: Option<Cause>,
    /// The number of the last attempt, the running one included; 0 before the first.
    pub attempt: Option<u32>,
    /// Retries granted so far.
    pub retries: Option<u32>,
    /// Lower runs first.
    pub priority: Option<u32>,
    /// When it was submitted.
    #[serde(serialize_with = "rfc3339")]
    pub submitted_at: Option<Timestamp>,
    /// When its last attempt was sent to its process.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub finished_at: Option<Timestamp>,
    /// When it may run, while it waits for that time.
    #[serde(serialize_with = "rfc3339")]
    pub next_at: Option<Timestamp>,
    /// That it sleeps, if it does: it goes on at [`JobStatus::next_at`].
    pub sleeping: Option<Sleeping>,
    /// What is known about the failure that [`JobStatus::cause`] names.
    pub error: Option<ErrorDetails>,
    /// What its last attempt consumed; every figure is null until one has ended.
    pub usage: Usage,
    /// What its last attempt printed.
    pub output: Option<Output>,
    /// Details from the task.
    pub progress: Option<Value>,
    /// How its last attempt was isolated.
    pub isolation: Option<String>,
    /// Where its last attempt ran, or runs.
    pub host: Option<String>,
    /// The process of its last attempt, by its number on that host; where an init of ours stands above
    /// it, that init, which may be the one of other attempts, too.
    pub pid: Option<u32>,
    /// Its last attempts that have ended, oldest first; at most ten.
    pub attempts: Vec<AttemptStatus>,
    /// What could not be read, and is null for that reason.
    pub note: Option<String>,
    /// The flow it belongs to; filled in where one job is asked for.
    pub flow: Option<Box<FlowView>>,
    /// What it remembers, if that is anything; filled in where one job is asked for.
    pub journal: Option<JournalView>,
}

impl JobStatus {
    /// A job that nobody knows.
    #[must_use]
    pub fn unknown(uuid: Uuid) -> Self {
        Self {
            uuid,
            task: None,
            queue: None,
            status: Status::Unknown,
            hook: None,
            cause: None,
            attempt: None,
            retries: None,
            priority: None,
            submitted_at: None,
            started_at: None,
            finished_at: None,
            next_at: None,
            sleeping: None,
            error: None,
            usage: Usage::default(),
            output: None,
            progress: None,
            isolation: None,
            host: None,
            pid: None,
            attempts: Vec::new(),
            note: None,
            flow: None,
            journal: None,
        }
    }
}

impl From<JobRow> for JobStatus {
    /// Puts together what a store keeps. What is damaged becomes null and is named in
    /// [`JobStatus::note`].
    fn from(row: JobRow) -> Self {
        let mut damaged = Vec::new();
        let history = read("history", History::from_json(&row.history), &mut damaged);
        let progress = row.progress.as_deref().map(serde_json::from_slice);
        let progress = progress.and_then(|json| read("progress", json, &mut damaged));
        let mut job = Self {
            task: Some(row.task),
            queue: Some(row.queue),
            priority: Some(row.priority),
            submitted_at: Some(row.submitted_at),
            finished_at: row.finished_at,
            cause: row.cause,
            hook: hook_of(&row.header),
            progress,
            ..Self::unknown(row.uuid)
        };
        if let Some(history) = history {
            let sleeps = history.is_asleep && row.state == State::Delayed;
            let signal = history.sleeps_for.clone();
            job.sleeping = sleeps.then_some(Sleeping { signal });
            job.take_history(history);
        }
        job.status = match row.state {
            State::Ready | State::Delayed if job.cause.is_some() => Status::Retrying,
            State::Ready | State::Delayed => Status::Submitted,
            State::Leased => Status::Running,
            State::Succeeded => Status::Succeeded,
            State::Dead | State::Dropped => Status::Failed,
        };
        match row.state {
            State::Delayed => job.next_at = Some(row.ready_at),
            State::Leased => {
                job.take_running_attempt(row.started_at, row.owner_host, row.pid);
            }
            State::Succeeded | State::Dead | State::Dropped => {
                job.started_at = job.started_at.or(row.started_at);
            }
            State::Ready => {}
        }
        job.note = (!damaged.is_empty()).then(|| damaged.join("; "));
        job
    }
}

impl JobStatus {
    fn take_history(&mut self, history: History) {
        self.attempt = Some(history.attempt);
        self.retries = Some(history.retries);
        self.output = history.output;
        self.isolation = history.isolation;
        self.host = history.host;
        self.pid = history.pid;
        if let Some(last) = history.attempts.last() {
            self.cause = self.cause.or(last.cause);
            self.error.clone_from(&last.error);
            self.usage = last.usage;
            self.started_at = last.started_at;
        }
        self.attempts = history.attempts.into_iter().map(Into::into).collect();
    }

    /// What is known of the attempt before belongs to [`JobStatus::attempts`] from now on.
    fn take_running_attempt(
        &mut self,
        started_at: Option<Timestamp>,
        host: Option<String>,
        pid: Option<u32>,
    ) {
        self.attempt = self.attempt.map(|n| n.saturating_add(1));
        self.cause = None;
        self.error = None;
        self.usage = Usage::default();
        self.output = None;
        self.isolation = None;
        self.started_at = started_at;
        self.host = host;
        self.pid = pid;
    }
}

/// A damaged header names none; it is the supervisor's to say so.
fn hook_of(header: &[u8]) -> Option<HookKind> {
    #[derive(Deserialize)]
    struct Hook {
        hook: Option<HookKind>,
    }
    serde_json::from_slice::<Hook>(header).ok()?.hook
}

fn read<T>(what: &str, json: Result<T, serde_json::Error>, damaged: &mut Vec<String>) -> Option<T> {
    json.map_err(|error| damaged.push(format!("the job's {what} cannot be read: {error}")))
        .ok()
}

fn rfc3339<S: Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => s.collect_str(time),
        None => s.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
