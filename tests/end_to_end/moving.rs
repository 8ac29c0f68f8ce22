//! Jobs that move to another store while supervisors serve it.

use std::fs;

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

use crate::parts::{once, submit};

#[test]
fn jobs_of_a_supervisor_that_was_killed_move_to_a_store_that_is_served_and_run_there() {
    let place = Place::new();
    let mut lines = vec![once("hold", json!([place.path("go")]))];
    lines.extend((0..60).map(|_| once("flaky", json!([0]))));
    let jobs = submit(&place, &lines);
    let mut first = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--processes", "1"])
        .start();
    let _ = place.running(&jobs[0]);
    first.kill();
    let to = format!("sqlite:{}", place.path("target.db").display());
    let mut second = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .env("BULKHEAD_STORE", &to)
        .start();
    second.says("serving");
    fs::write(place.path("go"), "").unwrap();
    let mut command = place.command(&["migrate", "--json", "--from", &place.url(), "--to", &to]);
    command.env_remove("BULKHEAD_STORE");
    let report = bulkhead_tests::cli::Ran::of(command).succeeds().json();
    let moved = &report["moved"];
    let all = moved["ready"].as_u64().unwrap() + moved["delayed"].as_u64().unwrap();
    assert_eq!(all, 61, "{report}");
    for job in &jobs {
        let waited = ["--store", &to, "result", job, "--wait-timeout", "50s"];
        let _ = place.run(&waited).succeeds();
        let status = place.run(&["--store", &to, "status", job, "--json"]);
        let attempt = if *job == jobs[0] { 2 } else { 1 };
        assert_eq!(status.succeeds().json()["attempt"], attempt);
    }
    assert_eq!(second.stop(), 0, "{}", second.log());
}
