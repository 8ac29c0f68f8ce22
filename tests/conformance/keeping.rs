//! How long results, verdicts and uuids are kept.

use std::time::Duration;

use bulkhead_shared::catalog::State;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{LockName, LockOwner};
use bulkhead_tests::{KEPT, Kind, Scene, TestClock, for_each_backend, job, secs};

fn end(
    scene: &Scene,
    result_for: Option<Duration>,
    kept_for: Option<Duration>,
) -> bulkhead_shared::Uuid {
    let uuid = scene.submit(job());
    let claimed = scene.claim_one();
    let next = Move::Succeed {
        result: (result_for != Some(Duration::ZERO)).then(|| b"r".to_vec()),
        result_until: result_for.map(|time| TestClock::START.plus(time)),
        purge_at: kept_for.map(|time| TestClock::START.plus(time)),
    };
    scene.settle(&claimed, next);
    uuid
}

for_each_backend!(a_result_ttl_of_zero_keeps_the_verdict_alone, |scene| {
    let uuid = end(scene, Some(Duration::ZERO), Some(KEPT));
    assert!(scene.store.catalog.result(uuid).unwrap().is_none());
    assert_eq!(scene.row(uuid).result_bytes, None);
    assert_eq!(scene.state(uuid), Some(State::Succeeded));
});

for_each_backend!(
    a_result_is_gone_after_its_time_and_the_verdict_stays,
    |scene| {
        let uuid = end(scene, Some(secs(10)), Some(KEPT));
        scene.clock.pass(secs(9));
        assert!(scene.store.catalog.result(uuid).unwrap().is_some());
        scene.clock.pass(secs(1));
        assert!(scene.store.catalog.result(uuid).unwrap().is_none());
        assert_eq!(scene.row(uuid).result_bytes, None);
        assert_eq!(scene.broker().prune(100).unwrap(), 1);
        assert_eq!(scene.broker().prune(100).unwrap(), 0);
        assert_eq!(scene.state(uuid), Some(State::Succeeded));
    }
);

for_each_backend!(what_is_kept_for_ever_survives_any_pruning, |scene| {
    let uuid = end(scene, None, None);
    scene.clock.pass(secs(1_000_000_000));
    scene.broker().prune(100).unwrap();
    assert!(scene.store.catalog.result(uuid).unwrap().is_some());
});

for_each_backend!(
    ended_jobs_are_forgotten_at_their_time_and_no_more_than_asked,
    |scene| {
        let ended: Vec<_> = (0..5).map(|_| end(scene, Some(KEPT), Some(KEPT))).collect();
        assert_eq!(scene.broker().prune(100).unwrap(), 0);
        scene.clock.pass(KEPT);
        assert_eq!(scene.broker().prune(2).unwrap(), 2);
        assert_eq!(scene.broker().prune(100).unwrap(), 3);
        assert!(ended.iter().all(|uuid| scene.state(*uuid).is_none()));
    }
);

for_each_backend!(a_result_can_be_taken_once, |scene| {
    let uuid = end(scene, Some(KEPT), Some(KEPT));
    let taken = scene.store.catalog.take_result(uuid).unwrap().unwrap();
    assert_eq!(
        (taken.bytes.as_slice(), taken.at),
        (&b"r"[..], TestClock::START)
    );
    assert!(scene.store.catalog.take_result(uuid).unwrap().is_none());
    assert!(scene.store.catalog.result(uuid).unwrap().is_none());
});

for_each_backend!(
    waiting_and_ended_jobs_can_be_removed_and_running_ones_not,
    |scene| {
        let running = scene.submit(job());
        scene.claim_one();
        let ready = scene.submit(job().queue("q"));
        let delayed = scene.submit(job().delay(secs(9)));
        let removed = scene
            .broker()
            .remove(&[running, ready, delayed, ready])
            .unwrap();
        assert_eq!(removed, 2);
        assert_eq!(scene.state(running), Some(State::Leased));
        assert!(scene.state(ready).is_none() && scene.state(delayed).is_none());
    }
);

/// A lock that is over once the scene's clock has passed [`KEPT`], and some that are never over.
fn hold_locks(scene: &Scene) {
    let owner = LockOwner::new("ada").unwrap();
    for (name, ttl) in [("a", None), ("b", None), ("c", None), ("d", Some(KEPT))] {
        let name = LockName::new(name).unwrap();
        scene.store.locks.acquire(&name, &owner, ttl).unwrap();
    }
}

/// On Redis locks that are over go by themselves.
fn forgets_locks(scene: &Scene) -> bool {
    matches!(scene.kind, Kind::SqliteFile | Kind::SqliteMemory)
}

for_each_backend!(many_jobs_to_forget_leave_room_for_the_rest, |scene| {
    if forgets_locks(scene) {
        let ended: Vec<_> = (0..10).map(|_| end(scene, None, Some(KEPT))).collect();
        hold_locks(scene);
        scene.clock.pass(KEPT);
        assert_eq!(scene.broker().prune(8).unwrap(), 8);
        let left = ended.iter().filter(|uuid| scene.state(**uuid).is_some());
        assert_eq!(left.count(), 3, "one of the eight was the lock");
    }
});

for_each_backend!(locks_without_an_end_hide_none_that_are_over, |scene| {
    if forgets_locks(scene) {
        hold_locks(scene);
        scene.clock.pass(KEPT);
        assert_eq!(scene.broker().prune(2).unwrap(), 1);
    }
});
