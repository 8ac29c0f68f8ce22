//! Jobs that nobody would end: lost leases and tasks that nobody knows.

use bulkhead_shared::broker::{Overdue, Presence, Selection, SupervisorId};
use bulkhead_shared::catalog::State;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Message, QueueName};
use bulkhead_tests::{
    Kind, LEASE, Scene, TestClock, for_each_backend, job, queue, secs, supervisor, task, uuids,
};

fn announce(scene: &Scene, id: SupervisorId, tasks: &[&str], queues: &[&str]) {
    let tasks: Vec<_> = tasks.iter().map(|name| task(name)).collect();
    let presence = Presence {
        id,
        host: "here".into(),
        pid: 7,
        selection: Selection {
            queues: queues.iter().map(|name| queue(name)).collect(),
            tasks: tasks.clone(),
        },
        tasks: tasks.into_iter().map(TaskSpec::new).collect(),
        version: "1".into(),
        slots: 1,
        started_at: TestClock::START,
    };
    scene.broker().announce(&presence).unwrap();
}

for_each_backend!(
    a_lease_is_taken_over_when_its_time_is_up_and_not_before,
    |scene| {
        let uuid = scene.submit(job());
        let claimed = scene.claim_one();
        scene.clock.pass(LEASE - secs(1));
        assert!(scene.take_over(&Overdue::Lease).is_empty());
        scene.clock.pass(secs(1));
        let taken = scene.take_over(&Overdue::Lease);
        assert_eq!(uuids(&taken), [uuid]);
        assert_eq!(taken[0].payload, claimed.payload);
        assert!(
            scene.take_over(&Overdue::Lease).is_empty(),
            "now it is held again"
        );
    }
);

#[test]
fn what_a_supervisor_claims_after_it_was_taken_for_dead_is_taken_over_at_the_end_of_its_lease() {
    let scene = Scene::new(Kind::SqliteFile);
    announce(&scene, scene.me, &["add"], &["default"]);
    std::fs::remove_file(scene.path().with_added_extension("start")).unwrap();
    let other = scene.again();
    other.broker.prune(1000).unwrap();
    assert!(other.catalog.fleet().unwrap().is_empty());
    let uuid = scene.submit(job());
    scene.claim_one();
    let take = || {
        let taken = other
            .broker
            .take_over(&Overdue::Lease, supervisor(), 100, LEASE);
        uuids(&taken.unwrap())
    };
    assert!(take().is_empty());
    scene.clock.pass(LEASE);
    assert_eq!(take(), [uuid]);
}

for_each_backend!(no_more_is_taken_over_than_asked_for, |scene| {
    for _ in 0..5 {
        scene.submit(job());
    }
    scene.claim(5);
    scene.clock.pass(LEASE);
    let take = |limit| {
        let broker = scene.broker();
        broker
            .take_over(&Overdue::Lease, scene.me, limit, LEASE)
            .unwrap()
            .len()
    };
    assert_eq!((take(2), take(100)), (2, 3));
});

for_each_backend!(a_supervisor_that_has_left_holds_nothing_any_more, |scene| {
    let uuid = scene.submit(job());
    scene.claim_one();
    scene.broker().leave(scene.me).unwrap();
    let other = supervisor();
    let taken = scene
        .broker()
        .take_over(&Overdue::Lease, other, 5, LEASE)
        .unwrap();
    assert_eq!(uuids(&taken), [uuid]);
});

for_each_backend!(
    a_ready_job_whose_task_nobody_knows_is_handed_over_after_its_time,
    |scene| {
        announce(scene, scene.me, &["add"], &["default"]);
        let known = scene.submit(job());
        let strange = scene.submit(Message::new("strange"));
        let queues = [QueueName::default()];
        let unknown = Overdue::UnknownTask {
            queues: &queues,
            after: secs(5),
        };
        assert!(scene.take_over(&unknown).is_empty());
        scene.clock.pass(secs(4));
        assert!(scene.take_over(&unknown).is_empty());
        scene.clock.pass(secs(1));
        assert_eq!(uuids(&scene.take_over(&unknown)), [strange]);
        assert_eq!(scene.state(known), Some(State::Ready));
    }
);

for_each_backend!(
    a_task_that_somebody_announces_in_time_is_not_unknown,
    |scene| {
        announce(scene, scene.me, &["add"], &["default"]);
        scene.submit(Message::new("strange"));
        let queues = [QueueName::default()];
        let unknown = Overdue::UnknownTask {
            queues: &queues,
            after: secs(5),
        };
        scene.take_over(&unknown);
        scene.clock.pass(secs(4));
        let late = supervisor();
        // As supervisors do: again and again, as long as they live.
        for _ in 0..12 {
            announce(scene, late, &["strange"], &["default"]);
            assert!(scene.take_over(&unknown).is_empty());
            scene.clock.pass(secs(5));
        }
        scene.broker().leave(late).unwrap();
        assert!(scene.take_over(&unknown).is_empty(), "its time begins anew");
        scene.clock.pass(secs(5));
        assert_eq!(scene.take_over(&unknown).len(), 1);
    }
);

for_each_backend!(
    the_time_of_an_unknown_task_begins_anew_when_no_job_of_it_was_ready,
    |scene| {
        announce(scene, scene.me, &["add"], &["default"]);
        let queues = [QueueName::default()];
        let unknown = Overdue::UnknownTask {
            queues: &queues,
            after: secs(5),
        };
        let first = scene.submit(Message::new("strange"));
        assert!(scene.take_over(&unknown).is_empty());
        scene.broker().remove(&[first]).unwrap();
        assert!(scene.take_over(&unknown).is_empty());
        scene.clock.pass(secs(100));
        let second = scene.submit(Message::new("strange"));
        assert!(scene.take_over(&unknown).is_empty());
        scene.clock.pass(secs(5));
        assert_eq!(uuids(&scene.take_over(&unknown)), [second]);
    }
);

for_each_backend!(
    a_supervisor_of_another_queue_does_not_make_a_task_known,
    |scene| {
        announce(scene, scene.me, &["add"], &["default"]);
        announce(scene, supervisor(), &["strange"], &["other"]);
        scene.submit(Message::new("strange"));
        let queues = [QueueName::default()];
        let unknown = Overdue::UnknownTask {
            queues: &queues,
            after: secs(0),
        };
        assert_eq!(scene.take_over(&unknown).len(), 1);
    }
);

for_each_backend!(
    announced_tasks_are_remembered_after_their_supervisor_has_left,
    |scene| {
        announce(scene, scene.me, &["add", "sub"], &["default"]);
        announce(scene, scene.me, &["add", "sub"], &["default"]);
        scene.broker().leave(scene.me).unwrap();
        let tasks = scene.store.catalog.tasks().unwrap();
        let names: Vec<_> = tasks.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["add", "sub"]);
        scene.broker().prune(100).unwrap();
        assert_eq!(scene.store.catalog.tasks().unwrap().len(), 2);
    }
);

for_each_backend!(
    a_supervisor_that_was_forgotten_can_announce_itself_again,
    |scene| {
        announce(scene, scene.me, &["add"], &["default"]);
        scene.broker().leave(scene.me).unwrap();
        assert_eq!(scene.broker().prune(100).unwrap(), 1);
        announce(scene, scene.me, &["add"], &["default"]);
        scene.submit(job());
        scene.claim_one();
        assert!(scene.take_over(&Overdue::Lease).is_empty());
    }
);
