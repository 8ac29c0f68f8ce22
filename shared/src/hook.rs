//! What a task wants to be told when one of its attempts has ended.
//!
//! Such a hook is a job of its own, stored in the very move that ends the attempt: it runs at least
//! once, isolated like every task, wherever the task is served, and never changes the verdict.

use std::fmt;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::backoff::{Algorithm, Backoff};
use crate::flow::{Errand, Errands};
use crate::limits::Limits;
use crate::message::{Header, Message};
use crate::name::{QueueName, TaskName};
use crate::outcome::{Cause, ErrorDetails};
use crate::policy::{Keep, Retries};
use crate::retry::Move;
use crate::time::Timestamp;

/// Longest run of a hook.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts of a hook after the first.
pub const HOOK_RETRIES: u32 = 2;

/// Between attempts of a hook, in milliseconds.
const HOOK_PAUSE_MS: u64 = 5000;

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

/// A job whose task wants to be told of its ends.
#[derive(Debug, Clone)]
pub struct Hooked {
    uuid: Uuid,
    queue: QueueName,
    task: TaskName,
    kinds: Vec<HookKind>,
    memory: Option<u64>,
    limits: Limits,
    profile: Option<String>,
    metadata: Option<Box<RawValue>>,
    progenitor: Option<Uuid>,
}

/// The end of an attempt, as far as hooks go.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The fence of the attempt: another attempt's hook is another job.
    pub fence: u64,
    /// Which attempt, from 1; 0 if it ended before the first.
    pub attempt: u32,
    /// What it returned.
    pub result: Option<&'a [u8]>,
    /// What is known of its failure.
    pub failure: Option<(Cause, &'a ErrorDetails)>,
    /// When it ended.
    pub at: Timestamp,
}

impl Ending<'_> {
    /// Of a job that a user revoked while it waited.
    #[must_use]
    pub const fn unrun(fence: u64, at: Timestamp) -> Self {
        Self {
            fence,
            attempt: 0,
            result: None,
            failure: None,
            at,
        }
    }
}

impl Hooked {
    /// The job `uuid`, if its task has hooks of these kinds. A hook has none of its own.
    #[must_use]
    pub fn of(
        uuid: Uuid,
        queue: &QueueName,
        task: &TaskName,
        header: &Header,
        kinds: &[HookKind],
    ) -> Option<Self> {
        let is_hooked = !kinds.is_empty() && header.hook.is_none();
        is_hooked.then(|| Self {
            uuid,
            queue: queue.clone(),
            task: task.clone(),
            kinds: kinds.to_vec(),
            memory: header.memory,
            limits: header.limits,
            profile: header.profile.clone(),
            metadata: header.metadata.clone(),
            progenitor: header.progenitor_uuid,
        })
    }

    /// The hooks that a move to `next` brings, and those that a revocation would bring instead.
    #[must_use]
    pub fn errands(&self, next: &Move, ending: &Ending<'_>) -> Errands {
        let kind = match next {
            Move::Succeed { .. } => Some(HookKind::OnSuccess),
            Move::Retry { .. } => Some(HookKind::OnRetry),
            Move::Release | Move::Snooze { .. } => None,
            Move::Bury { cause, .. } | Move::Drop { cause, .. } => Some(match cause {
                Cause::Revoked => HookKind::OnRevocation,
                _ => HookKind::OnFailure,
            }),
        };
        Errands {
            applied: kind
                .and_then(|kind| self.job(kind, ending))
                .into_iter()
                .collect(),
            revoked: self.revoked(ending),
        }
    }

    /// The hook that a revocation brings.
    #[must_use]
    pub fn revoked(&self, ending: &Ending<'_>) -> Vec<Errand> {
        self.job(HookKind::OnRevocation, ending)
            .into_iter()
            .collect()
    }

    fn job(&self, kind: HookKind, ending: &Ending<'_>) -> Option<Errand> {
        if !self.kinds.contains(&kind) {
            return None;
        }
        let occasion = Occasion {
            uuid: self.uuid,
            attempt: ending.attempt,
            result: ending
                .result
                .and_then(|bytes| serde_json::from_slice(bytes).ok()),
            cause: ending.failure.map(|(cause, _)| cause),
            error: ending.failure.map(|(_, error)| error.clone()),
        };
        let header = Header {
            created_at: ending.at,
            timeout_ms: u64::try_from(HOOK_TIMEOUT.as_millis()).ok(),
            max_retries: Some(Retries::Times(HOOK_RETRIES)),
            backoff: Some(pause()),
            result_ttl: Some(Keep::For { ms: 0 }),
            memory: self.memory,
            limits: self.limits,
            profile: self.profile.clone(),
            metadata: self.metadata.clone(),
            previous_message_uuid: Some(self.uuid),
            progenitor_uuid: self.progenitor,
            hook: Some(kind),
            ..Header::new()
        };
        let message = Message {
            // The same end brings the same hook, however often it is written.
            uuid: Uuid::new_v5(&self.uuid, format!("{kind}:{}", ending.fence).as_bytes()),
            task: self.task.clone(),
            queue: Some(self.queue.clone()),
            priority: 0,
            ready_at: None,
            header,
            payload: serde_json::to_vec(&occasion).expect("an occasion holds only checked JSON"),
            on_submit: None,
        };
        Some(Errand::Submit {
            queue: self.queue.clone(),
            message: Box::new(message),
        })
    }
}

const fn pause() -> Backoff {
    Backoff {
        algorithm: Algorithm::Constant {
            constant_ms: HOOK_PAUSE_MS,
        },
        floor_ms: None,
        ceiling_ms: None,
        zero_override: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooked(kinds: &[HookKind], header: &Header) -> Option<Hooked> {
        let (queue, task) = (QueueName::default(), TaskName::new("add").unwrap());
        Hooked::of(Uuid::nil(), &queue, &task, header, kinds)
    }

    fn ending(fence: u64) -> Ending<'static> {
        Ending {
            attempt: 2,
            result: Some(b"5"),
            ..Ending::unrun(fence, Timestamp::from_millis(7))
        }
    }

    /// The hook that a move brings, if it brings one: its kind and its id.
    fn brought(hooked: &Hooked, next: &Move, fence: u64) -> Option<(HookKind, Uuid)> {
        let errands = hooked.errands(next, &ending(fence));
        let [Errand::Submit { message, .. }] = &errands.applied[..] else {
            assert!(errands.applied.is_empty());
            return None;
        };
        Some((message.header.hook?, message.uuid))
    }

    #[test]
    fn each_end_brings_its_own_hook_if_the_task_has_one() {
        let header = Header::new();
        let all = hooked(&HookKind::ALL, &header).unwrap();
        let one = hooked(&[HookKind::OnFailure], &header).unwrap();
        let at = Timestamp::from_millis(9);
        let bury = |cause| Move::Bury {
            cause,
            purge_at: None,
        };
        let succeed = Move::Succeed {
            result: None,
            result_until: None,
            purge_at: None,
        };
        for (next, kind) in [
            (succeed, Some(HookKind::OnSuccess)),
            (Move::Retry { at }, Some(HookKind::OnRetry)),
            (Move::Release, None),
            (bury(Cause::Crash), Some(HookKind::OnFailure)),
            (bury(Cause::Revoked), Some(HookKind::OnRevocation)),
        ] {
            assert_eq!(brought(&all, &next, 3).map(|(kind, _)| kind), kind);
            let only = kind.filter(|kind| *kind == HookKind::OnFailure);
            assert_eq!(brought(&one, &next, 3).map(|(kind, _)| kind), only);
        }
        // The same end brings the same job, another attempt's end another one.
        let retry = Move::Retry { at };
        assert_eq!(brought(&all, &retry, 3), brought(&all, &retry, 3));
        assert_ne!(brought(&all, &retry, 3), brought(&all, &retry, 4));
    }

    #[test]
    fn a_hook_has_no_hooks_of_its_own() {
        let header = Header {
            hook: Some(HookKind::OnSuccess),
            ..Header::new()
        };
        assert!(hooked(&HookKind::ALL, &header).is_none());
        assert!(hooked(&[], &Header::new()).is_none());
    }

    #[test]
    fn kinds_are_written_as_tasks_declare_them() {
        for kind in HookKind::ALL {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.as_str());
        }
    }
}
