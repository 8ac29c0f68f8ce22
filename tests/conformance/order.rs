//! The order in which jobs are claimed.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::Submission;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{Scene, TestClock, for_each_backend, job, queue, secs, settlement, uuids};

fn submit_many(scene: &Scene, count: usize) -> Vec<Uuid> {
    let messages: Vec<_> = (0..count).map(|_| scene.build(job())).collect();
    let queue = queue("default");
    for some in messages.chunks(1000) {
        let batch: Vec<_> = some
            .iter()
            .map(|message| Submission {
                message,
                queue: &queue,
            })
            .collect();
        scene.broker().submit(&batch).unwrap();
    }
    messages.iter().map(|message| message.uuid).collect()
}

for_each_backend!(
    a_hundred_thousand_jobs_of_one_priority_come_in_the_order_they_went,
    |scene| {
        let submitted = submit_many(scene, 100_000);
        let mut claimed = Vec::new();
        while claimed.len() < submitted.len() {
            let some = scene.claim(5000);
            assert!(!some.is_empty());
            claimed.extend(uuids(&some));
        }
        assert!(claimed == submitted, "out of order");
    }
);

for_each_backend!(lower_priorities_run_first_up_to_the_largest, |scene| {
    let last = scene.submit(job().priority(i64::from(u32::MAX)));
    let later = scene.submit(job().priority(7));
    let first = scene.submit(job());
    let second = scene.submit(job());
    assert_eq!(uuids(&scene.claim(9)), [first, second, later, last]);
});

for_each_backend!(two_tasks_of_a_queue_share_one_line, |scene| {
    let message = |task| bulkhead_shared::Message::new(task);
    let expected: Vec<Uuid> = (0..10)
        .map(|n| scene.submit(message(if n % 3 == 0 { "sub" } else { "add" })))
        .collect();
    assert_eq!(uuids(&scene.claim(10)), expected);
});

for_each_backend!(a_released_job_keeps_its_place, |scene| {
    let submitted = submit_many(scene, 3);
    let first = scene.claim(1).remove(0);
    scene.settle(&first, Move::Release);
    assert_eq!(uuids(&scene.claim(3)), submitted);
});

for_each_backend!(a_retried_job_is_before_those_that_came_after_it, |scene| {
    let submitted = submit_many(scene, 3);
    let first = scene.claim(1).remove(0);
    let at = TestClock::START.plus(secs(5));
    scene.settle(&first, Move::Retry { at });
    assert_eq!(uuids(&scene.claim(1)), submitted[1..2]);
    scene.clock.pass(secs(5));
    assert_eq!(uuids(&scene.claim(3)), [submitted[0], submitted[2]]);
});

for_each_backend!(
    a_later_queue_is_touched_only_when_the_earlier_ones_are_empty,
    |scene| {
        let b = scene.submit(job().queue("b").priority(0));
        let a: Vec<Uuid> = (0..2)
            .map(|_| scene.submit(job().queue("a").priority(9)))
            .collect();
        let queues = [queue("a"), queue("b")];
        let turned = scene.turn_in(&queues, Vec::new(), 1);
        assert_eq!(uuids(&turned.claimed), a[..1]);
        assert!(turned.more);
        let turned = scene.turn_in(&queues, Vec::new(), 5);
        assert_eq!(uuids(&turned.claimed), [a[1], b]);
        assert!(!turned.more);
    }
);

for_each_backend!(
    jobs_of_tasks_that_the_supervisor_does_not_know_are_left_alone,
    |scene| {
        scene.submit(bulkhead_shared::Message::new("strange"));
        let known = scene.submit(job());
        let turned = scene.turn(Vec::new(), 5);
        assert_eq!(uuids(&turned.claimed), [known]);
        assert!(!turned.more);
    }
);

for_each_backend!(a_turn_settles_before_it_claims, |scene| {
    let uuid = scene.submit(job());
    let first = scene.claim_one();
    let turned = scene.turn(vec![settlement(&first, Move::Release)], 1);
    assert_eq!(uuids(&turned.claimed), [uuid]);
    assert_eq!(turned.claimed[0].receipt.fence, 2);
});

for_each_backend!(
    a_turn_says_whether_more_jobs_are_ready_than_there_is_room,
    |scene| {
        submit_many(scene, 2);
        assert!(scene.turn(Vec::new(), 0).more);
        assert!(scene.turn(Vec::new(), 1).more);
        assert!(!scene.turn(Vec::new(), 1).more);
    }
);
