//! From an attempt's end to the settlement that the store writes, and the line in the log.

use std::hash::{BuildHasher, RandomState};

use bulkhead_shared::broker::{Settled, Settlement};
use bulkhead_shared::outcome::{Ended, Outcome};
use bulkhead_shared::retry::{self, Circumstances, Move};
use tracing::{info, warn};

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
        ..
    } = job;
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
        Outcome::LeaseLost => "lost",
    };
    let about = Circumstances {
        policy: &policy,
        jitter,
        host: &place.host,
        isolation: &place.isolation,
    };
    let (next, history) = retry::decide(history, ended, about);
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
        },
        story,
    )
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
