//! What a child says about a task: its name and the defaults of its jobs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::hook::HookKind;
use crate::name::{QueueName, TaskName};
use crate::policy::{Keep, Retries};
use crate::stream::ProcessorSpec;
use crate::trigger::TriggerSpec;

/// What a task's function runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// A process: it can be killed, and takes nobody with it.
    #[default]
    Process,
    /// A thread of a group: cheaper, but it can only be asked to stop.
    Thread,
    /// A future on the runtime of a group: many at once, dropped when they are to stop.
    Async,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Process, Self::Thread, Self::Async];

    /// The name it is typed and printed under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Async => "async",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no mechanism.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a mechanism (use `process`, `thread` or `async`)")]
pub struct MechanismError {
    text: String,
}

impl FromStr for Mechanism {
    type Err = MechanismError;
    fn from_str(text: &str) -> Result<Self, MechanismError> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| MechanismError { text: text.into() })
    }
}

/// A task as its child registers it. What is absent is the supervisor's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Unique within a child.
    pub name: TaskName,
    /// Where its messages go that name no queue.
    #[serde(default)]
    pub queue: Option<QueueName>,
    /// Longest run of one attempt, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Attempts after the first.
    #[serde(default)]
    pub max_retries: Option<Retries>,
    /// Wait between attempts.
    #[serde(default)]
    pub backoff: Option<Backoff>,
    /// From SIGTERM to SIGKILL, in milliseconds.
    #[serde(default)]
    pub patience_ms: Option<u64>,
    /// How long the result and the verdict are kept.
    #[serde(default)]
    pub result_ttl: Option<Keep>,
    /// Memory of the process, in bytes.
    #[serde(default)]
    pub memory: Option<u64>,
    /// The sandbox profile.
    #[serde(default)]
    pub profile: Option<String>,
    /// When it runs by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerSpec>,
    /// How many of its jobs may run at once in each of its queues, over all supervisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The names of its parameters, in order.
    #[serde(default)]
    pub params: Vec<String>,
    /// Arguments may be given by position.
    #[serde(default = "yes")]
    pub positional: bool,
    /// The ends of its attempts that it wants to be told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookKind>,
    /// What its function runs in.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// In a group it runs on the main thread, one job at a time; in a process it does so anyway.
    #[serde(default)]
    pub run_in_main_thread: bool,
    /// It is a processor: given the events of a stream, and never a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorSpec>,
}

const fn yes() -> bool {
    true
}

impl TaskSpec {
    /// A task with nothing but a name.
    #[must_use]
    pub const fn new(name: TaskName) -> Self {
        Self {
            name,
            queue: None,
            timeout_ms: None,
            max_retries: None,
            backoff: None,
            patience_ms: None,
            result_ttl: None,
            memory: None,
            profile: None,
            trigger: None,
            concurrency: None,
            params: Vec::new(),
            positional: true,
            hooks: Vec::new(),
            mechanism: Mechanism::Process,
            run_in_main_thread: false,
            processor: None,
        }
    }
}
