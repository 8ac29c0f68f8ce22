//! Delays, ttl and expiry, and clocks that step.

use bulkhead_shared::broker::Overdue;
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{Kind, Scene, TestClock, for_each_backend, job, secs, uuids};

for_each_backend!(
    delayed_jobs_wait_and_those_of_the_same_millisecond_come_in_order,
    |scene| {
        let submitted: Vec<_> = (0..20)
            .map(|_| scene.submit(job().delay(secs(5))))
            .collect();
        let turned = scene.turn(Vec::new(), 50);
        assert!(turned.claimed.is_empty());
        assert_eq!(turned.next_due, Some(secs(5)));
        assert_eq!(scene.row(submitted[0]).state, State::Delayed);
        scene.clock.pass(secs(5));
        let turned = scene.turn(Vec::new(), 50);
        assert_eq!(uuids(&turned.claimed), submitted);
        assert_eq!(turned.next_due, None);
    }
);

for_each_backend!(
    more_delayed_jobs_than_one_claim_makes_ready_all_come_at_last,
    |scene| {
        let count = 500;
        for _ in 0..count {
            scene.submit(job().delay(secs(5)));
        }
        scene.clock.pass(secs(5));
        let mut claimed = 0;
        while claimed < count {
            let turned = scene.turn(Vec::new(), count);
            assert!(!turned.claimed.is_empty());
            claimed += turned.claimed.len();
            assert_eq!(turned.more, claimed < count);
        }
    }
);

for_each_backend!(
    a_ttl_counts_the_wait_in_ready_and_neither_delay_nor_running,
    |scene| {
        let delayed = scene.submit(job().ttl(secs(10)).delay(secs(100)));
        let running = scene.submit(job().ttl(secs(10)));
        let waiting = scene.submit(job().ttl(secs(10)).queue("q"));
        let claimed = scene.claim_one();
        assert_eq!(claimed.receipt.uuid, running);
        scene.clock.pass(secs(10));
        let overdue = scene.take_over(&Overdue::Expired);
        assert_eq!(uuids(&overdue), [waiting]);
        assert_eq!(scene.state(delayed), Some(State::Delayed));
        scene.clock.pass(secs(90));
        assert_eq!(uuids(&scene.claim(5)), [delayed]);
    }
);

for_each_backend!(a_retried_job_may_wait_its_whole_ttl_again, |scene| {
    let uuid = scene.submit(job().ttl(secs(10)));
    let first = scene.claim_one();
    scene.clock.pass(secs(9));
    let at = TestClock::START.plus(secs(20));
    scene.settle(&first, Move::Retry { at });
    scene.clock.pass(secs(20));
    assert!(scene.take_over(&Overdue::Expired).is_empty());
    scene.clock.pass(secs(1));
    assert_eq!(uuids(&scene.take_over(&Overdue::Expired)), [uuid]);
});

for_each_backend!(
    an_expired_job_is_never_claimed_and_never_removed_but_handed_over,
    |scene| {
        let ready = scene.submit(job().expires(secs(10)));
        let delayed = scene.submit(job().expires(secs(10)).delay(secs(9)));
        let leased = scene.submit(job().expires(secs(10)));
        let held = scene.claim(1).remove(0);
        assert_eq!(held.receipt.uuid, ready);
        scene.clock.pass(secs(10));
        assert!(scene.claim(5).is_empty());
        assert!(scene.state(delayed).is_some() && scene.state(leased).is_some());
        let mut expired = uuids(&scene.take_over(&Overdue::Expired));
        expired.sort();
        let mut expected = [delayed, leased];
        expected.sort();
        assert_eq!(expired, expected);
        assert_eq!(scene.state(ready), Some(State::Leased));
    }
);

for_each_backend!(
    a_job_that_was_taken_over_as_expired_ends_in_the_dead_letters,
    |scene| {
        let uuid = scene.submit(job().expires(secs(10)));
        scene.clock.pass(secs(10));
        let taken = scene.take_over(&Overdue::Expired).remove(0);
        let cause = Cause::Expired;
        scene.settle(
            &taken,
            Move::Bury {
                cause,
                purge_at: None,
            },
        );
        let row = scene.row(uuid);
        assert_eq!((row.state, row.cause), (State::Dead, Some(cause)));
        assert!(scene.take_over(&Overdue::Expired).is_empty());
    }
);

for_each_backend!(
    a_wall_clock_that_steps_back_makes_nothing_early_and_loses_no_lease,
    |scene| {
        let held = scene.submit(job());
        let claimed = scene.claim_one();
        let delayed = scene.submit(job().delay(secs(5)));
        scene.clock.pass(secs(5));
        assert!(scene.turn(Vec::new(), 0).more, "its time has come");
        scene.clock.set_wall(TestClock::START);
        assert!(scene.take_over(&Overdue::Lease).is_empty());
        assert_eq!(
            uuids(&scene.claim(5)),
            [delayed],
            "its time had come and stays come"
        );
        assert_eq!(scene.state(held), Some(State::Leased));
        let row = scene.row(claimed.receipt.uuid);
        assert!(row.submitted_at <= row.ready_at);
    }
);

#[test]
fn a_wall_clock_that_was_wrong_and_is_set_right_is_followed() {
    let scene = Scene::new(Kind::SqliteFile);
    scene.clock.set_wall(TestClock::START.plus(secs(3600)));
    let delayed = scene.submit(job().delay(secs(5)));
    scene.clock.set_wall(TestClock::START);
    let short = scene.submit(job().expires(secs(60)));
    let claimed = scene.claim_one();
    assert_eq!(claimed.receipt.uuid, short, "its time is not over");
    let at = TestClock::START.plus(secs(5));
    scene.settle(&claimed, Move::Retry { at });
    assert!(scene.claim(5).is_empty(), "it waits as long as it should");
    scene.clock.pass(secs(5));
    assert_eq!(uuids(&scene.claim(5)), [short]);
    assert_eq!(scene.state(delayed), Some(State::Delayed));
}

for_each_backend!(a_wall_clock_that_leaps_ahead_ends_no_lease, |scene| {
    scene.submit(job());
    scene.claim_one();
    scene.clock.set_wall(TestClock::START.plus(secs(1_000_000)));
    assert!(scene.take_over(&Overdue::Lease).is_empty());
});
