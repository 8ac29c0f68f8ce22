//! From an attempt's end to the settlement that the store writes, and the line in the log.

use std::hash::{BuildHasher, RandomState};

use bulkhead_shared::Timestamp;
use bulkhead_shared::broker::{Receipt, Settled, Settlement};
use bulkhead_shared::flow::Errands;
use bulkhead_shared::flow::follow::{About, Thread};
use bulkhead_shared::hook::{Ending, HookKind, Hooked};
use bulkhead_shared::outcome::{Cause, Ended, ErrorDetails, Outcome};
use bulkhead_shared::retry::{self, Circumstances, Move};
use tracing::{info, warn};

use super::groups::queue_of;
use crate::job::Job;
use crate::pool::TicketId;

/// What is said of a job that sleeps: its attempt goes on.
const SNOOZED: &str = "snoozed";

/// Where attempts run: part of every verdict.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub host: String,
}

/// What is said about a settlement once it is written.
#[derive(Debug)]
pub(crate) struct Story {
    pub ticket: TicketId,
    task: String,
    outcome: &'static str,
    attempt: u32,
    elapsed_ms: Option<u64>,
}

/// Decides; `random` spreads retries.
pub(crate) fn decide(
    job: Job,
    ended: Ended,
    place: &Place,
    random: &RandomState,
) -> (Settlement, Story) {
    let at = ended.finished_at;
    let elapsed_ms = ended.usage.wall_ms;
    let Job {
        ticket,
        receipt,
        task,
        history,
        policy,
        isolation,
        thread,
        hooked,
        hook,
        ..
    } = job;
    // Copied only where something hangs on it: it may be large.
    let is_known = thread.is_some() || hooked.is_some();
    let known = is_known.then(|| ended.outcome.clone());
    let about_flow = About {
        wants_callback: ended.wants_callback,
        now: at,
        queue_of: &queue_of,
    };
    let bits = random.hash_one((receipt.uuid, receipt.fence));
    #[expect(
        clippy::cast_precision_loss,
        reason = "any value between 0 and 1 will do"
    )]
    let jitter = bits as f64 / u64::MAX as f64;
    let outcome = match &ended.outcome {
        Outcome::Returned(_) => "returned",
        Outcome::Failed { cause, .. } => cause.as_str(),
        Outcome::Released => "released",
        Outcome::Displaced => "displaced",
        Outcome::Snoozed { .. } => SNOOZED,
        Outcome::LeaseLost => "lost",
    };
    let about = Circumstances {
        policy: &policy,
        jitter,
        host: &place.host,
        isolation: &isolation,
    };
    let (mut next, history) = retry::decide(history, ended, about);
    let attempt = history.attempt;
    let mut errands = Errands::default();
    if let (Some(thread), Some(outcome)) = (&thread, &known) {
        errands = follow(thread, &next, outcome, &about_flow);
    }
    if let (Some(hooked), Some(outcome)) = (&hooked, &known) {
        let fence = receipt.fence;
        errands.add(tell(hooked, &next, outcome, (fence, attempt), at));
    }
    if let Some(hook) = hook {
        next = give_up(next, hook, &receipt);
    }
    let story = Story {
        ticket,
        task: task.as_str().into(),
        outcome,
        attempt,
        elapsed_ms,
    };
    (
        Settlement {
            receipt,
            next,
            history: history.to_json(),
            at,
            errands,
        },
        story,
    )
}

/// The hooks that the end brings.
fn tell(
    hooked: &Hooked,
    next: &Move,
    outcome: &Outcome,
    (fence, attempt): (u64, u32),
    at: Timestamp,
) -> Errands {
    let (result, failure) = match outcome {
        Outcome::Returned(result) => (Some(result.as_slice()), None),
        Outcome::Failed { cause, error, .. } => (None, Some((*cause, error))),
        Outcome::Released | Outcome::Displaced | Outcome::Snoozed { .. } | Outcome::LeaseLost => {
            (None, None)
        }
    };
    let ending = Ending {
        fence,
        attempt,
        result,
        failure,
        at,
    };
    hooked.errands(next, &ending)
}

/// A hook that failed for good is no dead letter: the job it was about has had its verdict.
fn give_up(next: Move, hook: HookKind, receipt: &Receipt) -> Move {
    match next {
        Move::Bury { cause, purge_at } => {
            warn!(job = %receipt.uuid, %hook, %cause, "a hook failed for good");
            Move::Drop { cause, purge_at }
        }
        next => next,
    }
}

/// What the end brings: the next step, or a count in a group.
fn follow(thread: &Thread, next: &Move, outcome: &Outcome, about: &About<'_>) -> Errands {
    let (result, error) = match outcome {
        Outcome::Returned(result) => (result.as_slice(), None),
        Outcome::Failed { error, .. } => (&[][..], Some(error)),
        Outcome::Released | Outcome::Displaced | Outcome::Snoozed { .. } | Outcome::LeaseLost => {
            (&[][..], None)
        }
    };
    thread
        .follow(next, result, error, about)
        .unwrap_or_else(|error| {
            warn!(%error, "what follows a job was lost");
            let details = ErrorDetails::new("unreadable", error.to_string());
            Errands {
                applied: thread.failed(Cause::Error, Some(&details)),
                revoked: thread.failed(Cause::Revoked, None),
            }
        })
}

impl Story {
    /// Tells the log what became of the job.
    pub(crate) fn tell(&self, settlement: &Told, settled: Settled) {
        let Self {
            task,
            outcome,
            attempt,
            elapsed_ms,
            ..
        } = self;
        let Told { uuid, next } = settlement;
        match settled {
            Settled::Applied if *outcome == SNOOZED => {
                info!(job = %uuid, task, elapsed_ms, "job sleeps");
            }
            Settled::Applied => {
                info!(job = %uuid, task, attempt, outcome, next, elapsed_ms, "attempt ended");
            }
            Settled::Revoked => {
                info!(job = %uuid, task, attempt, outcome, next = "revoked", "attempt ended");
            }
            Settled::Stale => {
                warn!(job = %uuid, task, attempt, outcome, "attempt discarded: the lease is somebody else's");
            }
        }
    }
}

/// What a story needs of a settlement that has been handed to the store.
#[derive(Debug)]
pub(crate) struct Told {
    uuid: uuid::Uuid,
    next: &'static str,
}

impl From<&Settlement> for Told {
    fn from(settlement: &Settlement) -> Self {
        let next = match settlement.next {
            Move::Succeed { .. } => "succeeded",
            Move::Retry { .. } => "retry",
            Move::Release => "released",
            Move::Snooze { .. } => "sleeps",
            Move::Bury { .. } => "failed",
            Move::Drop { .. } => "dropped",
        };
        Self {
            uuid: settlement.receipt.uuid,
            next,
        }
    }
}
