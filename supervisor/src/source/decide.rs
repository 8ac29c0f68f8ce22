//! From an attempt's end to the settlement that the store writes, and the line in the log.

use std::hash::{BuildHasher, RandomState};

use bulkhead_shared::broker::{Settled, Settlement};
use bulkhead_shared::flow::Errands;
use bulkhead_shared::flow::follow::{About, Thread};
use bulkhead_shared::outcome::{Cause, Ended, ErrorDetails, Outcome};
use bulkhead_shared::retry::{self, Circumstances, Move};
use tracing::{info, warn};

use super::groups::queue_of;
use crate::job::Job;
use crate::pool::TicketId;

/// Where attempts run: part of every verdict.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub host: String,
    pub isolation: String,
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
        thread,
        ..
    } = job;
    // Copied only where something hangs on it: it may be large.
    let known = thread.as_ref().map(|_| ended.outcome.clone());
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
        Outcome::LeaseLost => "lost",
    };
    let about = Circumstances {
        policy: &policy,
        jitter,
        host: &place.host,
        isolation: &place.isolation,
    };
    let (next, history) = retry::decide(history, ended, about);
    let errands = match (thread, known) {
        (Some(thread), Some(outcome)) => follow(&thread, &next, &outcome, &about_flow),
        _ => Errands::default(),
    };
    let attempt = history.attempt;
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

/// What the end brings: the next step, or a count in a group. Jobs of hooks belong here, too.
fn follow(thread: &Thread, next: &Move, outcome: &Outcome, about: &About<'_>) -> Errands {
    let (result, error) = match outcome {
        Outcome::Returned(result) => (result.as_slice(), None),
        Outcome::Failed { error, .. } => (&[][..], Some(error)),
        Outcome::Released | Outcome::LeaseLost => (&[][..], None),
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
            Move::Bury { .. } => "failed",
            Move::Drop { .. } => "dropped",
        };
        Self {
            uuid: settlement.receipt.uuid,
            next,
        }
    }
}
