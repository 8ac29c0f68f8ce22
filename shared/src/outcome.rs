//! What happened to an attempt: data, not an error of ours.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Key;

/// Why a job failed, or why its last attempt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The task returned an error or panicked.
    Error,
    /// The deadline passed.
    Timeout,
    /// The process died by a signal that was not ours, or ended without a result.
    Crash,
    /// The process asked for more memory than it may have.
    OutOfMemory,
    /// Another limit of the sandbox was hit.
    Limit,
    /// A user no longer wanted the job.
    Revoked,
    /// The job waited, or lived, longer than it was meant to.
    Expired,
    /// The process broke the frame protocol.
    Protocol,
    /// Nobody serves the task.
    UnknownTask,
    /// The sandbox could not be set up, or the process could not be killed.
    Sandbox,
    /// The supervisor that ran the job died or lost its lease too often.
    Lost,
}

impl Cause {
    /// All causes, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Error,
        Self::Timeout,
        Self::Crash,
        Self::OutOfMemory,
        Self::Limit,
        Self::Revoked,
        Self::Expired,
        Self::Protocol,
        Self::UnknownTask,
        Self::Sandbox,
        Self::Lost,
    ];

    /// The name it is printed and stored under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::OutOfMemory => "out-of-memory",
            Self::Limit => "limit",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Protocol => "protocol",
            Self::UnknownTask => "unknown-task",
            Self::Sandbox => "sandbox",
            Self::Lost => "lost",
        }
    }

    /// The cause with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a failure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetails {
    /// A short name: `panic`, `killed`, the type of the error.
    pub name: String,
    /// The text.
    pub text: String,
    /// Where it happened, if known.
    pub traceback: Option<String>,
    /// The signal that ended the process, such as `SIGSEGV`.
    pub signal: Option<String>,
    /// The code the process ended with.
    pub exit_code: Option<i32>,
    /// The limit that was hit, in its unit (memory: bytes).
    pub limit: Option<u64>,
    /// The highest value seen, in the same unit.
    pub peak: Option<u64>,
}

impl ErrorDetails {
    /// A failure with a name and a text.
    #[must_use]
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Cuts name, text and traceback to `most` bytes each.
    pub fn shorten(&mut self, most: usize) {
        let texts = [&mut self.name, &mut self.text];
        for text in texts.into_iter().chain(self.traceback.as_mut()) {
            shorten(text, most);
        }
    }
}

/// What a text that was cut ends with.
const CUT: &str = "... (cut)";

/// Cuts a text that is longer than `most` bytes, between two characters, and says so at its end.
pub fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
}

/// Where the figures of a [`Usage`] come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsageSource {
    /// The kernel's account of the whole process, taken when it was reaped.
    Waitid,
    /// Differences that a reused process reported about itself.
    Reported,
    /// What a job of a group reported: CPU time of its own thread or future (unknown if it never
    /// answered), peak memory of the whole process that it shared.
    Shared,
}

/// What an attempt consumed. Unknown is `None`, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Time from the Run frame to the end, in milliseconds.
    pub wall_ms: Option<u64>,
    /// CPU time in user mode, in milliseconds.
    pub cpu_user_ms: Option<u64>,
    /// CPU time in the kernel, in milliseconds.
    pub cpu_system_ms: Option<u64>,
    /// Peak resident memory, in KiB.
    pub max_rss_kb: Option<u64>,
    /// Who measured.
    pub source: Option<UsageSource>,
}

/// The last output of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    /// The end of what was written to standard output.
    pub stdout: String,
    /// The end of what was written to standard error.
    pub stderr: String,
    /// All bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// All bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Something was dropped.
    pub truncated: bool,
    /// It is the output of a group's process: of this job and of others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The task returned these bytes.
    Returned(Vec<u8>),
    /// It did not.
    Failed {
        /// Why.
        cause: Cause,
        /// What is known about it.
        error: ErrorDetails,
        /// The same job would fail the same way: bad arguments, an unknown task.
        is_final: bool,
    },
    /// It was given back unharmed: drain, shutdown, never sent. Not counted.
    Released,
    /// Another job of its group took their process down, and which one cannot be told, or was not
    /// this one. Not counted, but remembered: see [`crate::retry::DISPLACED_MOST`].
    Displaced,
    /// It sleeps: its process is not needed until then. Not counted.
    Snoozed {
        /// When it is to run again.
        until: crate::Timestamp,
        /// The signal that may wake it before.
        signal: Option<Key>,
    },
    /// Its supervisor died or lost the lease.
    LeaseLost,
}

/// Everything known about an attempt's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What it consumed.
    pub usage: Usage,
    /// What it printed.
    pub output: Option<Output>,
    /// When its Run frame was written; `None` if it never was.
    pub started_at: Option<crate::Timestamp>,
    /// When it ended.
    pub finished_at: crate::Timestamp,
    /// The process it ran in, or the init above that.
    pub pid: Option<u32>,
    /// Whether what follows a success is to follow; the task may decline it.
    pub wants_callback: bool,
    /// Whether a failure is to be tried again, as far as its budgets allow; the task may decline it.
    pub wants_retry: bool,
    /// Something was written into the job's journal: it has come further than before, and what
    /// took its process down before is forgiven.
    pub has_progressed: bool,
}
