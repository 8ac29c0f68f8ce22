//! Nothing is left of jobs whose time is over.

use bulkhead_shared::broker::Overdue;
use bulkhead_tests::{KEPT, Kind, Scene, job, redis_server, rounds, secs};

/// Bytes that a server may have taken more of: for tables that it shrinks in its own time.
const SLACK: i64 = 1 << 18;

fn used_memory(server: &redis_server::RedisServer) -> i64 {
    let info = server.text("INFO memory");
    let used = info.lines().find_map(|l| l.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

#[test]
fn after_many_jobs_and_all_their_times_there_are_as_many_keys_as_after_one() {
    let server = redis_server::RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    let elsewhere = scene.namespace("elsewhere");
    let round = |count: usize| {
        // Some end here, and some elsewhere.
        rounds::play(&scene, count);
        rounds::move_all(&scene.store, &elsewhere);
        rounds::play(&scene, count);
        let full = used_memory(&server);
        scene.clock.pass(KEPT * 2);
        rounds::forget_all(&scene.store);
        rounds::forget_all(&elsewhere);
        full
    };
    round(5);
    let keys = server.command("DBSIZE");
    // Buffers and tables take what they take for so many jobs once.
    let full = round(2000);
    let memory = used_memory(&server);
    assert!(full - memory > 4 * SLACK, "too few jobs to show anything");
    for _ in 0..3 {
        round(2000);
        assert_eq!(server.command("DBSIZE"), keys);
        let grown = used_memory(&server) - memory;
        assert!(grown < SLACK, "{grown} bytes more than before");
    }
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
fn what_is_on_its_way_has_no_end_that_the_server_could_bring_about() {
    let server = redis_server::RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    rounds::play(&scene, 20);
    scene.submit(job().delay(secs(9)));
    let parcels = scene.store.transit.send_off(100).unwrap();
    assert_eq!(parcels.len(), 21);
    let elsewhere = scene.namespace("elsewhere");
    elsewhere.transit.receive(&parcels).unwrap();
    let info = server.text("INFO keyspace");
    // What the last claim gave is remembered for a while, in case its answer was lost.
    assert!(info.contains("expires=1,"), "{info}");
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
