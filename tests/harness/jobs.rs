//! Short words for jobs and their ends.

use std::time::Duration;

use bulkhead_shared::broker::{Claimed, Settlement, SupervisorId};
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, QueueName, TaskName, Timestamp, Uuid};

use crate::TestClock;

/// How long ended jobs are kept in tests that do not care.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A message for the task `add`.
pub fn job() -> MessageBuilder {
    Message::new("add").arg(1)
}

/// A queue's name.
#[must_use]
pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// A task's name.
#[must_use]
pub fn task(name: &str) -> TaskName {
    TaskName::new(name).unwrap()
}

/// A supervisor that was never there before.
#[must_use]
pub fn supervisor() -> SupervisorId {
    SupervisorId(Uuid::now_v7())
}

/// The ids of claimed jobs, in order.
#[must_use]
pub fn uuids(claimed: &[Claimed]) -> Vec<Uuid> {
    claimed.iter().map(|job| job.receipt.uuid).collect()
}

/// What ends the attempt of `claimed` by `next`.
#[must_use]
pub fn settlement(claimed: &Claimed, next: Move) -> Settlement {
    Settlement {
        receipt: claimed.receipt.clone(),
        next,
        history: br#"{"attempt":1,"errors":1,"retries":1,"note":"kept"}"#.to_vec(),
        at: TestClock::START,
        errands: Default::default(),
    }
}

/// A good end whose result is `result`.
#[must_use]
pub fn succeed(result: &[u8]) -> Move {
    let until: Option<Timestamp> = Some(TestClock::START.plus(KEPT));
    Move::Succeed {
        result: Some(result.to_vec()),
        result_until: until,
        purge_at: until,
    }
}
