//! Limits and linked locks, with real processes.

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, ended, once, submit};

fn alone(mut message: Value, key: &str, value: Value) -> Value {
    message[key] = value;
    message
}

/// Panics if two of these jobs ran at the same time.
fn one_by_one(of: &str, jobs: &[Value]) {
    let part = |job: &Value, key: &str| job[key].as_str().unwrap().to_owned();
    let mut runs: Vec<_> = jobs
        .iter()
        .map(|job| (part(job, "started_at"), part(job, "finished_at")))
        .collect();
    runs.sort();
    for two in runs.windows(2) {
        assert!(two[0].1 <= two[1].0, "{of}: {two:?}");
    }
}

#[test]
fn what_shares_a_queue_a_key_or_a_lock_runs_one_by_one_over_all_supervisors() {
    play(&Place::new());
}

#[test]
fn on_a_redis_server_too() {
    let server = RedisServer::start(&[]);
    play(&Place::with_store(&server.url()));
}

fn play(place: &Place) {
    let busy = || once("flaky", json!([0]));
    let one = json!({"key": "k", "most": 1});
    let mut messages = Vec::new();
    for _ in 0..6 {
        messages.push(alone(busy(), "queue", json!("narrow")));
        messages.push(alone(busy(), "concurrency", one.clone()));
        messages.push(alone(busy(), "lock", json!("l")));
    }
    let uuids = submit(place, &messages);
    let _ = place.run(&["queues", "limit", "narrow", "1"]).succeeds();
    let start = || {
        Supervisor::at(place)
            .tasks_of("hostile-child")
            .args(["--processes", "3", "--queues", "default,narrow"])
            .start()
    };
    let mut both = [start(), start()];
    let jobs = ended(place, &uuids);
    for job in &jobs {
        assert_eq!(Verdict::of(job), Verdict::succeeded(), "{job:#}");
    }
    for (index, of) in ["queue", "key", "lock"].into_iter().enumerate() {
        let some: Vec<_> = jobs.iter().skip(index).step_by(3).cloned().collect();
        one_by_one(of, &some);
    }
    assert_eq!(
        place.run(&["lock", "ls", "--json"]).succeeds().json(),
        json!([])
    );
    for supervisor in &mut both {
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}
