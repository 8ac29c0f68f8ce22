//! The same on a Redis server: what tasks do, who wakes, who rescues.

use std::fs;

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

use crate::parts::{Verdict, ended, once, submit};

fn start<'a>(place: &'a Place, arguments: &[&str]) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "1"])
        .args(arguments)
        .start()
}

#[test]
fn tasks_return_crash_and_meet_their_deadlines_on_a_redis_server() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let mut supervisor = Supervisor::start(&place, &["--processes", "2"]);
    let sum = place.submit(&["add", "--args", "[2, 3]"]);
    assert_eq!(place.returned(&sum), json!(5));
    let crash = place.submit(&["crash", "--args", "[\"SEGV\"]", "--max-retries", "0"]);
    let status = place.ended(&crash);
    assert_eq!(
        (&status["status"], &status["cause"]),
        (&json!("FAILED"), &json!("crash"))
    );
    let late = [
        "sleep",
        "--args",
        "[60]",
        "--timeout",
        "200ms",
        "--max-retries",
        "0",
    ];
    let status = place.ended(&place.submit(&late));
    assert_eq!(
        (&status["status"], &status["cause"]),
        (&json!("FAILED"), &json!("timeout"))
    );
    let endless = place.submit(&["sleep", "--args", "[60]", "--timeout", "5m"]);
    let running = place.running(&endless);
    assert!(!running["host"].is_null(), "{running:#}");
    let _ = place.run(&["revoke", &endless]).succeeds();
    let status = place.ended(&endless);
    assert_eq!(
        (&status["status"], &status["cause"]),
        (&json!("FAILED"), &json!("revoked"))
    );
    assert_eq!(place.run(&["dlq", "ls"]).succeeds().lines().len(), 3);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_behind_an_endless_one_starts_on_the_idle_supervisor_of_a_redis_server() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let held = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let mut busy = start(&place, &[]);
    let _ = place.running(&held);
    let mut idle = start(&place, &[]);
    let behind: Vec<_> = (0..5).map(|_| once("flaky", json!([0]))).collect();
    for status in ended(&place, &submit(&place, &behind)) {
        assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    }
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(Verdict::of(&place.ended(&held)), Verdict::succeeded());
    assert_eq!((busy.stop(), idle.stop()), (0, 0));
}

#[test]
fn the_job_of_a_killed_supervisor_is_rescued_when_its_lease_ends_on_a_redis_server() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let held = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let mut first = start(&place, &["--lease", "2s"]);
    let _ = place.running(&held);
    first.kill();
    first.leaves_nothing();
    fs::write(place.path("go"), "").unwrap();
    let mut second = start(&place, &["--lease", "2s"]);
    let status = place.ended(&held);
    assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    assert_eq!(status["attempts"][0]["cause"], "lost", "{status:#}");
    assert_eq!(second.stop(), 0, "{}", second.log());
}
