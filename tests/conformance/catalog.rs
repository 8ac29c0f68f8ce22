//! What can be read.

use bulkhead_shared::Message;
use bulkhead_shared::Uuid;
use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{TestClock, for_each_backend, job, queue, secs, settlement, succeed, task};

for_each_backend!(
    jobs_come_newest_first_and_by_task_queue_and_state,
    |scene| {
        let first = scene.submit(job());
        let second = scene.submit(Message::new("sub").delay(secs(5)));
        let third = scene.submit(Message::new("sub").queue("q"));
        let list = |filter: Filter, limit| -> Vec<Uuid> {
            let rows = scene.store.catalog.list(&filter, limit).unwrap();
            rows.iter().map(|row| row.uuid).collect()
        };
        assert_eq!(list(Filter::default(), 10), [third, second, first]);
        assert_eq!(list(Filter::default(), 1), [third]);
        let subs = Filter {
            task: Some(task("sub")),
            ..Filter::default()
        };
        assert_eq!(list(subs.clone(), 10), [third, second]);
        let in_q = Filter {
            queue: Some(queue("q")),
            ..subs
        };
        assert_eq!(list(in_q, 10), [third]);
        let states = vec![State::Delayed, State::Leased];
        assert_eq!(
            list(
                Filter {
                    states,
                    ..Filter::default()
                },
                10
            ),
            [second]
        );
    }
);

for_each_backend!(jobs_are_given_in_the_order_of_the_ids_asked_for, |scene| {
    let (a, b) = (scene.submit(job()), scene.submit(job().priority(3)));
    let rows = scene
        .store
        .catalog
        .jobs_by_id(&[b, Uuid::now_v7(), a])
        .unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| row.as_ref().map(|row| row.uuid))
        .collect();
    assert_eq!(found, [Some(b), None, Some(a)]);
    let row = rows[0].as_ref().unwrap();
    assert_eq!((row.priority, row.submitted_at), (3, TestClock::START));
    assert!(row.header.starts_with(b"{\"v\":1"));
});

for_each_backend!(queues_and_unfinished_jobs_are_counted, |scene| {
    let count = || scene.store.catalog.unfinished(&[queue("default")]).unwrap();
    assert_eq!(count(), 0);
    for _ in 0..5 {
        scene.submit(job());
    }
    scene.submit(job().delay(secs(5)));
    scene.submit(job().queue("other"));
    assert_eq!(count(), 6);
    let claimed = scene.claim(3);
    let cause = Cause::Error;
    let ends = [
        succeed(b"1"),
        Move::Bury {
            cause,
            purge_at: None,
        },
    ];
    let ends = claimed
        .iter()
        .zip(ends)
        .map(|(job, next)| settlement(job, next));
    scene.broker().turn(ends.collect(), None).unwrap();
    assert_eq!(count(), 4);
    let queues = scene.store.catalog.queues().unwrap();
    let counts = queues
        .iter()
        .find(|counts| counts.queue == queue("default"))
        .unwrap();
    let found = [
        counts.ready,
        counts.delayed,
        counts.leased,
        counts.succeeded,
        counts.dead,
    ];
    assert_eq!(found, [2, 1, 1, 1, 1]);
    assert_eq!(counts.oldest_ready, Some(TestClock::START));
});
