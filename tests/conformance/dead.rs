//! Dead letters.

use std::collections::HashSet;

use bulkhead_shared::broker::{Settled, Submission, Submitted};
use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::history::History;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, QueueName};
use bulkhead_tests::{Scene, for_each_backend, job, secs, settlement, succeed, task};

const BURIED: Move = Move::Bury {
    cause: Cause::Crash,
    purge_at: None,
};

for_each_backend!(
    a_dead_letter_that_is_retried_keeps_its_uuid_and_gets_fresh_budgets,
    |scene| {
        let uuid = scene.submit(job());
        let first = scene.claim_one();
        scene.settle(&first, BURIED);
        assert_eq!(scene.row(uuid).cause, Some(Cause::Crash));
        assert_eq!(scene.broker().retry_dead(&[uuid]).unwrap(), 1);
        assert_eq!(scene.broker().retry_dead(&[uuid]).unwrap(), 0);
        let row = scene.row(uuid);
        assert_eq!(
            (row.state, row.cause, row.finished_at),
            (State::Ready, None, None)
        );
        let again = scene.claim_one();
        assert_eq!(again.receipt.uuid, uuid);
        assert!(again.receipt.fence > first.receipt.fence + 1);
        let history = History::from_json(&again.history).unwrap();
        assert_eq!(
            (history.attempt, history.errors, history.retries),
            (1, 0, 0)
        );
        assert!(
            String::from_utf8(again.history.clone())
                .unwrap()
                .contains("note")
        );
        assert_eq!(scene.settle(&first, succeed(b"old")), Settled::Stale);
        assert_eq!(scene.settle(&again, succeed(b"new")), Settled::Applied);
    }
);

for_each_backend!(a_dead_letter_that_had_expired_can_be_retried_too, |scene| {
    let uuid = scene.submit(job().expires(secs(5)));
    let claimed = scene.claim_one();
    scene.settle(&claimed, BURIED);
    scene.clock.pass(secs(9));
    scene.broker().retry_dead(&[uuid]).unwrap();
    assert_eq!(scene.claim_one().receipt.uuid, uuid);
});

for_each_backend!(
    dropping_dead_letters_leaves_jobs_alone_that_are_none,
    |scene| {
        let dead = scene.submit(job());
        scene.settle(&scene.claim_one(), BURIED);
        let mut delayed = scene.build(job().queue("elsewhere").delay(secs(60)));
        delayed.uuid = dead;
        assert_eq!(scene.offer(&delayed), Submitted::Created);
        let succeeded = scene.submit(job());
        scene.settle(&scene.claim_one(), succeed(b"kept"));
        let retried = scene.submit(job());
        scene.settle(&scene.claim_one(), BURIED);
        scene.broker().retry_dead(&[retried]).unwrap();
        let all = [dead, succeeded, retried];
        assert_eq!(scene.broker().drop_dead(&all).unwrap(), 1);
        assert_eq!(scene.broker().drop_dead(&all).unwrap(), 0);
        assert_eq!(scene.row(dead).queue.as_str(), "elsewhere");
        assert_eq!(scene.state(dead), Some(State::Delayed));
        assert_eq!(scene.state(succeeded), Some(State::Succeeded));
        assert_eq!(scene.state(retried), Some(State::Ready));
    }
);

for_each_backend!(
    dead_letters_are_found_by_their_cause_and_dropped_jobs_are_none,
    |scene| {
        let buried = scene.submit(job());
        scene.settle(&scene.claim_one(), BURIED);
        scene.submit(job());
        let cause = Cause::Revoked;
        scene.settle(
            &scene.claim_one(),
            Move::Drop {
                cause,
                purge_at: None,
            },
        );
        let find = |cause| {
            let states = vec![State::Dead];
            let filter = Filter {
                states,
                cause,
                ..Filter::default()
            };
            scene.store.catalog.list(&filter, 10).unwrap()
        };
        let found = find(Some(Cause::Crash));
        assert_eq!((found.len(), found[0].uuid), (1, buried));
        assert_eq!(find(None).len(), 1);
        assert!(find(Some(Cause::Lost)).is_empty());
    }
);

/// Buries as many jobs as there are messages.
fn bury(scene: &Scene, messages: &[Message]) {
    let queue = QueueName::default();
    for some in messages.chunks(1000) {
        let submission = |message| Submission {
            message,
            queue: &queue,
        };
        let batch: Vec<_> = some.iter().map(submission).collect();
        scene.broker().submit(&batch).unwrap();
        let mut left = some.len();
        while left > 0 {
            let claimed = scene.claim(left);
            assert!(!claimed.is_empty(), "{left} cannot be claimed");
            let ends = claimed.iter().map(|job| settlement(job, BURIED)).collect();
            left -= scene.broker().turn(ends, None).unwrap().settled.len();
        }
    }
}

for_each_backend!(
    whoever_asks_for_all_dead_letters_is_shown_the_oldest_of_them,
    |scene| {
        let oldest = scene.build(Message::new("sub").arg(1));
        let others: Vec<_> = (0..10_000).map(|_| scene.build(job())).collect();
        bury(scene, std::slice::from_ref(&oldest));
        bury(scene, &others);
        let find = |task, limit| {
            let filter = Filter {
                states: vec![State::Dead],
                task,
                ..Filter::default()
            };
            let rows = scene.store.catalog.list(&filter, limit).unwrap();
            rows.into_iter().map(|row| row.uuid).collect::<Vec<_>>()
        };
        let all: HashSet<_> = find(None, 100_000).into_iter().collect();
        assert_eq!(all.len(), 10_001);
        assert!(all.contains(&oldest.uuid));
        assert_eq!(find(None, 10_000).len(), 10_000);
        assert_eq!(find(Some(task("sub")), 100_000), [oldest.uuid]);
    }
);
