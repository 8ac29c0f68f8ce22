//! Threads and futures that share a process.

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_cluster::RedisCluster;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{burst, ended, once, submit, with};

fn attempts(status: &Value) -> usize {
    status["attempts"].as_array().unwrap().len()
}

/// Seven that sleep and one that hangs, in one group.
fn one_hangs(place: &Place) {
    let hang = with(once("thread_hang", json!([])), "timeout", "500ms");
    let mut lines = vec![with(hang, "patience", "300ms")];
    lines.extend((0..7).map(|_| once("thread_sleep", json!([2.0]))));
    let jobs = submit(place, &lines);
    let mut supervisor = Supervisor::start(place, &["--groups", "1", "--threads", "8"]);
    let statuses = ended(place, &jobs);
    assert_eq!(statuses[0]["cause"], "timeout", "{:#}", statuses[0]);
    assert_eq!(attempts(&statuses[0]), 1);
    for status in &statuses[1..] {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(attempts(status), 1, "{status:#}");
        assert_eq!(status["usage"]["source"], "shared");
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

/// Two that hang again and again without end, and four that need longer than they are ever let
/// alone: these end, as they ride alone in the end.
fn two_hang_always(place: &Place) {
    let mut hang = json!({"task": "thread_hang", "args": [], "max_retries": null});
    hang["timeout"] = json!("100ms");
    hang["patience"] = json!("100ms");
    hang["backoff"] = json!("1ms");
    let mut lines = vec![hang.clone(), hang];
    lines.extend((0..4).map(|_| once("thread_sleep", json!([1.0]))));
    let jobs = submit(place, &lines);
    let mut supervisor = Supervisor::start(place, &["--groups", "1", "--threads", "8"]);
    for status in ended(place, &jobs[2..]) {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(attempts(&status), 1, "{status:#}");
    }
    for hang in &jobs[..2] {
        let again = |status: &Value| status["attempt"].as_u64() > Some(3);
        let status = place.status_when(hang, "run again and again", again);
        assert_eq!(status["attempts"][0]["cause"], "timeout", "{status:#}");
        let _ = place.run(&["revoke", hang]).succeeds();
        assert_eq!(place.ended(hang)["cause"], "revoked");
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_thread_that_hangs_is_ended_alone_on_sqlite() {
    one_hangs(&Place::new());
    two_hang_always(&Place::new());
}

#[test]
fn a_thread_that_hangs_is_ended_alone_on_redis() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    one_hangs(&place);
    two_hang_always(&place);
}

#[test]
fn a_thread_that_hangs_is_ended_alone_on_a_redis_cluster() {
    let cluster = RedisCluster::start();
    let place = Place::with_store(&cluster.url());
    one_hangs(&place);
    two_hang_always(&place);
}

#[test]
fn of_a_group_that_crashes_the_guilty_alone_is_charged() {
    let place = Place::new();
    let mut lines = vec![
        once("thread_crash", json!(["SEGV"])),
        once("thread_crash", json!(["ABRT"])),
    ];
    lines.extend((0..4).map(|_| once("thread_sleep", json!([0.4]))));
    let statuses = burst(&place, &[], &lines);
    for (status, signal) in statuses.iter().zip(["SIGSEGV", "SIGABRT"]) {
        assert_eq!(status["cause"], "crash", "{status:#}");
        assert_eq!(status["error"]["signal"], signal);
        assert_eq!(attempts(status), 1);
    }
    for status in &statuses[2..] {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(attempts(status), 1);
    }
}

#[test]
fn a_panic_in_a_thread_and_a_late_future_harm_nobody() {
    let place = Place::new();
    let mut lines = vec![
        once("thread_panic", json!(["boom"])),
        with(once("nap_async", json!([3600])), "timeout", "200ms"),
    ];
    lines.extend((0..40).map(|_| once("nap_async", json!([0.5]))));
    lines.extend((0..7).map(|_| once("thread_sleep", json!([0.5]))));
    lines.push(once("main_thread", json!([])));
    let statuses = burst(&place, &[], &lines);
    assert_eq!(statuses[0]["error"]["name"], "panic", "{:#}", statuses[0]);
    assert_eq!(statuses[1]["cause"], "timeout", "{:#}", statuses[1]);
    let pid = &statuses[2]["pid"];
    for status in &statuses[2..] {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(attempts(status), 1);
        assert_eq!(status["pid"], *pid, "all in one process");
    }
}

#[test]
fn a_future_that_blocks_its_runtime_is_ended_like_a_hung_thread() {
    let place = Place::new();
    let block = with(once("block_async", json!([])), "timeout", "300ms");
    let lines = [
        with(block, "patience", "100ms"),
        once("nap_async", json!([0.2])),
    ];
    let statuses = burst(&place, &[], &lines);
    assert_eq!(statuses[0]["cause"], "timeout", "{:#}", statuses[0]);
    assert_eq!(statuses[1]["status"], "SUCCEEDED", "{:#}", statuses[1]);
}

#[test]
fn a_message_may_ask_for_a_process_and_for_nothing_else() {
    let place = Place::new();
    let lines = [
        with(once("thread_sleep", json!([0])), "mechanism", "process"),
        with(once("thread_sleep", json!([0])), "mechanism", "async"),
        with(once("sleep", json!([0])), "mechanism", "thread"),
        with(once("thread_sleep", json!([0])), "memory", "64MiB"),
    ];
    let statuses = burst(&place, &[], &lines);
    assert_eq!(
        statuses[0]["usage"]["source"], "waitid",
        "{:#}",
        statuses[0]
    );
    for status in &statuses[1..] {
        assert_eq!(status["error"]["name"], "mechanism", "{status:#}");
        assert_eq!(status["started_at"], Value::Null);
    }
}

#[test]
fn a_full_group_is_drained_revoked_and_survives_the_death_of_its_supervisor() {
    let place = Place::new();
    let lines: Vec<_> = (0..8)
        .map(|_| once("thread_sleep", json!([3600])))
        .collect();
    let jobs = submit(&place, &lines);
    let mut first = Supervisor::start(&place, &["--threads", "8"]);
    for job in &jobs {
        let _ = place.running(job);
    }
    first.kill();
    first.leaves_nothing();
    let mut second = Supervisor::start(&place, &["--threads", "8"]);
    for job in &jobs {
        second.wait_for("a job's next attempt", |place| {
            let status = place.status(job);
            (status["status"] == "RUNNING" && status["attempt"] == 2).then_some(())
        });
    }
    let (one, rest) = jobs.split_first().unwrap();
    let _ = place.run(&["revoke", one]).succeeds();
    assert_eq!(place.ended(one)["cause"], "revoked");
    // The others were not harmed; now they are given back, without another attempt.
    assert_eq!(place.status(&rest[0])["status"], "RUNNING");
    second.term();
    second.says("draining");
    second.term();
    assert_eq!(second.code(), 7, "{}", second.log());
    for job in rest {
        let status = place.status(job);
        assert_eq!(status["status"], "RETRYING", "{status:#}");
        assert_eq!(attempts(&status), 1, "{status:#}");
    }
}
