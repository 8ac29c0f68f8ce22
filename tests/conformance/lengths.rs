//! Messages and results of any length go every way: a store may keep short ones otherwise than long ones.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Claimed, Note, Overdue, Revocation};
use bulkhead_shared::catalog::State;
use bulkhead_shared::client::Client;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{KEPT, LEASE, Scene, TestClock, for_each_backend, job, secs, succeed};

/// Around the bounds that stores draw, and far from them; a line feed is nothing special in any of them.
fn texts() -> impl Iterator<Item = String> {
    let lengths = (850..1050).step_by(7).chain([0, 1, 300, 2048, 5000]);
    lengths.map(|length| "x\n|".chars().cycle().take(length).collect())
}

/// What a job has been given and has told is there as it was.
#[track_caller]
fn holds(scene: &Scene, uuid: Uuid, claimed: &Claimed, first: &Claimed) {
    assert_eq!(claimed.payload, first.payload);
    assert_eq!(claimed.header, first.header);
    assert_eq!(scene.row(uuid).header, first.header);
    let payload = scene.store.catalog.payload(uuid).unwrap();
    assert_eq!(payload.as_ref(), Some(&first.payload));
}

fn tell(scene: &Scene, claimed: &Claimed, progress: &str) {
    let note = Note {
        receipt: claimed.receipt.clone(),
        started_at: TestClock::START,
        pid: 7,
        progress: Some(progress.into()),
    };
    scene.broker().note(&[note]).unwrap();
    let row = scene.row(claimed.receipt.uuid);
    assert_eq!(row.progress.as_deref(), Some(progress.as_bytes()));
}

for_each_backend!(a_message_of_any_length_survives_every_move, |scene| {
    for text in texts() {
        let uuid = scene.submit(job().arg(&text).add_metadata("text", &text));
        let first = scene.claim_one();
        assert_eq!(scene.row(uuid).header, first.header);
        tell(scene, &first, &format!("{text:?}"));
        scene.settle(&first, Move::Release);
        let second = scene.claim_one();
        holds(scene, uuid, &second, &first);
        assert_eq!(scene.row(uuid).progress, None);
        tell(scene, &second, "\"half\"");
        scene.clock.pass(LEASE);
        let third = scene.take_over(&Overdue::Lease).remove(0);
        holds(scene, uuid, &third, &first);
        let bury = Move::Bury {
            cause: Cause::Error,
            purge_at: None,
        };
        scene.settle(&third, bury);
        assert_eq!(scene.state(uuid), Some(State::Dead));
        assert_eq!(scene.broker().retry_dead(&[uuid]).unwrap(), 1);
        let client = Client::new(scene.store.clone());
        client.amend(uuid, |message| message.priority(5)).unwrap();
        let last = scene.claim_one();
        assert_eq!(last.payload, first.payload);
        scene.settle(&last, succeed(text.as_bytes()));
        let payload = scene.store.catalog.payload(uuid).unwrap();
        assert_eq!(payload, Some(first.payload));
    }
});

for_each_backend!(a_result_of_any_length_is_read_and_taken_whole, |scene| {
    for text in texts() {
        let uuid = scene.submit(job().arg(&text));
        let claimed = scene.claim_one();
        scene.settle(&claimed, succeed(text.as_bytes()));
        let catalog = &scene.store.catalog;
        let length = u64::try_from(text.len()).unwrap();
        assert_eq!(scene.row(uuid).result_bytes, Some(length));
        let read = || catalog.result(uuid).unwrap().map(|result| result.bytes);
        assert_eq!(read().as_deref(), Some(text.as_bytes()));
        let taken = catalog.take_result(uuid).unwrap().unwrap();
        assert_eq!(taken.bytes, text.as_bytes());
        assert_eq!((read(), scene.row(uuid).result_bytes), (None, None));
        assert_eq!(scene.state(uuid), Some(State::Succeeded));
        let payload = catalog.payload(uuid).unwrap();
        assert_eq!(payload, Some(claimed.payload));
    }
});

for_each_backend!(
    results_of_any_length_go_at_their_time_and_jobs_at_theirs,
    |scene| {
        let ended: Vec<Uuid> = texts()
            .map(|text| {
                let uuid = scene.submit(job().arg(&text));
                let next = Move::Succeed {
                    result: Some(text.into()),
                    result_until: Some(TestClock::START.plus(secs(10))),
                    purge_at: Some(TestClock::START.plus(KEPT)),
                };
                scene.settle(&scene.claim_one(), next);
                uuid
            })
            .collect();
        scene.clock.pass(secs(10));
        assert_eq!(scene.broker().prune(1000).unwrap(), ended.len());
        for &uuid in &ended {
            assert_eq!(scene.state(uuid), Some(State::Succeeded));
            assert!(scene.store.catalog.result(uuid).unwrap().is_none());
            assert!(scene.store.catalog.payload(uuid).unwrap().is_some());
        }
        scene.clock.pass(KEPT);
        assert_eq!(scene.broker().prune(1000).unwrap(), ended.len());
        assert!(ended.iter().all(|&uuid| scene.state(uuid).is_none()));
    }
);

for_each_backend!(revoked_jobs_keep_messages_of_any_length, |scene| {
    for text in texts() {
        let waits = scene.submit(job().arg(&text));
        let message = scene.store.catalog.payload(waits).unwrap();
        let revoked = scene.broker().revoke(waits, false).unwrap();
        assert_eq!(revoked, Revocation::Ended);
        assert!(message.is_some());
        assert_eq!(scene.state(waits), Some(State::Dropped));
        assert_eq!(scene.store.catalog.payload(waits).unwrap(), message);
        let runs = scene.submit(job().arg(&text));
        let held = scene.claim_one();
        scene.broker().revoke(runs, false).unwrap();
        scene.settle(&held, succeed(text.as_bytes()));
        assert_eq!(scene.state(runs), Some(State::Dropped));
        assert!(scene.store.catalog.result(runs).unwrap().is_none());
        let payload = scene.store.catalog.payload(runs).unwrap();
        assert_eq!(payload, Some(held.payload));
    }
});
