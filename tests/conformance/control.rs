//! Queues that are paused or draining, and namespaces that are cleared.

use bulkhead_shared::broker::{Renewal, Submitted};
use bulkhead_shared::catalog::State;
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::control::QueueGate;
use bulkhead_tests::{LEASE, for_each_backend, job, queue, secs, succeed, uuids};

for_each_backend!(a_paused_queue_takes_jobs_and_gives_none, |scene| {
    let client = Client::new(scene.store.clone());
    let running = scene.submit(job());
    let held = scene.claim_one();
    assert_eq!(client.pause(&queue("default")).unwrap(), QueueGate::Open);
    assert_eq!(client.pause(&queue("default")).unwrap(), QueueGate::Paused);
    let ready = scene.submit(job());
    let delayed = scene.submit(job().delay(secs(5)));
    scene.clock.pass(secs(6));
    assert!(scene.claim(9).is_empty());
    // What runs goes on: it is renewed, and ends.
    let renewed = scene
        .broker()
        .renew(std::slice::from_ref(&held.receipt), LEASE);
    assert_eq!(renewed.unwrap(), [Renewal::Held]);
    scene.settle(&held, succeed(b"1"));
    assert_eq!(scene.state(running), Some(State::Succeeded));
    let counts = scene.store.catalog.queues().unwrap().remove(0);
    assert_eq!((counts.gate, counts.leased), (QueueGate::Paused, 0));
    assert_eq!(counts.ready + counts.delayed, 2);
    let watched = [queue("default")];
    assert_eq!(scene.store.catalog.unfinished(&watched).unwrap(), 0);
    assert_eq!(client.resume(&queue("default")).unwrap(), QueueGate::Paused);
    assert_eq!(scene.store.catalog.unfinished(&watched).unwrap(), 2);
    assert_eq!(uuids(&scene.claim(9)), [ready, delayed]);
});

for_each_backend!(another_queue_is_served_while_one_is_paused, |scene| {
    let client = Client::new(scene.store.clone());
    scene.submit(job().queue("a"));
    let other = scene.submit(job().queue("b"));
    client.pause(&queue("a")).unwrap();
    let turned = scene.turn_in(&[queue("a"), queue("b")], Vec::new(), 9);
    assert_eq!(uuids(&turned.claimed), [other]);
    assert!(!turned.more);
});

for_each_backend!(a_draining_queue_is_refused_to_producers_alone, |scene| {
    let client = Client::new(scene.store.clone());
    let before = scene.build(job());
    assert_eq!(scene.offer(&before), Submitted::Created);
    client.drain(&queue("default")).unwrap();
    let after = scene.build(job());
    assert_eq!(scene.offer(&after), Submitted::Closed);
    assert!(!client.exists(after.uuid).unwrap());
    // A resend is known, not refused: its first answer may have been lost.
    assert_ne!(scene.offer(&before), Submitted::Closed);
    let error = client.submit(job()).unwrap_err();
    assert!(matches!(error, ClientError::Draining { .. }), "{error}");
    assert!(
        error.to_string().contains("queues resume default"),
        "{error}"
    );
    let held = scene.claim_one();
    scene.settle(&held, bulkhead_shared::retry::Move::Release);
    assert_eq!(uuids(&scene.claim(9)), [before.uuid]);
    client.resume(&queue("default")).unwrap();
    assert_eq!(scene.offer(&after), Submitted::Created);
});

for_each_backend!(
    jobs_keep_their_order_however_often_a_queue_was_closed,
    |scene| {
        let client = Client::new(scene.store.clone());
        let home = queue("default");
        let mut before = Vec::new();
        for round in 0..6 {
            before.push(scene.submit(job()));
            client.drain(&home).unwrap();
            assert_eq!(scene.offer(&scene.build(job())), Submitted::Closed);
            // A closed queue may be closed again, or only paused.
            let _ = match round % 3 {
                0 => client.drain(&home).unwrap(),
                1 => client.pause(&home).unwrap(),
                _ => QueueGate::Draining,
            };
            assert_eq!(
                scene.offer(&scene.build(job())) == Submitted::Closed,
                round % 3 != 1
            );
            client.resume(&home).unwrap();
        }
        let claimed = uuids(&scene.claim(20));
        let ours: Vec<_> = claimed
            .iter()
            .filter(|uuid| before.contains(uuid))
            .collect();
        assert_eq!(ours, before.iter().collect::<Vec<_>>());
        // The two that were let in while the queue was only paused.
        assert_eq!(claimed.len(), before.len() + 2);
    }
);

for_each_backend!(a_cleared_namespace_holds_nothing, |scene| {
    let client = Client::new(scene.store.clone());
    let other = Client::new(scene.namespace("other"));
    let kept = other.submit(job()).unwrap();
    for n in 0..30 {
        scene.submit(job().queue(["a", "b"][n % 2]));
        scene.submit(job().delay(secs(60)).ttl(secs(5)));
    }
    for claimed in scene.claim_from("a", 5) {
        scene.settle(&claimed, succeed(b"1"));
    }
    let held = scene.claim_from("b", 3);
    client.pause(&queue("b")).unwrap();
    let mut told = 0;
    assert_eq!(client.clear_namespace(|gone| told = gone).unwrap(), told);
    assert!(told >= 60, "{told}");
    let receipts: Vec<_> = held.iter().map(|job| job.receipt.clone()).collect();
    let renewed = scene.broker().renew(&receipts, LEASE).unwrap();
    assert!(
        renewed.iter().all(|one| *one == Renewal::Lost),
        "{renewed:?}"
    );
    for counts in scene.store.catalog.queues().unwrap() {
        let all = [
            counts.ready,
            counts.delayed,
            counts.leased,
            counts.succeeded,
            counts.dead,
        ];
        assert_eq!((all, counts.gate), ([0; 5], QueueGate::Open));
    }
    assert!(other.exists(kept).unwrap());
    // And it is used again.
    let again = scene.submit(job().queue("b"));
    assert_eq!(uuids(&scene.claim_from("b", 9)), [again]);
});

for_each_backend!(a_whole_store_has_nothing_to_mend, |scene| {
    for n in 0..40 {
        scene.submit(job().delay(secs(n % 2)));
    }
    for (n, claimed) in scene.claim(9).iter().enumerate() {
        if n % 2 == 0 {
            scene.settle(claimed, succeed(b"1"));
        }
    }
    assert_eq!(scene.store.control.mend(1000).unwrap(), 0);
    assert_eq!(scene.claim(40).len(), 11);
});
