//! How many jobs run at once: of a queue, of a task, of a key.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Overdue, Presence, Revocation, Selection};
use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Message, Timestamp};
use bulkhead_tests::{
    Kind, LEASE, Scene, TestClock, for_each_backend, job, queue, secs, succeed, task, uuids,
};

fn keyed(key: &str, most: u32) -> MessageBuilder {
    job().concurrency(key, most)
}

fn announce(scene: &Scene, concurrency: Option<u32>) {
    let mut spec = TaskSpec::new(task("sub"));
    spec.concurrency = concurrency;
    let presence = Presence {
        id: scene.me,
        host: "h".into(),
        pid: 1,
        selection: Selection {
            queues: vec![queue("default")],
            tasks: vec![task("add"), task("sub")],
        },
        tasks: vec![TaskSpec::new(task("add")), spec],
        version: "0".into(),
        slots: 9,
        started_at: Timestamp::from_millis(1),
    };
    scene.broker().announce(&presence).unwrap();
}

fn release(scene: &Scene, claimed: &bulkhead_shared::broker::Claimed) {
    scene.settle(claimed, Move::Release);
}

for_each_backend!(no_more_jobs_of_a_queue_run_than_its_limit_allows, |scene| {
    let all: Vec<_> = (0..5).map(|_| scene.submit(job())).collect();
    let first = scene.claim(1);
    scene
        .broker()
        .limit_queue(&queue("default"), Some(2))
        .unwrap();
    let turned = scene.turn(Vec::new(), 9);
    assert_eq!(uuids(&turned.claimed), [all[1]]);
    assert!(
        !turned.more,
        "what is above a limit is no reason to come again"
    );
    assert!(scene.claim(9).is_empty());
    assert_eq!(scene.store.catalog.queues().unwrap()[0].ready, 3);
    scene.settle(&first[0], succeed(b"1"));
    assert_eq!(uuids(&scene.claim(9)), [all[2]]);
    release(scene, &turned.claimed[0]);
    let again = scene.claim(9);
    assert_eq!(uuids(&again), [all[1]]);
    scene.submit(job().queue("free"));
    scene.submit(job().queue("free"));
    scene.submit(job().queue("free"));
    assert_eq!(scene.claim_from("free", 9).len(), 3);
    scene.broker().limit_queue(&queue("default"), None).unwrap();
    assert_eq!(uuids(&scene.claim(9)), all[3..]);
});

for_each_backend!(a_lost_lease_uses_up_a_limit_until_it_is_settled, |scene| {
    scene
        .broker()
        .limit_queue(&queue("default"), Some(1))
        .unwrap();
    let all: Vec<_> = (0..2).map(|_| scene.submit(keyed("k", 1))).collect();
    assert_eq!(uuids(&scene.claim(9)), all[..1]);
    scene.clock.pass(LEASE);
    assert!(scene.claim(9).is_empty());
    let taken = scene.take_over(&Overdue::Lease).remove(0);
    assert!(scene.claim(9).is_empty());
    release(scene, &taken);
    assert_eq!(uuids(&scene.claim(9)), all[..1]);
});

for_each_backend!(no_more_jobs_of_a_task_run_than_it_says, |scene| {
    announce(scene, Some(1));
    let subs: Vec<_> = (0..3).map(|_| scene.submit(Message::new("sub"))).collect();
    let add = scene.submit(job());
    let turned = scene.turn(Vec::new(), 9);
    assert_eq!(uuids(&turned.claimed), [subs[0], add]);
    assert!(!turned.more);
    assert!(scene.claim(9).is_empty());
    scene.settle(&turned.claimed[0], succeed(b"1"));
    let second = scene.claim(9);
    assert_eq!(uuids(&second), subs[1..2]);
    // The limit is lifted, and set again while one runs.
    announce(scene, None);
    announce(scene, Some(1));
    assert!(scene.claim(9).is_empty());
    announce(scene, Some(2));
    assert_eq!(uuids(&scene.claim(9)), subs[2..]);
});

for_each_backend!(
    jobs_of_a_key_wait_for_each_other_and_for_nobody_else,
    |scene| {
        let busy: Vec<_> = (0..4).map(|_| scene.submit(keyed("k", 2))).collect();
        let other = scene.submit(keyed("other", 1));
        let plain = scene.submit(job());
        let turned = scene.turn(Vec::new(), 9);
        assert_eq!(uuids(&turned.claimed), [busy[0], busy[1], other, plain]);
        assert!(scene.claim(9).is_empty());
        let counts = &scene.store.catalog.queues().unwrap()[0];
        assert_eq!((counts.ready, counts.leased), (2, 4));
        assert_eq!(scene.state(busy[2]), Some(State::Ready));
        let filter = Filter {
            states: vec![State::Ready],
            ..Filter::default()
        };
        let listed = scene.store.catalog.list(&filter, 9).unwrap();
        assert_eq!(
            listed.iter().map(|row| row.uuid).collect::<Vec<_>>(),
            [busy[3], busy[2]]
        );
        assert_eq!(
            scene.store.catalog.unfinished(&[queue("default")]).unwrap(),
            6
        );
        scene.settle(&turned.claimed[0], succeed(b"1"));
        assert_eq!(uuids(&scene.claim(9)), busy[2..3]);
        assert!(scene.claim(9).is_empty());
        // In another queue it is another key.
        scene.submit(keyed("k", 1).queue("elsewhere"));
        assert_eq!(scene.claim_from("elsewhere", 9).len(), 1);
    }
);

for_each_backend!(
    parked_jobs_go_on_in_the_order_of_priority_and_age,
    |scene| {
        let first = scene.submit(keyed("k", 1));
        let running = scene.claim_one();
        let late = scene.submit(keyed("k", 1).priority(5));
        let middle = scene.submit(keyed("k", 1).priority(1));
        let last = scene.submit(keyed("k", 1).priority(5));
        assert!(scene.claim(9).is_empty());
        assert_eq!(running.receipt.uuid, first);
        let (mut running, mut order) = (running, Vec::new());
        while order.len() < 3 {
            scene.settle(&running, succeed(b"1"));
            running = scene.claim_one();
            order.push(running.receipt.uuid);
        }
        assert_eq!(order, [middle, late, last]);
    }
);

/// What takes a job out of the way of those behind it.
fn goes(scene: &Scene, how: &str, uuid: Uuid) {
    match how {
        "revoke" => {
            assert_eq!(
                scene.broker().revoke(uuid, false).unwrap(),
                Revocation::Ended
            );
        }
        "remove" => assert_eq!(scene.broker().remove(&[uuid]).unwrap(), 1),
        _ => {
            scene.clock.pass(secs(10));
            let taken = scene.take_over(&Overdue::Expired);
            let taken = taken.iter().find(|job| job.receipt.uuid == uuid).unwrap();
            let end = Move::Bury {
                cause: Cause::Expired,
                purge_at: None,
            };
            scene.settle(taken, end);
        }
    }
}

for_each_backend!(
    nobody_waits_for_a_job_that_was_woken_and_never_ran,
    |scene| {
        for how in ["revoke", "remove", "expire"] {
            scene.submit(keyed(how, 1));
            let running = scene.claim_one();
            let woken = scene.submit(keyed(how, 1).ttl(secs(10)));
            let behind = scene.submit(keyed(how, 1));
            assert!(scene.claim(9).is_empty());
            scene.settle(&running, succeed(b"1"));
            goes(scene, how, woken);
            let claimed = scene.claim_one();
            assert_eq!(claimed.receipt.uuid, behind, "{how}");
            scene.settle(&claimed, succeed(b"1"));
        }
    }
);

for_each_backend!(
    parked_jobs_are_revoked_removed_and_expire_like_ready_ones,
    |scene| {
        for how in ["revoke", "remove", "expire"] {
            scene.submit(keyed(how, 1));
            let running = scene.claim_one();
            let parked = scene.submit(keyed(how, 1).ttl(secs(10)));
            let behind = scene.submit(keyed(how, 1));
            assert!(scene.claim(9).is_empty());
            goes(scene, how, parked);
            assert_ne!(scene.state(parked), Some(State::Ready), "{how}");
            assert!(scene.claim(9).is_empty());
            scene.settle(&running, succeed(b"1"));
            let claimed = scene.claim_one();
            assert_eq!(claimed.receipt.uuid, behind, "{how}");
            scene.settle(&claimed, succeed(b"1"));
            assert_eq!(scene.store.catalog.queues().unwrap()[0].ready, 0, "{how}");
        }
    }
);

for_each_backend!(every_end_of_an_attempt_wakes_the_next, |scene| {
    let at = TestClock::START.plus(secs(1_000_000));
    for next in [
        succeed(b"1"),
        Move::Retry { at },
        Move::Bury {
            cause: Cause::Error,
            purge_at: None,
        },
        Move::Drop {
            cause: Cause::Revoked,
            purge_at: None,
        },
    ] {
        scene.submit(keyed("k", 1));
        let running = scene.claim_one();
        let behind = scene.submit(keyed("k", 1));
        assert!(scene.claim(9).is_empty());
        scene.settle(&running, next.clone());
        let claimed = scene.claim_one();
        assert_eq!(claimed.receipt.uuid, behind, "{next:?}");
        scene.settle(&claimed, succeed(b"1"));
    }
});

for_each_backend!(
    a_dead_letter_of_a_key_that_is_retried_waits_like_others,
    |scene| {
        let dead = scene.submit(keyed("k", 1));
        let claimed = scene.claim_one();
        scene.settle(
            &claimed,
            Move::Bury {
                cause: Cause::Error,
                purge_at: None,
            },
        );
        scene.submit(keyed("k", 1));
        let running = scene.claim_one();
        assert_eq!(scene.broker().retry_dead(&[dead]).unwrap(), 1);
        assert!(scene.claim(9).is_empty());
        scene.settle(&running, succeed(b"1"));
        assert_eq!(uuids(&scene.claim(9)), [dead]);
    }
);

for_each_backend!(
    many_jobs_of_a_key_that_is_taken_are_in_nobodys_way,
    |scene| {
        scene.submit(keyed("k", 1));
        let running = scene.claim_one();
        let parked: Vec<_> = (0..700).map(|_| scene.submit(keyed("k", 1))).collect();
        let plain = scene.submit(job());
        let mut found = Vec::new();
        for _ in 0..700 {
            let turned = scene.turn(Vec::new(), 1);
            found.extend(uuids(&turned.claimed));
            if !turned.more {
                break;
            }
        }
        assert_eq!(found, [plain]);
        scene.settle(&running, succeed(b"1"));
        assert_eq!(uuids(&scene.claim(9)), parked[..1]);
    }
);

for_each_backend!(
    a_parked_job_that_may_not_run_yet_holds_up_none_that_may,
    |scene| {
        // Redis makes the first ready, whatever number it names.
        if matches!(scene.kind, Kind::Redis | Kind::RedisCluster) {
            return;
        }
        for _ in 0..5 {
            scene.submit(keyed("k", 5));
        }
        let running = scene.claim(9);
        assert_eq!(running.len(), 5);
        let alone = scene.submit(keyed("k", 1));
        let fifth = scene.submit(keyed("k", 5));
        assert!(scene.claim(9).is_empty());
        scene.settle(&running[0], succeed(b"1"));
        let claimed = scene.claim(9);
        assert_eq!(uuids(&claimed), [fifth]);
        for one in running[1..].iter().chain(&claimed) {
            assert!(scene.claim(9).is_empty());
            scene.settle(one, succeed(b"1"));
        }
        assert_eq!(uuids(&scene.claim(9)), [alone]);
    }
);

for_each_backend!(parked_jobs_go_to_another_store_and_wait_there, |scene| {
    scene.submit(keyed("k", 1));
    let running = scene.claim_one();
    let parked: Vec<_> = (0..3).map(|_| scene.submit(keyed("k", 1))).collect();
    assert!(scene.claim(9).is_empty());
    let parcels = scene.store.transit.send_off(10).unwrap();
    let mut sent: Vec<_> = parcels.iter().map(|parcel| parcel.uuid).collect();
    sent.sort();
    assert_eq!(sent, parked);
    let target = Scene::new(match scene.kind {
        Kind::SqliteFile | Kind::SqliteMemory => Kind::Redis,
        Kind::Redis | Kind::RedisCluster => Kind::SqliteMemory,
    });
    target.store.transit.receive(&parcels).unwrap();
    assert_eq!(target.store.transit.admit(10).unwrap(), 3);
    let first = target.claim(9);
    assert_eq!(uuids(&first), parked[..1]);
    target.settle(&first[0], succeed(b"1"));
    assert_eq!(uuids(&target.claim(9)), parked[1..2]);
    scene.settle(&running, succeed(b"1"));
    assert!(scene.claim(9).is_empty());
});
