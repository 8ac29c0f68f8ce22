//! Tasks that ask for locks through their pipes.

use bulkhead_shared::client::Client;
use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{ended, once, submit, with};

const GROUP: [&str; 4] = ["--groups", "1", "--processes", "4"];

fn locks(place: &Place) -> Vec<Value> {
    let listed = place.run(&["lock", "ls", "--json"]).succeeds().json();
    listed.as_array().unwrap().clone()
}

fn held(place: &Place, name: &str) -> Value {
    until("the lock to be held", PATIENCE, || {
        locks(place).into_iter().find(|one| one["name"] == *name)
    })
}

/// Tasks of each kind, one lock: each has it once, and no two at a time.
fn one_after_the_other(place: &Place) {
    let kinds = ["locked", "thread_locked", "locked_async"];
    let lines: Vec<_> = (0..9)
        .map(|number| once(kinds[number % 3], json!(["till", 0.05])))
        .collect();
    let jobs = submit(place, &lines);
    let mut supervisor = Supervisor::start(place, &GROUP);
    let statuses = ended(place, &jobs);
    let mut fences: Vec<_> = Vec::new();
    for (job, status) in jobs.iter().zip(&statuses) {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        let result = place.run(&["result", job]).succeeds().json();
        fences.push(result.as_u64().unwrap());
    }
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), 9, "each under a fence of its own");
    assert_eq!(locks(place), Vec::<Value>::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn tasks_of_all_kinds_hold_a_lock_one_after_the_other_on_sqlite() {
    one_after_the_other(&Place::new());
}

#[test]
fn tasks_of_all_kinds_hold_a_lock_one_after_the_other_on_redis() {
    let server = RedisServer::start(&[]);
    one_after_the_other(&Place::with_store(&server.url()));
}

#[test]
fn the_lock_of_an_attempt_falls_with_it() {
    let place = Place::new();
    let holder = with(once("locked", json!(["till", 3600.0])), "timeout", "300ms");
    let jobs = submit(&place, &[holder]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "2"]);
    let lock = held(&place, "till");
    let owner = lock["owner"].as_str().unwrap();
    assert!(owner.starts_with(&format!("task:{}/", jobs[0])), "{owner}");
    let next = submit(&place, &[once("locked", json!(["till", 0.0]))]);
    assert_eq!(ended(&place, &jobs)[0]["cause"], "timeout");
    assert_eq!(ended(&place, &next)[0]["status"], "SUCCEEDED");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_task_that_waits_for_a_lock_can_be_revoked_and_drained() {
    let place = Place::new();
    let holder = submit(&place, &[once("locked", json!(["till", 3600.0]))]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "3", "--grace", "100ms"]);
    let _ = held(&place, "till");
    let lines: Vec<_> = (0..2)
        .map(|_| once("locked", json!(["till", 0.0])))
        .collect();
    let waiting = submit(&place, &lines);
    for job in &waiting {
        let _ = place.running(job);
    }
    let _ = place.run(&["revoke", &waiting[0]]).succeeds();
    assert_eq!(ended(&place, &waiting[..1])[0]["cause"], "revoked");
    assert_eq!(supervisor.stop(), 7, "{}", supervisor.log());
    for job in [&holder[0], &waiting[1]] {
        let status = place.status(job);
        assert_eq!(status["attempt"], 0, "given back uncounted: {status:#}");
    }
    supervisor.leaves_nothing();
}

fn hostile(place: &Place) -> Supervisor<'_> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "3"])
        .start()
}

#[test]
fn many_threads_of_a_task_ask_at_once() {
    let place = Place::new();
    let jobs = submit(&place, &[once("crowd", json!([8, 25]))]);
    let mut supervisor = hostile(&place);
    let status = &ended(&place, &jobs)[0];
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    assert_eq!(place.run(&["result", &jobs[0]]).succeeds().json(), 200);
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn asks_that_make_no_sense_are_told_so() {
    let place = Place::new();
    let jobs = submit(&place, &[once("odd_asks", json!([]))]);
    let mut supervisor = hostile(&place);
    let status = &ended(&place, &jobs)[0];
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    let told = place.run(&["result", &jobs[0]]).succeeds().json();
    for text in told.as_array().unwrap() {
        let text = text.as_str().unwrap();
        assert!(text.contains("name") && text.len() < 1000, "{text}");
    }
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_flood_of_asks_is_denied_and_then_ended_and_hurts_nobody_else() {
    let place = Place::new();
    let lines = [
        once("flood_of_asks", json!([100_000, "till"])),
        once("ask_for_another", json!([])),
        // Denied from the seventeenth on, and not a flood yet.
        with(
            once("flood_of_asks", json!([1_500, "till"])),
            "timeout",
            "1s",
        ),
    ];
    let jobs = submit(&place, &lines);
    let mut supervisor = hostile(&place);
    let statuses = ended(&place, &jobs);
    let about = |status: &Value| {
        let error = &status["error"];
        (
            status["cause"].clone(),
            error["text"].as_str().unwrap().to_owned(),
        )
    };
    let (cause, text) = about(&statuses[0]);
    assert!(
        cause == "protocol" && text.contains("asked on and on"),
        "{text}"
    );
    let (cause, text) = about(&statuses[1]);
    assert!(
        cause == "protocol" && text.contains("not its own"),
        "{text}"
    );
    assert_eq!(statuses[2]["cause"], "timeout", "{:#}", statuses[2]);
    // Nothing of theirs is held any more.
    let next = submit(&place, &[once("crowd", json!([1, 1]))]);
    assert_eq!(ended(&place, &next)[0]["status"], "SUCCEEDED");
    assert_eq!(locks(&place), Vec::<Value>::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn who_goes_without_waiting_for_an_answer_leaves_no_waiter_behind() {
    let place = Place::new();
    let client = Client::open(&place.url()).unwrap();
    let guard = client.lock("till").acquire(PATIENCE).unwrap();
    let jobs = submit(&place, &[once("ask_and_go", json!(["till"]))]);
    let mut supervisor = hostile(&place);
    assert_eq!(ended(&place, &jobs)[0]["status"], "SUCCEEDED");
    guard.release().unwrap();
    let next = submit(&place, &[once("crowd", json!([1, 1]))]);
    assert_eq!(ended(&place, &next)[0]["status"], "SUCCEEDED");
    assert_eq!(locks(&place), Vec::<Value>::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
