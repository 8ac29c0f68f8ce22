//! What a task wants to be told when one of its attempts has ended.
//!
//! Such a hook is a job of its own, stored in the very move that ends the attempt: it runs at least
//! once, isolated like every task, wherever the task is served, and never changes the verdict.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::outcome::{Cause, ErrorDetails};

/// The ends of attempts that a task may have a hook for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// The attempt failed, and there will be another.
    OnRetry,
    /// The job has failed for good.
    OnFailure,
    /// The job has succeeded.
    OnSuccess,
    /// A user revoked the job.
    OnRevocation,
}

impl HookKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::OnRetry,
        Self::OnFailure,
        Self::OnSuccess,
        Self::OnRevocation,
    ];

    /// The name that a task declares it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnRetry => "on_retry",
            Self::OnFailure => "on_failure",
            Self::OnSuccess => "on_success",
            Self::OnRevocation => "on_revocation",
        }
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of an attempt, as its hook is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Occasion {
    /// The job that the attempt was of.
    pub uuid: Uuid,
    /// Which attempt of it, from 1; 0 if it ended before the first.
    pub attempt: u32,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What is known of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetails>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_tasks_declare_them() {
        for kind in HookKind::ALL {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.as_str());
        }
    }
}
