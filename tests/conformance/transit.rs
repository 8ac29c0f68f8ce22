//! Jobs on their way from one store to another.

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{
    Claim, Claimed, Heed, Listen, Revocation, Selection, Settled, Submitted, Wake,
};
use bulkhead_shared::catalog::{Catalog, JobRow, State};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::transit::{Parcel, Received, Sent, Underway};
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::{
    KEPT, LEASE, Scene, TestClock, for_each_backend, job, queue, secs, settlement, succeed,
    supervisor, task, uuids,
};

fn ids(parcels: &[Parcel]) -> Vec<Uuid> {
    parcels.iter().map(|parcel| parcel.uuid).collect()
}

fn send(scene: &Scene) -> Vec<Parcel> {
    scene.store.transit.send_off(100).unwrap()
}

fn forget(scene: &Scene, parcels: &[Parcel]) -> Vec<bool> {
    let sent: Vec<_> = parcels.iter().map(Sent::from).collect();
    scene.store.transit.forget_sent(&sent).unwrap()
}

/// The whole way of everything there is; returns the target.
fn move_all(scene: &Scene) -> Backend {
    let target = scene.namespace("target");
    let parcels = send(scene);
    let received = target.transit.receive(&parcels).unwrap();
    assert!(
        received
            .iter()
            .all(|received| *received == Received::Stored)
    );
    assert!(forget(scene, &parcels).iter().all(|is_gone| *is_gone));
    assert_eq!(target.transit.admit(1000).unwrap(), parcels.len());
    target
}

fn selection() -> Selection {
    Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add"), task("sub")],
    }
}

fn claim(store: &Backend, room: usize) -> Vec<Claimed> {
    let selection = selection();
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room,
        lease: LEASE,
    };
    store.broker.turn(Vec::new(), Some(claim)).unwrap().claimed
}

fn row(store: &Backend, uuid: Uuid) -> JobRow {
    let mut rows = store.catalog.jobs_by_id(&[uuid]).unwrap();
    rows.remove(0).expect("the store knows the job")
}

fn bury() -> Move {
    Move::Bury {
        cause: Cause::Crash,
        purge_at: Some(TestClock::START.plus(KEPT)),
    }
}

/// One job in every state that can move.
fn one_of_each(scene: &Scene) -> [(Uuid, State); 5] {
    let end = |next: Move| {
        let uuid = scene.submit(job());
        let claimed = scene.claim_one();
        assert_eq!(scene.settle(&claimed, next), Settled::Applied);
        uuid
    };
    let succeeded = end(succeed(b"[1]"));
    let dead = end(bury());
    let dropped = end(Move::Drop {
        cause: Cause::Revoked,
        purge_at: None,
    });
    let delayed = scene.submit(job().delay(secs(100)));
    let ready = scene.submit(job().priority(3));
    [
        (ready, State::Ready),
        (delayed, State::Delayed),
        (succeeded, State::Succeeded),
        (dead, State::Dead),
        (dropped, State::Dropped),
    ]
}

/// A row without what a move may change.
fn essence(row: &JobRow) -> String {
    let row = JobRow {
        fence: 0,
        started_at: None,
        pid: None,
        ..row.clone()
    };
    format!("{row:?}")
}

for_each_backend!(
    a_job_arrives_as_what_it_was_under_a_fence_that_is_never_lower,
    |scene| {
        let all = one_of_each(scene);
        let before: Vec<_> = all.iter().map(|(uuid, _)| scene.row(*uuid)).collect();
        let target = move_all(scene);
        for ((uuid, state), before) in all.iter().zip(&before) {
            assert_eq!(scene.state(*uuid), None);
            let after = row(&target, *uuid);
            assert_eq!(after.state, *state);
            assert_eq!(essence(&after), essence(before));
            assert!(after.fence > before.fence, "{after:?}");
        }
        let result = target.catalog.result(all[2].0).unwrap().unwrap();
        assert_eq!(result.bytes, b"[1]");
        assert_eq!(target.transit.underway().unwrap(), Underway::default());
        assert_eq!(scene.store.transit.underway().unwrap(), Underway::default());
        assert_eq!(send(scene), []);
    }
);

for_each_backend!(a_job_on_its_way_runs_nowhere_and_is_still_shown, |scene| {
    let all = one_of_each(scene);
    let parcels = send(scene);
    assert_eq!(parcels.len(), all.len());
    let underway = scene.store.transit.underway().unwrap();
    assert_eq!((underway.leaving, underway.arriving), (5, 0));
    let target = scene.namespace("target");
    target.transit.receive(&parcels).unwrap();
    let underway = target.transit.underway().unwrap();
    assert_eq!((underway.leaving, underway.arriving), (0, 5));
    scene.clock.pass(secs(200));
    assert!(scene.claim(9).is_empty());
    assert!(claim(&target, 9).is_empty());
    for (uuid, state) in all {
        for store in [&scene.store, &target] {
            assert_eq!(row(store, uuid).state, state);
            assert_eq!(store.broker.remove(&[uuid]).unwrap(), 0);
            assert_eq!(store.broker.retry_dead(&[uuid]).unwrap(), 0);
            assert_eq!(store.broker.drop_dead(&[uuid]).unwrap(), 0);
        }
    }
    let known = job().uuid(all[0].0);
    assert_eq!(
        scene.offer(&scene.build(known)),
        Submitted::Duplicate,
        "its uuid is known"
    );
    let waiting = scene.store.catalog.unfinished(&[queue("default")]).unwrap();
    assert_eq!(waiting, 0, "nobody has to wait for it");
});

for_each_backend!(the_line_stays_as_it_was, |scene| {
    let message = |n: u32| {
        let name = if n.is_multiple_of(3) { "sub" } else { "add" };
        Message::new(name).priority(i64::from(n % 2))
    };
    let submitted: Vec<_> = (0..20).map(|n| scene.submit(message(n))).collect();
    let even = submitted.iter().step_by(2);
    let expected: Vec<_> = even.chain(submitted.iter().skip(1).step_by(2)).collect();
    // Those that ran already keep their places.
    let held = scene.claim(2);
    scene.settle(&held[0], Move::Release);
    let again = Move::Retry {
        at: TestClock::START.plus(secs(5)),
    };
    scene.settle(&held[1], again);
    let target = move_all(scene);
    scene.clock.pass(secs(5));
    assert_eq!(
        uuids(&claim(&target, 20)).iter().collect::<Vec<_>>(),
        expected
    );
});

for_each_backend!(pages_are_as_small_as_asked_for_and_miss_nothing, |scene| {
    let submitted: Vec<_> = (0..7).map(|_| scene.submit(job())).collect();
    let mut sent = Vec::new();
    loop {
        let page = scene.store.transit.send_off(2).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        sent.extend(ids(&page));
        forget(scene, &page);
    }
    assert_eq!(sent, submitted);
});

for_each_backend!(
    what_was_not_forgotten_is_sent_again_under_a_newer_fence,
    |scene| {
        let submitted: Vec<_> = (0..3).map(|_| scene.submit(job())).collect();
        let first = send(scene);
        let second = send(scene);
        assert_eq!((ids(&first), ids(&second)), (submitted.clone(), submitted));
        assert!(second[0].fence > first[0].fence);
        assert_eq!(forget(scene, &first), [false; 3], "an older fence");
        assert_eq!(forget(scene, &second), [true; 3]);
        assert_eq!(forget(scene, &second), [false; 3], "gone already");
    }
);

for_each_backend!(a_parcel_that_comes_twice_is_one_job, |scene| {
    scene.submit(job());
    let first = send(scene);
    let target = scene.namespace("target");
    assert_eq!(target.transit.receive(&first).unwrap(), [Received::Stored]);
    assert_eq!(target.transit.receive(&first).unwrap(), [Received::Known]);
    let second = send(scene);
    assert_eq!(target.transit.receive(&second).unwrap(), [Received::Stored]);
    assert_eq!(target.transit.receive(&first).unwrap(), [Received::Known]);
    assert_eq!(target.transit.admit(10).unwrap(), 1);
    assert_eq!(target.transit.admit(10).unwrap(), 0);
    assert_eq!(target.transit.receive(&second).unwrap(), [Received::Known]);
    let claimed = claim(&target, 5);
    assert_eq!(uuids(&claimed), ids(&first));
    assert!(claimed[0].receipt.fence > second[0].fence);
});

for_each_backend!(
    a_job_the_target_knows_is_not_doubled_and_its_fence_not_lowered,
    |scene| {
        let uuid = scene.submit(job().arg("source"));
        for _ in 0..4 {
            send(scene);
        }
        let target = scene.namespace("target");
        let message = scene.build(job().arg("target").uuid(uuid));
        let queue = queue("default");
        let submission = bulkhead_shared::broker::Submission {
            message: &message,
            queue: &queue,
        };
        target.broker.submit(&[submission]).unwrap();
        let parcels = send(scene);
        assert_eq!(target.transit.receive(&parcels).unwrap(), [Received::Known]);
        assert_eq!(row(&target, uuid).fence, parcels[0].fence);
        let held = claim(&target, 5).remove(0);
        assert_eq!(held.payload, message.payload, "the target's own");
        // Held: a newer parcel must not make its settlement stale.
        let parcels = send(scene);
        assert_eq!(target.transit.receive(&parcels).unwrap(), [Received::Known]);
        let done = vec![settlement(&held, succeed(b"1"))];
        let settled = target.broker.turn(done, None).unwrap().settled;
        assert_eq!(settled, [Settled::Applied]);
    }
);

for_each_backend!(a_job_that_somebody_holds_is_not_sent_off, |scene| {
    scene.submit(job());
    let held = scene.claim_one();
    let other = scene.submit(job());
    assert_eq!(ids(&send(scene)), [other]);
    assert_eq!(scene.settle(&held, succeed(b"1")), Settled::Applied);
});

for_each_backend!(payloads_of_all_sizes_and_all_bytes_arrive, |scene| {
    let sizes = [0, 100, 940, 1_000, 9_000, 300_000];
    let text = |size: usize| "\u{e9}x\n".repeat(size / 4);
    let ended = sizes.map(|size| {
        let uuid = scene.submit(job().arg(text(size)));
        scene.settle(&scene.claim_one(), succeed(text(size).as_bytes()));
        uuid
    });
    let submitted = sizes.map(|size| scene.submit(job().arg(text(size))));
    let all = |catalog: &dyn Catalog| {
        let both = |uuid| {
            let result = catalog.result(uuid).unwrap();
            (catalog.payload(uuid).unwrap(), result.map(|one| one.bytes))
        };
        [ended, submitted].map(|uuids| uuids.map(both))
    };
    let before = all(&*scene.store.catalog);
    assert!(
        before[0]
            .iter()
            .all(|(payload, result)| payload.is_some() && result.is_some())
    );
    let target = move_all(scene);
    assert!(before == all(&*target.catalog));
    assert_eq!(claim(&target, 9).len(), sizes.len());
});

for_each_backend!(large_jobs_make_short_pages, |scene| {
    for _ in 0..4 {
        scene.submit(job().arg("x".repeat(12 << 20)));
    }
    let page = scene.store.transit.send_off(100).unwrap();
    assert!((1..4).contains(&page.len()), "{} at once", page.len());
});

for_each_backend!(life_times_go_on_in_the_target, |scene| {
    let short = scene.submit(job().ttl(secs(60)));
    let done = scene.submit(job());
    let claimed = scene.claim(2).remove(1);
    let kept = |s| Some(TestClock::START.plus(secs(s)));
    let next = Move::Succeed {
        result: Some(b"1".to_vec()),
        result_until: kept(100),
        purge_at: kept(200),
    };
    scene.settle(&claimed, next);
    scene.clock.pass(LEASE);
    for lost in scene.take_over(&bulkhead_shared::broker::Overdue::Lease) {
        scene.settle(&lost, Move::Release);
    }
    scene.clock.pass(secs(10));
    let target = move_all(scene);
    let overdue = || {
        let what = bulkhead_shared::broker::Overdue::Expired;
        let taken = target.broker.take_over(&what, supervisor(), 9, LEASE);
        uuids(&taken.unwrap())
    };
    // Counted from when it became ready again, at 30 s.
    scene.clock.pass(secs(49));
    assert!(overdue().is_empty());
    scene.clock.pass(secs(2));
    assert_eq!(overdue(), [short]);
    assert!(target.catalog.result(done).unwrap().is_some());
    scene.clock.pass(secs(10));
    assert!(target.catalog.result(done).unwrap().is_none());
    scene.clock.pass(secs(100));
    target.broker.prune(100).unwrap();
    assert!(target.catalog.jobs_by_id(&[done]).unwrap()[0].is_none());
});

for_each_backend!(a_delayed_job_is_ready_in_its_time, |scene| {
    let uuid = scene.submit(job().delay(secs(100)));
    let target = move_all(scene);
    assert!(claim(&target, 1).is_empty());
    scene.clock.pass(secs(100));
    assert_eq!(uuids(&claim(&target, 1)), [uuid]);
});

for_each_backend!(a_job_revoked_on_its_way_never_runs, |scene| {
    let at_the_source = scene.submit(job());
    let at_the_target = scene.submit(job());
    let target = scene.namespace("target");
    let first = send(scene);
    target.transit.receive(&first).unwrap();
    let revoke = |store: &Backend, uuid| store.broker.revoke(uuid, false).unwrap();
    assert_eq!(revoke(&scene.store, at_the_source), Revocation::Ended);
    assert_eq!(revoke(&target, at_the_target), Revocation::Ended);
    assert_eq!(revoke(&target, at_the_target), Revocation::AlreadyEnded);
    // An interruption, and everything once more; twice, to see that nothing comes back to life.
    for _ in 0..2 {
        let again = send(scene);
        target.transit.receive(&again).unwrap();
    }
    let last = send(scene);
    target.transit.receive(&last).unwrap();
    assert_eq!(forget(scene, &last), [true; 2]);
    target.transit.admit(9).unwrap();
    assert!(claim(&target, 9).is_empty());
    for uuid in [at_the_source, at_the_target] {
        let job = row(&target, uuid);
        assert_eq!(
            (job.state, job.cause),
            (State::Dropped, Some(Cause::Revoked))
        );
    }
});

for_each_backend!(what_was_moved_can_be_moved_back, |scene| {
    let uuid = scene.submit(job());
    let target = move_all(scene);
    let back = target.transit.send_off(9).unwrap();
    let received = scene.store.transit.receive(&back).unwrap();
    assert_eq!(received, [Received::Stored]);
    let sent: Vec<_> = back.iter().map(Sent::from).collect();
    assert_eq!(target.transit.forget_sent(&sent).unwrap(), [true]);
    assert_eq!(scene.store.transit.admit(9).unwrap(), 1);
    assert_eq!(scene.claim_one().receipt.uuid, uuid);
});

for_each_backend!(what_arrives_is_not_sent_on_before_it_is_admitted, |scene| {
    scene.submit(job());
    let target = scene.namespace("target");
    target.transit.receive(&send(scene)).unwrap();
    assert_eq!(target.transit.send_off(9).unwrap(), []);
    target.transit.admit(9).unwrap();
    assert_eq!(target.transit.send_off(9).unwrap().len(), 1);
});

for_each_backend!(a_bell_rings_when_ready_jobs_are_admitted, |scene| {
    scene.submit(job());
    let parcels = send(scene);
    let target = scene.namespace("target");
    target.transit.receive(&parcels).unwrap();
    let listen = Listen::Work {
        owner: supervisor(),
        selection: &selection(),
    };
    let mut bell = target.broker.bell(listen).unwrap();
    target.transit.admit(9).unwrap();
    let woken = bell.wait(Heed::Everything, None, secs(50)).unwrap();
    assert_eq!(woken, Wake::Bell);
});
