//! Jobs whose end brings others, as a supervisor would end them.

use bulkhead_shared::broker::{Claimed, Settled, Settlement};
use bulkhead_shared::flow::follow::{self, About, Thread};
use bulkhead_shared::flow::{Complete, Group};
use bulkhead_shared::message::Header;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::{QueueName, TaskName, Uuid};

use crate::{Scene, settlement, succeed};

/// Everything that names no queue goes to `default`.
fn usual(_: &TaskName) -> QueueName {
    QueueName::default()
}

/// What a claimed job's header says.
///
/// # Panics
/// If it says nothing.
#[must_use]
pub fn header_of(claimed: &Claimed) -> Header {
    serde_json::from_slice(&claimed.header).unwrap()
}

/// What came from the job before a claimed one.
#[must_use]
pub fn previous_of(claimed: &Claimed) -> Option<String> {
    let header = header_of(claimed);
    let (_, previous) = header.split(&claimed.payload);
    previous.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// A settlement with what it brings.
#[must_use]
pub fn with_errands(scene: &Scene, claimed: &Claimed, next: Move, result: &[u8]) -> Settlement {
    let about = About {
        wants_callback: true,
        now: scene.clock.wall(),
        queue_of: &usual,
    };
    let thread = Thread::of(claimed.receipt.uuid, &header_of(claimed));
    let errands = thread.map(|thread| thread.follow(&next, result, None, &about).unwrap());
    Settlement {
        errands: errands.unwrap_or_default(),
        ..settlement(claimed, next)
    }
}

/// Ends a job well.
pub fn give(scene: &Scene, claimed: &Claimed, result: &[u8]) -> Settled {
    let settlement = with_errands(scene, claimed, succeed(result), result);
    let turned = scene.broker().turn(vec![settlement], None).unwrap();
    turned.settled[0]
}

/// Ends a job badly.
pub fn fail(scene: &Scene, claimed: &Claimed) -> Settled {
    let next = Move::Bury {
        cause: Cause::Error,
        purge_at: None,
    };
    let settlement = with_errands(scene, claimed, next, b"");
    let turned = scene.broker().turn(vec![settlement], None).unwrap();
    turned.settled[0]
}

/// Opens a group.
pub fn open(scene: &Scene, group: Group) -> Uuid {
    let group = group.build().unwrap();
    let opening = group.opening(scene.clock.wall(), &usual).unwrap();
    scene.broker().open(&opening).unwrap();
    group.uuid()
}

/// Closes all groups that are complete; which ones were.
pub fn close_all(scene: &Scene) -> Vec<Uuid> {
    let complete = scene.broker().complete(100).unwrap();
    let close = |group: &Complete| {
        let closed = close(scene, group);
        assert!(closed, "it was listed as complete");
        group.uuid
    };
    complete.iter().map(close).collect()
}

/// Closes a group, if nobody has done so.
pub fn close(scene: &Scene, group: &Complete) -> bool {
    let about = About {
        wants_callback: true,
        now: scene.clock.wall(),
        queue_of: &usual,
    };
    let errands = follow::complete(group, &about).unwrap();
    scene.broker().close(group, errands).unwrap()
}
