//! Schedules: rows that change only for whoever has read them, and firings that come once.

use std::time::Duration;

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::Submission;
use bulkhead_shared::schedule::{BODY_LIMIT, Body, Fire, Fired, Origin, Put, Row, Step};
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::trigger::{Misfire, Overlap, TriggerSpec};
use bulkhead_shared::{Message, Namespace, QueueName, ScheduleName, Timestamp};
use bulkhead_tests::{Scene, TestClock, for_each_backend, queue, secs, succeed, task, uuids};

fn named(name: &str) -> ScheduleName {
    ScheduleName::new(name).unwrap()
}

fn row(name: &str, due: Option<Timestamp>) -> Row {
    Row {
        name: named(name),
        queue: QueueName::default(),
        version: 0,
        due,
        body: name.into(),
    }
}

fn message(scene: &Scene) -> Message {
    scene.build(Message::new("add").arg(1).arg(2))
}

fn fire(row: &Row, messages: Vec<Message>, due: Option<Timestamp>) -> Fire {
    let body = b"fired".to_vec();
    Fire {
        name: row.name.clone(),
        queue: row.queue.clone(),
        version: row.version,
        messages,
        next: Step { due, body },
        unless: None,
    }
}

for_each_backend!(a_row_is_changed_only_by_whoever_has_read_it, |scene| {
    let store = &scene.store.schedules;
    let first = row("report", None);
    assert_eq!(store.find(&first.name).unwrap(), None);
    assert_eq!(store.put(&first).unwrap(), Put::Written);
    assert_eq!(store.put(&first).unwrap(), Put::Stale);
    let read = store.find(&first.name).unwrap().unwrap();
    assert!(read.version > 0);
    assert_eq!(
        (&read.body, &read.queue, read.due),
        (&first.body, &first.queue, None)
    );
    let changed = Row {
        body: b"a b\nc \x00\xff".to_vec(),
        due: Some(TestClock::START),
        ..read.clone()
    };
    assert_eq!(store.put(&changed).unwrap(), Put::Written);
    assert_eq!(store.put(&changed).unwrap(), Put::Stale);
    assert!(!store.forget(&read).unwrap());
    let found = store.find(&first.name).unwrap().unwrap();
    assert_eq!((&found.body, found.due), (&changed.body, changed.due));
    // Elsewhere it is another one, and there is one of each name.
    let elsewhere = Row {
        queue: queue("later"),
        ..row("report", None)
    };
    assert_eq!(store.put(&elsewhere).unwrap(), Put::Stale);
    assert_eq!(
        store
            .put(&Row {
                queue: queue("later"),
                ..found.clone()
            })
            .unwrap(),
        Put::Stale
    );
    assert!(store.forget(&found).unwrap());
    assert!(!store.forget(&found).unwrap());
    assert_eq!(store.put(&elsewhere).unwrap(), Put::Written);
    assert_eq!(store.all().unwrap().len(), 1);
    // What is put anew has a version that the old one never had.
    scene.clock.pass(secs(1));
    assert_eq!(
        store
            .put(&Row {
                version: found.version,
                ..elsewhere
            })
            .unwrap(),
        Put::Stale
    );
});

for_each_backend!(
    rows_are_found_when_they_are_due_the_earliest_first,
    |scene| {
        let store = &scene.store.schedules;
        let at = |seconds| Some(TestClock::START.plus(secs(seconds)));
        for (name, due, queue_name) in [
            ("b", at(20), "default"),
            ("a", at(10), "later"),
            ("c", at(30), "q"),
            ("never", None, "default"),
        ] {
            let row = Row {
                queue: queue(queue_name),
                ..row(name, due)
            };
            assert_eq!(store.put(&row).unwrap(), Put::Written);
        }
        let due = store.due(10).unwrap();
        assert_eq!((due.rows.len(), due.next), (0, Some(secs(10))));
        assert_eq!(due.now, TestClock::START);
        scene.clock.pass(secs(20));
        let due = store.due(10).unwrap();
        let names: Vec<_> = due.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names, due.next), (vec!["a", "b"], Some(secs(10))));
        assert_eq!(store.due(1).unwrap().rows.len(), 1);
        let all: Vec<_> = store
            .all()
            .unwrap()
            .into_iter()
            .map(|row| row.name)
            .collect();
        assert_eq!(all, ["a", "b", "c", "never"].map(named));
        let other = scene.namespace("other");
        assert!(other.schedules.all().unwrap().is_empty());
        assert!(other.schedules.due(10).unwrap().rows.is_empty());
    }
);

for_each_backend!(
    a_firing_submits_its_jobs_and_moves_the_row_on_at_once,
    |scene| {
        let store = &scene.store.schedules;
        assert_eq!(
            store.put(&row("report", Some(TestClock::START))).unwrap(),
            Put::Written
        );
        let read = store.find(&named("report")).unwrap().unwrap();
        let next = Some(TestClock::START.plus(secs(60)));
        let messages = vec![message(scene), message(scene)];
        let jobs: Vec<_> = messages.iter().map(|message| message.uuid).collect();
        let firing = fire(&read, messages, next);
        let racing = fire(&read, vec![message(scene)], next);
        let fired = store.fire(&[firing.clone(), racing.clone()]).unwrap();
        assert_eq!(fired, [Fired::Free, Fired::Stale]);
        assert_eq!(
            store.fire(std::slice::from_ref(&firing)).unwrap(),
            [Fired::Stale]
        );
        assert_eq!(uuids(&scene.claim(10)), jobs);
        let after = store.find(&named("report")).unwrap().unwrap();
        assert_eq!((after.due, &after.body[..]), (next, &b"fired"[..]));
        assert!(store.due(10).unwrap().rows.is_empty());
        // A job that is known already is no obstacle.
        assert_eq!(
            store
                .fire(&[Fire {
                    version: after.version,
                    ..firing
                }])
                .unwrap(),
            [Fired::Free]
        );
        assert!(scene.claim(10).is_empty());
    }
);

for_each_backend!(a_firing_can_wait_for_the_job_of_the_one_before, |scene| {
    let store = &scene.store.schedules;
    let before = message(scene);
    let earlier = before.uuid;
    let default = QueueName::default();
    let submission = Submission {
        message: &before,
        queue: &default,
    };
    scene.broker().submit(&[submission]).unwrap();
    assert_eq!(
        store.put(&row("report", Some(TestClock::START))).unwrap(),
        Put::Written
    );
    let attempt = |expected: Fired| {
        let read = store.find(&named("report")).unwrap().unwrap();
        let busy = Step {
            due: None,
            body: b"busy".to_vec(),
        };
        let firing = Fire {
            unless: Some((earlier, busy)),
            ..fire(&read, vec![message(scene)], None)
        };
        assert_eq!(store.fire(&[firing]).unwrap(), [expected]);
        store.find(&named("report")).unwrap().unwrap().body
    };
    assert_eq!(attempt(Fired::Busy), b"busy");
    let claimed = scene.claim_one();
    assert_eq!(attempt(Fired::Busy), b"busy");
    scene.settle(&claimed, succeed(b"3"));
    assert_eq!(attempt(Fired::Free), b"fired");
    assert_eq!(scene.claim(10).len(), 1);
});

for_each_backend!(a_body_that_is_too_large_is_refused_with_its_size, |scene| {
    let large = Row {
        body: vec![b' '; BODY_LIMIT + 1],
        ..row("large", None)
    };
    let error = scene.store.schedules.put(&large).unwrap_err().to_string();
    assert!(
        error.contains("`large`") && error.contains("65537"),
        "{error}"
    );
});

/// Looks and fires like a supervisor.
fn fire_all(store: &Backend, namespace: &Namespace) {
    loop {
        let due = store.schedules.due(100).unwrap();
        let fires: Vec<_> = due
            .rows
            .iter()
            .map(|row| Body::fire(row, namespace, due.now).unwrap())
            .collect();
        if fires.is_empty() {
            return;
        }
        store.schedules.fire(&fires).unwrap();
    }
}

for_each_backend!(of_two_who_race_each_firing_is_made_once, |scene| {
    let spec = TriggerSpec {
        every_ms: Some(1000),
        misfire: Misfire::All(1000),
        overlap: Overlap::Allow,
        ..TriggerSpec::default()
    };
    let namespace = Namespace::default();
    let plan = spec.check().unwrap();
    let body = Body::new(task("add"), spec, Origin::Added, scene.clock.wall());
    let row = body.row(&named("tick"), &QueueName::default(), &plan, 0);
    assert_eq!(scene.store.schedules.put(&row).unwrap(), Put::Written);
    let others: Vec<_> = (0..3).map(|_| scene.again()).collect();
    let mut seen = 0;
    for round in 1..=10u64 {
        scene.clock.pass(Duration::from_secs(7));
        std::thread::scope(|scope| {
            for store in &others {
                scope.spawn(|| fire_all(store, &namespace));
            }
        });
        seen += scene.claim(1000).len();
        assert_eq!(u64::try_from(seen).unwrap(), round * 7);
    }
    let waiting = scene.store.catalog.queues().unwrap();
    assert_eq!(waiting[0].ready, 0);
});
