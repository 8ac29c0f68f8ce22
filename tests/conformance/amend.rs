//! Changes of jobs that wait: whole, and only while they wait.

use std::thread;
use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Amended, Amendment, Overdue, Revocation};
use bulkhead_shared::catalog::State;
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::message::{MessageBuilder, MessageError};
use bulkhead_shared::retry::Move;
use bulkhead_shared::status::Status;
use bulkhead_tests::flow::header_of;
use bulkhead_tests::{Scene, for_each_backend, job, queue, secs, succeed, uuids};

fn client(scene: &Scene) -> Client {
    Client::new(scene.store.clone())
}

fn first(scene: &Scene, uuid: Uuid) {
    client(scene)
        .amend(uuid, |message| message.priority(1))
        .unwrap();
}

fn jobs(scene: &Scene, many: usize, message: fn() -> MessageBuilder) -> Vec<Uuid> {
    (0..many)
        .map(|_| scene.submit(message().priority(10)))
        .collect()
}

for_each_backend!(a_job_that_waits_runs_as_it_was_changed, |scene| {
    let all = jobs(scene, 2, || job().add_metadata("who", "me"));
    let change = |message: MessageBuilder| {
        let message = message.priority(300).timeout(Duration::from_secs(7));
        message.add_metadata("why", "later")
    };
    client(scene).amend(all[0], change).unwrap();
    assert_eq!(scene.row(all[0]).priority, 300);
    assert_eq!(scene.row(all[1]).priority, 10);
    let claimed = scene.claim(9);
    assert_eq!(uuids(&claimed), [all[1], all[0]]);
    let header = header_of(&claimed[1]);
    assert_eq!(header.timeout_ms, Some(7000));
    let metadata = header.metadata.unwrap();
    let metadata: serde_json::Value = serde_json::from_str(metadata.get()).unwrap();
    assert_eq!(metadata["who"], "me");
    assert_eq!(metadata["why"], "later");
    assert_eq!(claimed[1].payload, claimed[0].payload);
    assert_eq!(header_of(&claimed[0]).timeout_ms, None);
});

for_each_backend!(a_delayed_job_that_is_changed_waits_as_long, |scene| {
    let all = jobs(scene, 3, || job().delay(secs(5)).ttl(secs(3)));
    first(scene, all[2]);
    assert_eq!(scene.state(all[2]), Some(State::Delayed));
    assert_eq!(scene.turn(Vec::new(), 9).next_due, Some(secs(5)));
    scene.clock.pass(secs(5));
    assert_eq!(uuids(&scene.claim(1)), [all[2]]);
    scene.clock.pass(secs(3));
    let mut over = uuids(&scene.take_over(&Overdue::Expired));
    over.sort();
    assert_eq!(over, all[..2]);
});

for_each_backend!(a_changed_job_expires_when_it_would_have, |scene| {
    let all = jobs(scene, 2, || job().ttl(secs(3)));
    first(scene, all[1]);
    scene.clock.pass(secs(3));
    assert!(scene.claim(9).is_empty());
    // It has been put aside by the claim, and can be changed there too.
    client(scene).amend(all[1], |m| m.priority(2)).unwrap();
    let mut over = uuids(&scene.take_over(&Overdue::Expired));
    over.sort();
    assert_eq!(over, all);
});

for_each_backend!(a_job_that_waits_at_a_gate_is_changed_there, |scene| {
    let all = jobs(scene, 4, || job().concurrency("key", 1));
    let held = scene.claim(9);
    assert_eq!(uuids(&held), all[..1]);
    first(scene, all[3]);
    scene.settle(&held[0], succeed(b"1"));
    let held = scene.claim(9);
    assert_eq!(uuids(&held), [all[3]]);
    assert!(client(scene).remove(all[1]).unwrap());
    scene.settle(&held[0], succeed(b"1"));
    assert_eq!(uuids(&scene.claim(9)), [all[2]]);
});

for_each_backend!(what_runs_or_has_ended_is_not_changed, |scene| {
    let client = client(scene);
    let uuid = scene.submit(job().priority(4));
    let amend = |uuid| client.amend(uuid, |message| message.priority(1));
    let held = scene.claim_one();
    let refused = amend(uuid).unwrap_err();
    assert!(
        matches!(&refused, ClientError::NotWaiting(job) if job.status == Status::Running),
        "{refused}"
    );
    // It waits for another attempt.
    scene.settle(&held, Move::Release);
    amend(uuid).unwrap();
    let held = scene.claim_one();
    assert_eq!(scene.row(uuid).priority, 1);
    scene.settle(&held, succeed(b"5"));
    assert!(matches!(amend(uuid), Err(ClientError::NotWaiting(_))));
    let nobody = Uuid::now_v7();
    assert!(matches!(amend(nobody), Err(ClientError::NotFound { uuid }) if uuid == nobody));
});

for_each_backend!(a_refused_change_changes_nothing, |scene| {
    let client = client(scene);
    let uuid = scene.submit(job().priority(4));
    let stored = || {
        let row = scene.row(uuid);
        (row.priority, row.header)
    };
    let before = stored();
    let fixed = client.amend(uuid, |message| message.priority(1).ttl(secs(9)));
    assert!(matches!(
        fixed,
        Err(ClientError::Message(MessageError::Fixed))
    ));
    assert_eq!(stored(), before);
});

for_each_backend!(of_two_changes_of_the_same_job_the_second_is_told, |scene| {
    let uuid = scene.submit(job().priority(4));
    let row = scene.row(uuid);
    let to = |priority: u32| Amendment {
        uuid,
        queue: queue("default"),
        before: (row.priority, row.header.clone()),
        after: (priority, row.header.clone()),
    };
    let amend = |priority| scene.broker().amend(&to(priority)).unwrap();
    assert_eq!(amend(3), Amended::Done);
    // Asked for again, because the answer was lost.
    assert_eq!(amend(3), Amended::Done);
    assert_eq!(amend(2), Amended::Changed);
    assert_eq!(scene.row(uuid).priority, 3);
    let other = Amendment {
        queue: queue("other"),
        ..to(1)
    };
    assert_eq!(scene.broker().amend(&other).unwrap(), Amended::Unknown);
});

for_each_backend!(no_change_of_many_at_once_is_lost, |scene| {
    let uuid = scene.submit(job());
    let change = |name: String| {
        let client = client(scene);
        move || {
            for n in 0..5 {
                let key = format!("{name}{n}");
                client.amend(uuid, |message| message.add_metadata(&key, n))?;
            }
            Ok::<_, ClientError>(())
        }
    };
    thread::scope(|scope| {
        let threads = ["a", "b", "c"].map(|name| scope.spawn(change(name.into())));
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    let metadata = client(scene).message(uuid).unwrap().header.metadata;
    let metadata: serde_json::Value = serde_json::from_str(metadata.unwrap().get()).unwrap();
    assert_eq!(metadata.as_object().unwrap().len(), 15);
});

for_each_backend!(
    a_changed_job_is_revoked_and_removed_without_a_trace,
    |scene| {
        let all = jobs(scene, 3, || job().ttl(secs(3)));
        for uuid in &all {
            first(scene, *uuid);
        }
        assert_eq!(
            client(scene).revoke(all[0], false).unwrap(),
            Revocation::Ended
        );
        assert!(client(scene).remove(all[1]).unwrap());
        assert_eq!(scene.store.control.mend(100).unwrap(), 0);
        assert_eq!(scene.store.catalog.queues().unwrap()[0].ready, 1);
        assert_eq!(uuids(&scene.claim(9)), all[2..]);
        scene.clock.pass(secs(3));
        assert!(scene.take_over(&Overdue::Expired).is_empty());
    }
);
