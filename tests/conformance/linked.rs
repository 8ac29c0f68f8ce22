//! Jobs that hold a lock while they run.

use std::time::Duration;

use bulkhead_shared::broker::{Claimed, Overdue};
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::lock::{Acquisition, LockGuard, Release, Right, Tenure};
use bulkhead_shared::message::{Linked, MessageBuilder};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{LockName, LockOwner};
use bulkhead_tests::{LEASE, Scene, TestClock, for_each_backend, job, secs, succeed, uuids};

/// Longer than a job that wants a lock waits before it looks again.
const A_WHILE: Duration = secs(1);

fn lock() -> LockName {
    LockName::new("l").unwrap()
}

fn linked() -> MessageBuilder {
    job().lock("l")
}

fn owner(scene: &Scene) -> Option<String> {
    let held = scene.store.locks.holder(&lock()).unwrap();
    held.map(|held| held.owner.to_string())
}

fn attempt(claimed: &Claimed) -> String {
    let (job, fence) = (claimed.receipt.uuid, claimed.receipt.fence);
    Tenure::Attempt { job, fence }.owner().to_string()
}

fn take(scene: &Scene, ttl: Option<Duration>) -> u64 {
    let by = LockOwner::new("ada").unwrap();
    match scene.store.locks.acquire(&lock(), &by, ttl).unwrap() {
        Acquisition::Acquired { fence } => fence,
        other => panic!("not acquired: {other:?}"),
    }
}

fn held_guard(scene: &Scene) -> LockGuard {
    let client = Client::new(scene.store.clone());
    client
        .lock("l")
        .ttl(secs(600))
        .acquire(Duration::ZERO)
        .unwrap()
}

fn claims_after_a_while(scene: &Scene) -> Vec<Claimed> {
    scene.clock.pass(A_WHILE);
    scene.claim(9)
}

for_each_backend!(a_linked_job_holds_its_lock_from_claim_to_settle, |scene| {
    let all: Vec<_> = (0..3).map(|_| scene.submit(linked())).collect();
    let plain = scene.submit(job());
    let first = scene.claim(9);
    assert_eq!(uuids(&first), [all[0], plain]);
    assert_eq!(owner(scene), Some(attempt(&first[0])));
    assert!(claims_after_a_while(scene).is_empty());
    scene.settle(&first[0], succeed(b"1"));
    let second = scene.claim(9);
    assert_eq!(uuids(&second), all[1..2]);
    assert_eq!(owner(scene), Some(attempt(&second[0])));
    scene.settle(
        &second[0],
        Move::Bury {
            cause: Cause::Error,
            purge_at: None,
        },
    );
    let third = scene.claim_one();
    let at = TestClock::START.plus(secs(50_000));
    scene.settle(&third, Move::Retry { at });
    assert_eq!(owner(scene), None);
});

for_each_backend!(a_linked_job_waits_for_whoever_holds_its_lock, |scene| {
    let fence = take(scene, None);
    let all: Vec<_> = (0..3).map(|_| scene.submit(linked())).collect();
    let elsewhere = scene.submit(linked().queue("elsewhere"));
    for _ in 0..3 {
        assert!(claims_after_a_while(scene).is_empty());
        assert!(scene.claim_from("elsewhere", 9).is_empty());
    }
    let rows = scene.store.catalog.jobs_by_id(&all).unwrap();
    assert!(
        rows.iter().flatten().all(|row| row.history.is_empty()),
        "none has run"
    );
    let released = scene
        .store
        .locks
        .release(&lock(), Right::Fence(fence))
        .unwrap();
    assert_eq!(released, Release::Released);
    let first = claims_after_a_while(scene);
    assert_eq!(uuids(&first), all[..1]);
    assert!(scene.claim_from("elsewhere", 9).is_empty());
    scene.settle(&first[0], succeed(b"1"));
    scene.clock.pass(A_WHILE);
    let mut order = Vec::new();
    for _ in 0..3 {
        let mut some = scene.claim_from("elsewhere", 9);
        some.extend(scene.claim(9));
        assert_eq!(some.len(), 1, "one at a time");
        order.push(some[0].receipt.uuid);
        scene.settle(&some[0], succeed(b"1"));
        scene.clock.pass(A_WHILE);
    }
    order.sort();
    assert_eq!(order, [all[1], all[2], elsewhere]);
});

for_each_backend!(
    a_linked_job_of_a_queue_that_nobody_serves_holds_up_no_other_queue,
    |scene| {
        let first = scene.submit(linked());
        let running = scene.claim_one();
        assert_eq!(running.receipt.uuid, first);
        scene.submit(linked().queue("paused"));
        let last = scene.submit(linked().queue("served"));
        assert!(scene.claim_from("paused", 9).is_empty());
        assert!(scene.claim_from("served", 9).is_empty());
        scene.settle(&running, succeed(b"1"));
        scene.clock.pass(A_WHILE);
        assert_eq!(uuids(&scene.claim_from("served", 9)), [last]);
    }
);

for_each_backend!(
    a_linked_job_goes_on_when_the_time_of_a_lock_is_over,
    |scene| {
        take(scene, Some(secs(10)));
        let uuid = scene.submit(linked());
        assert!(scene.claim(9).is_empty());
        scene.clock.pass(secs(9));
        assert!(scene.claim(9).is_empty());
        assert_eq!(uuids(&claims_after_a_while(scene)), [uuid]);
    }
);

for_each_backend!(
    a_linked_job_that_waits_can_be_revoked_and_expires,
    |scene| {
        let fence = take(scene, None);
        let revoked = scene.submit(linked());
        let expired = scene.submit(linked().ttl(secs(10)));
        let last = scene.submit(linked());
        assert!(scene.claim(9).is_empty());
        scene.broker().revoke(revoked, false).unwrap();
        for _ in 0..10 {
            assert!(claims_after_a_while(scene).is_empty());
        }
        let taken = scene.take_over(&Overdue::Expired);
        assert_eq!(uuids(&taken), [expired]);
        scene.settle(
            &taken[0],
            Move::Bury {
                cause: Cause::Expired,
                purge_at: None,
            },
        );
        assert!(claims_after_a_while(scene).is_empty());
        scene
            .store
            .locks
            .release(&lock(), Right::Fence(fence))
            .unwrap();
        assert_eq!(uuids(&claims_after_a_while(scene)), [last]);
    }
);

for_each_backend!(
    the_lock_of_a_linked_job_is_free_when_its_lost_lease_is_settled,
    |scene| {
        let first = scene.submit(linked());
        let second = scene.submit(linked());
        assert_eq!(uuids(&scene.claim(9)), [first]);
        scene.clock.pass(LEASE);
        let taken = scene.take_over(&Overdue::Lease).remove(0);
        scene.settle(
            &taken,
            Move::Bury {
                cause: Cause::Lost,
                purge_at: None,
            },
        );
        scene.clock.pass(A_WHILE);
        assert_eq!(uuids(&scene.claim(9)), [second]);
    }
);

for_each_backend!(
    a_lock_that_a_producer_hands_over_is_the_jobs_to_its_final_end,
    |scene| {
        let client = Client::new(scene.store.clone());
        let guard = held_guard(scene);
        let fence = guard.fence();
        let message = || job().uuid(bulkhead_shared::Uuid::now_v7());
        let uuid = client
            .submit_with_lock(message(), guard, Linked::Refuse)
            .unwrap();
        let of_job = Some(Tenure::Job(uuid).owner().to_string());
        assert_eq!(owner(scene), of_job);
        scene.clock.pass(secs(700));
        assert_eq!(owner(scene), of_job, "it outlives the producer's ttl");
        let claimed = scene.claim_one();
        scene.settle(&claimed, Move::Release);
        assert_eq!(owner(scene), of_job);
        let claimed = scene.claim_one();
        let held = scene.store.locks.holder(&lock()).unwrap().unwrap();
        assert_eq!(held.fence, fence);
        scene.settle(&claimed, succeed(b"1"));
        assert_eq!(owner(scene), None);
    }
);

for_each_backend!(
    a_job_takes_over_a_lock_that_was_only_promised_to_it,
    |scene| {
        let fence = take(scene, Some(secs(600)));
        scene.submit(linked());
        let uuid = scene.submit(job().link_lock("l", fence, Linked::Refuse).priority(1));
        let mut claimed = scene.claim(9);
        for _ in 0..3 {
            claimed.extend(claims_after_a_while(scene));
        }
        assert_eq!(uuids(&claimed), [uuid]);
        assert_eq!(owner(scene), Some(Tenure::Job(uuid).owner().to_string()));
    }
);

for_each_backend!(a_message_that_is_not_taken_keeps_no_lock, |scene| {
    let client = Client::new(scene.store.clone());
    let known = scene.submit(job());
    let refused = client.submit_with_lock(job().uuid(known), held_guard(scene), Linked::Refuse);
    assert!(matches!(refused, Err(ClientError::Known { .. })));
    assert_eq!(owner(scene), None);
    let linked = job().lock("other");
    let refused = client.submit_with_lock(linked, held_guard(scene), Linked::Refuse);
    assert!(matches!(refused, Err(ClientError::Message(_))));
    assert_eq!(owner(scene), None);
    let linked = job().lock("other");
    client
        .submit_with_lock(linked, held_guard(scene), Linked::Replace)
        .unwrap();
    assert!(owner(scene).is_some());
});
