//! Hooks that are jobs of their own, and what a task declines.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

fn start(place: &Place) -> Supervisor<'_> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "2"])
        .start()
}

/// Submits a job that does `how`.
fn submit(place: &Place, how: &str, more: &[&str]) -> String {
    let args = json!([how]).to_string();
    let mut arguments = vec!["hooked", "--args", &args];
    arguments.extend(more);
    place.submit(&arguments)
}

/// The hooks that have ended for a job, in the order of their submission, and what each was told.
fn hooks(place: &Place, job: &str) -> Vec<(String, Value)> {
    let listed = place.run(&["jobs", "--json", "--limit", "100"]).succeeds();
    let listed = listed.json().as_array().unwrap().clone();
    let ended = |one: &Value| !one["hook"].is_null() && one["status"] == "SUCCEEDED";
    let told = |one: &Value| {
        let said = one["output"]["stdout"].as_str().unwrap();
        let told: Value = serde_json::from_str(said).unwrap();
        (one["hook"].as_str().unwrap().to_owned(), told)
    };
    let hooks = listed.iter().rev().filter(|one| ended(one)).map(told);
    hooks.filter(|(_, told)| told["uuid"] == job).collect()
}

/// Waits for as many hooks and returns what each was told.
fn told(place: &Place, job: &str, kinds: &[&str]) -> Vec<Value> {
    let found = until("the hooks", PATIENCE, || {
        let found = hooks(place, job);
        (found.len() >= kinds.len()).then_some(found)
    });
    let (names, told): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    assert_eq!(names, kinds);
    told
}

fn each_end_is_told_once(place: &Place) {
    let fine = submit(place, "fine", &[]);
    let fails = submit(place, "fail", &[]);
    let for_good = submit(place, "for good", &[]);
    let crashes = submit(place, "crash", &[]);
    let late = submit(place, "hang", &["--timeout", "50ms", "--max-retries", "0"]);
    let revoked = submit(place, "hang", &[]);
    let mut supervisor = start(place);
    let _ = place.running(&revoked);
    let _ = place.run(&["revoke", &revoked]).succeeds();

    let told_of = told(place, &fine, &["on_success"]);
    assert_eq!(
        (&told_of[0]["result"], &told_of[0]["attempt"]),
        (&json!("fine"), &json!(1))
    );
    let told_of = told(place, &fails, &["on_retry", "on_failure"]);
    assert_eq!(
        (&told_of[0]["attempt"], &told_of[1]["attempt"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(told_of[1]["error"]["text"], "fail");
    let told_of = told(place, &for_good, &["on_failure"]);
    assert_eq!(told_of[0]["attempt"], 1, "the task declined another");
    let told_of = told(place, &crashes, &["on_retry", "on_failure"]);
    assert_eq!(told_of[1]["error"]["signal"], "SIGABRT");
    let told_of = told(place, &late, &["on_failure"]);
    assert_eq!(told_of[0]["cause"], "timeout");
    let told_of = told(place, &revoked, &["on_revocation"]);
    assert_eq!(told_of[0]["uuid"], *revoked);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());

    // A job that waits ends without a supervisor; its hook waits for one.
    let waiting = submit(place, "fine", &["--delay", "1h"]);
    let _ = place.run(&["revoke", &waiting]).succeeds();
    let mut supervisor = start(place);
    let told_of = told(place, &waiting, &["on_revocation"]);
    assert_eq!(told_of[0]["attempt"], 0);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn each_end_is_told_once_on_sqlite() {
    each_end_is_told_once(&Place::new());
}

#[test]
fn each_end_is_told_once_on_redis() {
    let server = bulkhead_tests::redis_server::RedisServer::start(&[]);
    each_end_is_told_once(&Place::with_store(&server.url()));
}

#[test]
fn a_hook_that_fails_changes_no_verdict_and_is_no_dead_letter() {
    let place = Place::new();
    let mut supervisor = start(&place);
    let job = submit(&place, "fine", &["--metadata", r#"{"hooks": "fail"}"#]);
    assert_eq!(place.returned(&job), json!("fine"));
    let hook = until("the hook to fail", PATIENCE, || {
        let listed = place.run(&["jobs", "--json"]).succeeds().json();
        let mut hooks = listed.as_array().unwrap().iter();
        let hook = hooks.find(|one| !one["hook"].is_null())?;
        (hook["status"] == "FAILED").then(|| hook.clone())
    });
    assert_eq!(
        (&hook["attempt"], &hook["hook"]),
        (&json!(3), &json!("on_success"))
    );
    assert_eq!(place.status(&job)["status"], "SUCCEEDED");
    let _ = place.run(&["dlq", "ls", "--json"]).succeeds();
    assert_eq!(
        place.run(&["dlq", "ls", "--json"]).succeeds().json(),
        json!([])
    );
    assert!(supervisor.log().contains("a hook failed for good"));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_task_declines_its_callback() {
    let place = Place::new();
    let line = |how: &str| {
        json!({"task": "hooked", "args": [how],
            "callback": {"task": "flaky", "args": [0]}})
    };
    let jobs = crate::parts::submit(&place, &[line("quiet"), line("loud")]);
    let mut supervisor = start(&place);
    for job in &jobs {
        let _ = place.ended(job);
    }
    let flaky = until("a callback", PATIENCE, || {
        let listed = place.run(&["jobs", "--json", "--task", "flaky"]).succeeds();
        let listed = listed.json().as_array().unwrap().clone();
        (!listed.is_empty()).then_some(listed)
    });
    assert_eq!(flaky.len(), 1);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
