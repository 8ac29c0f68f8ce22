//! Nothing is left of jobs whose time is over.

use bulkhead_shared::broker::{Overdue, Submission};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{
    KEPT, Kind, Scene, TestClock, job, queue, redis_server, secs, settlement, succeed,
};

/// One round in which jobs end in every way, and all their times pass.
fn round(scene: &Scene, count: usize) {
    let queue = queue("default");
    for n in 0..count {
        let message = match n % 4 {
            0 => job().ttl(secs(3600)),
            1 => job().delay(secs(1)),
            2 => job().expires(secs(3600)),
            _ => job(),
        };
        let message = scene.build(message);
        let submission = Submission {
            message: &message,
            queue: &queue,
        };
        scene.broker().submit(&[submission]).unwrap();
    }
    scene.clock.pass(secs(1));
    let kept = Some(TestClock::START.plus(KEPT));
    let mut ended = 0;
    while ended < count {
        let claimed = scene.claim(64);
        let ends = claimed.iter().enumerate().map(|(n, job)| {
            let next = match (n + ended) % 5 {
                0 => Move::Bury {
                    cause: Cause::Error,
                    purge_at: kept,
                },
                1 => Move::Drop {
                    cause: Cause::Error,
                    purge_at: kept,
                },
                2 => Move::Succeed {
                    result: Some(b"r".to_vec()),
                    result_until: Some(TestClock::START.plus(secs(9))),
                    purge_at: kept,
                },
                3 if job.receipt.fence == 1 => Move::Release,
                _ => succeed(b"1"),
            };
            settlement(job, next)
        });
        let ends: Vec<_> = ends.collect();
        ended += ends.iter().filter(|one| one.next != Move::Release).count();
        scene.broker().turn(ends, None).unwrap();
    }
}

#[test]
fn after_many_jobs_and_all_their_times_there_are_as_many_keys_as_after_one() {
    let server = redis_server::RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    round(&scene, 5);
    scene.clock.pass(KEPT);
    while scene.broker().prune(1000).unwrap() > 0 {}
    let before = server.command("DBSIZE");
    scene.clock.set_wall(TestClock::START.plus(KEPT));
    round(&scene, 2000);
    scene.clock.pass(KEPT * 2);
    while scene.broker().prune(1000).unwrap() > 0 {}
    assert_eq!(server.command("DBSIZE"), before);
}

#[test]
fn what_waits_or_runs_has_no_end_that_the_server_could_bring_about() {
    let server = redis_server::RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    scene.submit(job());
    scene.claim_one();
    scene.submit(job().ttl(secs(1)));
    scene.submit(job().expires(secs(1)));
    scene.submit(job().delay(secs(9)));
    // The second number is that of keys with a time to live: what the last claim gave, which no job
    // depends on.
    let info = server.text("INFO keyspace");
    assert!(info.contains("expires=1"), "{info}");
}

#[test]
fn what_is_overdue_in_many_queues_is_all_found_a_part_at_each_look() {
    let server = redis_server::RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    let mut left: Vec<_> = (0..150)
        .map(|number| scene.submit(job().queue(&format!("q{number}")).ttl(secs(1))))
        .collect();
    scene.clock.pass(secs(2));
    // Three looks at 64 queues each.
    for _ in 0..3 {
        let taken = scene.take_over(&Overdue::Expired);
        assert!((1..=64).contains(&taken.len()), "{}", taken.len());
        left.retain(|uuid| !taken.iter().any(|one| one.receipt.uuid == *uuid));
    }
    assert!(left.is_empty(), "{left:?}");
}
