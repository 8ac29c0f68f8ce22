//! Submissions: each job once.

use bulkhead_shared::broker::{Submission, Submitted};
use bulkhead_shared::catalog::State;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{for_each_backend, job, queue, secs, succeed, uuids};

for_each_backend!(a_job_that_is_submitted_is_claimed_once_and_ends, |scene| {
    let uuid = scene.submit(job());
    assert_eq!(scene.row(uuid).state, State::Ready);
    let claimed = scene.claim_one();
    assert_eq!(claimed.receipt.uuid, uuid);
    assert_eq!(claimed.receipt.fence, 1);
    assert_eq!(claimed.payload, br#"{"args":[1],"kwargs":{}}"#);
    assert!(scene.claim(1).is_empty());
    let turned = scene.turn(vec![bulkhead_tests::settlement(&claimed, succeed(b"3"))], 1);
    assert_eq!(turned.settled, [bulkhead_shared::broker::Settled::Applied]);
    let row = scene.row(uuid);
    assert_eq!((row.state, row.result_bytes), (State::Succeeded, Some(1)));
    assert_eq!(
        scene.store.catalog.result(uuid).unwrap().unwrap().bytes,
        b"3"
    );
});

for_each_backend!(
    a_uuid_is_refused_while_it_waits_runs_and_is_remembered,
    |scene| {
        let message = scene.build(job());
        assert_eq!(scene.offer(&message), Submitted::Created);
        assert_eq!(scene.offer(&message), Submitted::Duplicate);
        let claimed = scene.claim_one();
        assert_eq!(scene.offer(&message), Submitted::Duplicate);
        scene.settle(&claimed, succeed(b"1"));
        assert_eq!(scene.offer(&message), Submitted::Duplicate);
        scene.clock.pass(bulkhead_tests::KEPT);
        assert_eq!(scene.offer(&message), Submitted::Created);
        assert_eq!(scene.claim_one().receipt.uuid, message.uuid);
    }
);

for_each_backend!(
    limits_of_a_message_come_back_as_they_were_submitted,
    |scene| {
        use bulkhead_shared::message::Header;
        let limited = job().processes(4).cpu_time(secs(60)).open_files(64);
        let limited = scene.build(limited.file_size(1 << 40).memory(1 << 30));
        for message in [limited, scene.build(job())] {
            assert_eq!(scene.offer(&message), Submitted::Created);
            let claimed = scene.claim_one();
            let header: Header = serde_json::from_slice(&claimed.header).unwrap();
            assert_eq!(header.limits, message.header.limits);
            assert_eq!(header.memory, message.header.memory);
            let says = String::from_utf8(claimed.header.clone()).unwrap();
            assert_eq!(says.contains("limits"), !header.limits.is_empty());
        }
    }
);

for_each_backend!(a_uuid_is_known_to_its_queue_alone, |scene| {
    let message = scene.build(job());
    let (a, b) = (queue("a"), queue("b"));
    let in_both = [&a, &b, &a].map(|queue| Submission {
        message: &message,
        queue,
    });
    let answers = scene.broker().submit(&in_both).unwrap();
    assert_eq!(
        answers,
        [Submitted::Created, Submitted::Created, Submitted::Duplicate]
    );
    assert_eq!(uuids(&scene.claim_from("b", 5)), [message.uuid]);
});

for_each_backend!(
    of_many_who_submit_one_uuid_at_once_exactly_one_creates_it,
    |scene| {
        let message = scene.build(job());
        let queue = queue("default");
        let created: usize = std::thread::scope(|scope| {
            let submit = || {
                let store = scene.again();
                let submission = Submission {
                    message: &message,
                    queue: &queue,
                };
                store.broker.submit(&[submission; 4]).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(submit)).collect();
            let answers = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            answers
                .filter(|answer| *answer == Submitted::Created)
                .count()
        });
        assert_eq!(created, 1);
        assert_eq!(scene.claim(5).len(), 1);
    }
);

for_each_backend!(a_large_payload_survives_its_moves_unchanged, |scene| {
    let text = "x".repeat(1 << 20);
    let uuid = scene.submit(job().arg(&text));
    let first = scene.claim_one();
    scene.settle(&first, Move::Release);
    assert_eq!(scene.claim_one().payload, first.payload);
    assert_eq!(
        scene.store.catalog.payload(uuid).unwrap().unwrap(),
        first.payload
    );
    scene.clock.pass(secs(1));
    assert!(first.payload.len() > 1 << 20);
});

for_each_backend!(
    what_is_submitted_to_one_namespace_is_unseen_in_another,
    |scene| {
        let uuid = scene.submit(job());
        let other = scene.namespace("elsewhere");
        assert!(other.catalog.jobs_by_id(&[uuid]).unwrap()[0].is_none());
        assert!(other.catalog.queues().unwrap().is_empty());
        assert_eq!(scene.claim(1).len(), 1);
    }
);
