//! Settlements, renewals and notes: only under the newest fence.

use bulkhead_shared::broker::{Note, Overdue, Renewal, Settled};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{LEASE, TestClock, for_each_backend, job, secs, settlement, succeed};

for_each_backend!(
    a_settlement_counts_while_its_fence_is_newest_even_after_its_lease,
    |scene| {
        let uuid = scene.submit(job());
        let claimed = scene.claim_one();
        scene.clock.pass(LEASE * 3);
        assert_eq!(scene.settle(&claimed, succeed(b"late")), Settled::Applied);
        assert_eq!(scene.state(uuid), Some(State::Succeeded));
    }
);

for_each_backend!(
    a_zombie_that_was_rescued_can_neither_settle_nor_renew,
    |scene| {
        let uuid = scene.submit(job());
        let zombie = scene.claim_one();
        scene.clock.pass(LEASE);
        let rescued = scene.take_over(&Overdue::Lease).remove(0);
        assert_eq!(rescued.receipt.fence, zombie.receipt.fence + 1);
        let bury = Move::Bury {
            cause: Cause::Error,
            purge_at: None,
        };
        let retry = Move::Retry {
            at: TestClock::START,
        };
        for next in [succeed(b"z"), Move::Release, retry, bury] {
            assert_eq!(scene.settle(&zombie, next), Settled::Stale);
        }
        let renewed = scene.broker().renew(&[zombie.receipt], LEASE).unwrap();
        assert_eq!(renewed, [Renewal::Lost]);
        assert_eq!(scene.row(uuid).fence, rescued.receipt.fence);
        assert_eq!(scene.settle(&rescued, succeed(b"r")), Settled::Applied);
        assert_eq!(
            scene.store.catalog.result(uuid).unwrap().unwrap().bytes,
            b"r"
        );
    }
);

for_each_backend!(a_second_settlement_of_an_attempt_is_stale, |scene| {
    let uuid = scene.submit(job());
    let claimed = scene.claim_one();
    scene.settle(&claimed, succeed(b"1"));
    assert_eq!(scene.settle(&claimed, succeed(b"2")), Settled::Stale);
    assert_eq!(
        scene.store.catalog.result(uuid).unwrap().unwrap().bytes,
        b"1"
    );
});

for_each_backend!(
    one_stale_settlement_among_five_hundred_does_not_hold_up_the_others,
    |scene| {
        for _ in 0..500 {
            scene.submit(job());
        }
        let claimed = scene.claim(500);
        scene.settle(&claimed[250], succeed(b"before"));
        let all = claimed
            .iter()
            .map(|job| settlement(job, succeed(b"1")))
            .collect();
        let settled = scene.turn(all, 1).settled;
        let applied = settled
            .iter()
            .filter(|one| **one == Settled::Applied)
            .count();
        assert_eq!((applied, settled[250]), (499, Settled::Stale));
    }
);

for_each_backend!(fences_only_ever_rise, |scene| {
    let uuid = scene.submit(job());
    let mut last = 0;
    let ways = [
        Move::Release,
        Move::Retry {
            at: TestClock::START,
        },
        Move::Release,
    ];
    for next in ways {
        let claimed = scene.claim_one();
        assert!(claimed.receipt.fence > last);
        last = claimed.receipt.fence;
        scene.settle(&claimed, next);
        assert_eq!(scene.row(uuid).fence, last, "giving back lowers nothing");
    }
});

for_each_backend!(a_renewed_lease_is_not_taken_over, |scene| {
    scene.submit(job());
    let claimed = scene.claim_one();
    scene.clock.pass(LEASE - secs(1));
    let renewed = scene.broker().renew(&[claimed.receipt], LEASE).unwrap();
    assert_eq!(renewed, [Renewal::Held]);
    scene.clock.pass(LEASE - secs(1));
    assert!(scene.take_over(&Overdue::Lease).is_empty());
    scene.clock.pass(secs(1));
    assert_eq!(scene.take_over(&Overdue::Lease).len(), 1);
});

for_each_backend!(
    the_history_of_a_settlement_comes_with_the_next_claim,
    |scene| {
        scene.submit(job());
        let first = scene.claim_one();
        assert!(first.history.is_empty());
        let given = settlement(&first, Move::Release).history;
        scene.settle(&first, Move::Release);
        assert_eq!(scene.claim_one().history, given);
    }
);

for_each_backend!(notes_are_kept_under_the_newest_fence_only, |scene| {
    let uuid = scene.submit(job());
    let zombie = scene.claim_one();
    scene.settle(&zombie, Move::Release);
    let claimed = scene.claim_one();
    let note = |receipt: &bulkhead_shared::broker::Receipt, pid| Note {
        receipt: receipt.clone(),
        started_at: TestClock::START,
        pid,
        progress: Some(b"{}".to_vec()),
    };
    let notes = [note(&claimed.receipt, 7), note(&zombie.receipt, 8)];
    scene.broker().note(&notes).unwrap();
    let row = scene.row(uuid);
    assert_eq!((row.pid, row.started_at), (Some(7), Some(TestClock::START)));
    assert_eq!(row.progress.as_deref(), Some(&b"{}"[..]));
    let quiet = Note {
        progress: None,
        ..note(&claimed.receipt, 7)
    };
    scene.broker().note(&[quiet]).unwrap();
    assert!(
        scene.row(uuid).progress.is_some(),
        "a note without progress keeps the last one"
    );
    scene.settle(&claimed, Move::Release);
    assert_eq!(scene.row(uuid).pid, None);
});
