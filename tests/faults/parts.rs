//! What the tests of this program share.

use std::fs;
use std::path::Path;

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

/// What a supervisor says when its store is away, ...
pub(crate) const AWAY: &str = "the store is away; trying again";

/// ... and when it is there again.
pub(crate) const BACK: &str = "the store is back";

/// A server that forgets nothing it has answered.
pub(crate) fn lasting(dir: &Path) -> RedisServer {
    RedisServer::start(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--dir",
        dir.to_str().unwrap(),
    ])
}

/// A supervisor of the tasks that wait for files.
pub(crate) fn start<'a>(place: &'a Place, arguments: &[&str]) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "2"])
        .args(arguments)
        .start()
}

/// Submits a job that runs until its file is there.
pub(crate) fn hold(place: &Place, file: &str) -> String {
    let path = json!([place.path(file)]).to_string();
    place.submit(&["hold", "--args", &path, "--max-retries", "0"])
}

/// Lets the jobs go that wait for a file.
pub(crate) fn release(place: &Place, file: &str) {
    fs::write(place.path(file), "").unwrap();
}

/// Submits a job that is done at once.
pub(crate) fn quick(place: &Place) -> String {
    place.submit(&["flaky", "--args", "[0]", "--max-retries", "0"])
}

/// Waits for the end of a job that must succeed at its first attempt.
pub(crate) fn succeeds_at_once(place: &Place, job: &str) {
    let status = place.ended(job);
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    assert_eq!(attempts(&status), 1, "{status:#}");
}

/// How many attempts a job took.
pub(crate) fn attempts(status: &Value) -> usize {
    status["attempts"].as_array().map_or(0, Vec::len)
}

/// How often a supervisor has said something.
pub(crate) fn times(supervisor: &Supervisor<'_>, words: &str) -> usize {
    supervisor.log().matches(words).count()
}

/// It has said little: whoever tries again for ever must neither spin nor fill a disk.
pub(crate) fn was_brief(supervisor: &Supervisor<'_>) {
    let log = supervisor.log();
    assert!(log.lines().count() < 60, "{log}");
}
