//! What a store keeps about the attempts of a job: written by whoever decides, opaque to stores.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::outcome::{Cause, ErrorDetails, Output, Usage};

/// How many attempts are kept: enough to see a pattern, few enough for every listing.
pub const ATTEMPTS_KEPT: usize = 10;

/// One attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counted from 1.
    pub n: u32,
    /// Why it failed; `None` if it returned.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// What is known about the failure.
    #[serde(default)]
    pub error: Option<ErrorDetails>,
    /// What it consumed.
    #[serde(default)]
    pub usage: Usage,
    /// When its Run frame was written.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// A job's past: counters for the budgets, and its last attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Attempts that were started.
    pub attempt: u32,
    /// Attempts that ended by an error or a timeout.
    pub errors: u32,
    /// Attempts that took their process down.
    pub crashes: u32,
    /// Leases lost.
    pub lost: u32,
    /// Times it was given back uncounted.
    pub released: u32,
    /// Times in a row that another job took down the process they shared.
    pub displaced: u32,
    /// Times it went to sleep.
    pub snoozed: u32,
    /// How long its processes ran before it went to sleep, in milliseconds, since the last attempt
    /// that was counted: its timeout counts that too.
    pub ran_ms: u64,
    /// It sleeps, as far as it waits.
    pub is_asleep: bool,
    /// The signal that may wake it.
    pub sleeps_for: Option<String>,
    /// Entries of its journal that were there when an attempt of it was last lost.
    pub remembered: u32,
    /// Retries granted so far: what backoff counts.
    pub retries: u32,
    /// The last [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
    /// What the last attempt printed.
    pub output: Option<Output>,
    /// How the last attempt was isolated.
    pub isolation: Option<String>,
    /// Where the last attempt ran.
    pub host: Option<String>,
    /// The process of the last attempt.
    pub pid: Option<u32>,
}

impl History {
    /// Reads what a store kept; an empty text is a job that was never tried.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        if json.is_empty() {
            Ok(Self::default())
        } else {
            serde_json::from_slice(json)
        }
    }

    /// The form a store keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a history holds only text, numbers and lists")
    }

    /// Adds an attempt and forgets the oldest beyond [`ATTEMPTS_KEPT`].
    pub fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
    }
}

/// The counters of a history that budgets are counted by.
#[cfg(any(feature = "redis", feature = "sqlite"))]
const BUDGETS: [&str; 6] = [
    "errors",
    "crashes",
    "lost",
    "released",
    "displaced",
    "retries",
];

/// A stored history with its counters at zero. What this version does not know stays as it is.
#[cfg(any(feature = "redis", feature = "sqlite"))]
pub(crate) fn with_fresh_budgets(history: Vec<u8>) -> Vec<u8> {
    use serde_json::Value;
    let Ok(Value::Object(mut object)) = serde_json::from_slice(&history) else {
        return history;
    };
    for budget in BUDGETS {
        if let Some(count) = object.get_mut(budget) {
            *count = Value::from(0);
        }
    }
    serde_json::to_vec(&object).unwrap_or(history)
}
