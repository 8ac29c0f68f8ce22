//! Tasks in another language: the child in child/examples/python.

use std::path::{Path, PathBuf};

use bulkhead_tests::cli::{Place, program};
use bulkhead_tests::supervise::{Supervisor, copy};
use serde_json::json;

use crate::parts::{Verdict, Who, once, place_of, statuses, submit, with};

/// The child in Python, where `place`'s owner can reach it.
pub(crate) fn script(place: &Place) -> PathBuf {
    let script = place.path("tasks.py");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../child/examples/python/tasks.py");
    copy(&own, &script);
    script
}

fn works(who: Who, arguments: &[&str]) {
    let place = place_of(who);
    let script = script(&place);
    // An ordinary user's supervisor is a copy in this place, and looks beside itself.
    copy(&program("launcher"), &place.path("launcher"));
    // What it is told of this is cut, and not between two characters.
    let long = "\u{2665}".repeat(30_000);
    let lines = [
        once("py.add", json!([2, 3])),
        with(once("py.count", json!([3])), "queue", "python"),
        with(once("py.wait", json!([600])), "timeout", "300ms"),
        once("py.give_up", json!([])),
        once("py.add", json!([1])),
        json!({"task": "py.add", "kwargs": {"a": "x", "b": 1}, "max_retries": 0}),
        json!({"task": "py.add", "kwargs": {long: 1}, "max_retries": 0}),
    ];
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place)
        .child(&script)
        .args(["--spawn", "launch", "--burst", "--processes", "2"])
        .args(arguments)
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    let found = statuses(&place, &jobs);
    assert_eq!(place.returned(&jobs[0]), 5);
    assert_eq!(place.returned(&jobs[1]), 3);
    assert_eq!(found[2]["cause"], "timeout", "{:#}", found[2]);
    let verdicts: Vec<_> = found[3..].iter().map(Verdict::of).collect();
    let expected = ["hopeless", "arguments", "TypeError", "arguments"];
    assert_eq!(
        verdicts,
        expected.map(|name| Verdict::failed("error", name))
    );
    let trace = found[5]["error"]["traceback"].as_str().unwrap();
    assert!(trace.contains("in add"), "{trace}");
}

#[test]
fn tasks_in_python_run_like_all_others() {
    works(Who::Root, &[]);
}

#[test]
fn tasks_in_python_run_for_an_ordinary_user() {
    works(Who::User, &[]);
}

#[test]
fn tasks_in_python_share_a_process() {
    works(Who::Root, &["--tasks-per-process", "0"]);
}

#[test]
fn a_task_in_python_tells_how_far_it_is() {
    let place = Place::new();
    let script = script(&place);
    let mut supervisor = Supervisor::at(&place)
        .child(&script)
        .args(["--spawn", "launch"])
        .start();
    let job = place.submit(&["py.wait", "--args", "[600]"]);
    let has_progress = |status: &serde_json::Value| !status["progress"].is_null();
    let status = place.status_when(&job, "progress", has_progress);
    assert_eq!(status["progress"], json!({"seconds": 600}));
    let _ = place.run(&["revoke", &job]).succeeds();
    assert_eq!(place.ended(&job)["cause"], "revoked");
    assert_eq!(supervisor.stop(), 0);
}
