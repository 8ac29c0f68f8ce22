//! Messages of which one is enough.

use bulkhead_shared::broker::{Revocation, Submission, Submitted};
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, QueueName};
use bulkhead_tests::{Kind, Scene, TestClock, for_each_backend, job, secs, succeed};

fn offer(scene: &Scene, message: MessageBuilder) -> Submitted {
    scene.offer(&scene.build(message))
}

for_each_backend!(
    a_key_is_taken_for_its_period_whatever_becomes_of_the_job,
    |scene| {
        let once = || job().unique("k", secs(600));
        let first = scene.submit(once());
        let refused = Submitted::NotUnique { by: first };
        assert_eq!(offer(scene, once()), refused);
        assert_eq!(
            offer(scene, job().unique("other", secs(600))),
            Submitted::Created
        );
        assert_eq!(offer(scene, once().queue("elsewhere")), Submitted::Created);
        assert_eq!(offer(scene, job()), Submitted::Created);
        let claimed = scene.claim(1).remove(0);
        assert_eq!(claimed.receipt.uuid, first);
        scene.settle(&claimed, succeed(b"1"));
        scene.clock.pass(secs(599));
        assert_eq!(offer(scene, once()), refused);
        scene.broker().prune(1000).unwrap();
        assert_eq!(offer(scene, once()), refused);
        scene.clock.pass(secs(1));
        let next = scene.submit(once());
        assert_eq!(offer(scene, once()), Submitted::NotUnique { by: next });
    }
);

for_each_backend!(
    a_key_without_a_period_is_free_when_its_job_has_ended,
    |scene| {
        let once = || job().unique_until_end("k");
        let first = scene.submit(once().delay(secs(5)));
        let refused = Submitted::NotUnique { by: first };
        assert_eq!(offer(scene, once()), refused);
        scene.clock.pass(secs(5));
        let claimed = scene.claim_one();
        assert_eq!(offer(scene, once()), refused);
        let at = TestClock::START.plus(secs(100));
        scene.settle(&claimed, Move::Retry { at });
        assert_eq!(offer(scene, once()), refused);
        scene.clock.pass(secs(7200));
        scene.broker().prune(1000).unwrap();
        assert_eq!(offer(scene, once()), refused);
        let claimed = scene.claim_one();
        scene.settle(&claimed, succeed(b"1"));
        let second = scene.submit(once());
        assert_eq!(
            scene.broker().revoke(second, false).unwrap(),
            Revocation::Ended
        );
        let third = scene.submit(once());
        assert_eq!(scene.broker().remove(&[third]).unwrap(), 1);
        scene.submit(once());
    }
);

for_each_backend!(
    a_resend_of_a_job_that_has_its_own_key_is_a_duplicate,
    |scene| {
        let message = scene.build(job().unique("k", secs(60)));
        assert_eq!(scene.offer(&message), Submitted::Created);
        assert_eq!(scene.offer(&message), Submitted::Duplicate);
    }
);

for_each_backend!(of_one_batch_the_first_with_a_key_is_taken, |scene| {
    let queue = QueueName::default();
    let messages: Vec<Message> = (0..3)
        .map(|_| scene.build(job().unique("k", secs(60))))
        .collect();
    let batch: Vec<_> = messages
        .iter()
        .map(|message| Submission {
            message,
            queue: &queue,
        })
        .collect();
    let by = messages[0].uuid;
    let refused = Submitted::NotUnique { by };
    assert_eq!(
        scene.broker().submit(&batch).unwrap(),
        [Submitted::Created, refused, refused]
    );
    assert_eq!(scene.claim(9).len(), 1);
});

for_each_backend!(a_producer_is_told_which_job_has_its_key, |scene| {
    let client = Client::new(scene.store.clone());
    let first = client.submit(job().unique("k", secs(600))).unwrap();
    let error = client.submit(job().unique("k", secs(600))).unwrap_err();
    assert!(matches!(&error, ClientError::NotUnique { by, .. } if *by == first));
    assert!(error.to_string().contains(&first.to_string()), "{error}");
});

for_each_backend!(a_key_goes_with_its_job_to_another_store, |scene| {
    let first = scene.submit(job().unique("k", secs(600)));
    let parcels = scene.store.transit.send_off(10).unwrap();
    let target = Scene::new(match scene.kind {
        Kind::SqliteFile | Kind::SqliteMemory => Kind::Redis,
        Kind::Redis | Kind::RedisCluster => Kind::SqliteMemory,
    });
    target.store.transit.receive(&parcels).unwrap();
    target.store.transit.admit(10).unwrap();
    let refused = offer(&target, job().unique("k", secs(600)));
    assert_eq!(refused, Submitted::NotUnique { by: first });
    target.clock.pass(secs(600));
    assert_eq!(
        offer(&target, job().unique("k", secs(600))),
        Submitted::Created
    );
});
