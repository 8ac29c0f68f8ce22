//! Deadlines, patience, revocation and the ends of a job's life.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, burst, once, place_of, statuses, submit, with};

fn hostile<'a>(place: &'a Place, arguments: &[&str]) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(arguments)
        .start()
}

#[test]
fn a_timeout_ends_with_the_signal_that_it_took() {
    let place = Place::new();
    let timeout = |task, args| with(once(task, args), "timeout", "200ms");
    let lines = [
        timeout("hang", json!([])),
        timeout("spin", json!([])),
        timeout("sleep", json!([3600])),
    ];
    let arguments = ["--processes", "3", "--patience", "200ms"];
    let statuses = burst(&place, &arguments, &lines);
    let timed_out = || Verdict::failed("timeout", "timeout");
    let killed = timed_out().by_signal("SIGKILL");
    assert_eq!(Verdict::of(&statuses[0]), killed);
    assert_eq!(Verdict::of(&statuses[1]), killed);
    // It gave way by itself, with an error that comes too late to matter.
    assert_eq!(
        Verdict::of(&statuses[2]),
        timed_out().with_code(0),
        "{:#}",
        statuses[2]
    );
    let text = &statuses[0]["error"]["text"];
    assert_eq!(*text, json!("ran longer than its timeout of 200ms"));
    assert!(statuses[1]["usage"]["cpu_user_ms"].as_i64().unwrap() > 0);
}

#[test]
fn a_task_that_returns_after_its_deadline_and_before_the_kill_succeeds() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let line = with(once("late", json!([])), "timeout", "200ms");
        let job = submit(&place, &[line]).remove(0);
        let mut supervisor = hostile(&place, &["--patience", "30s"]);
        assert_eq!(place.returned(&job), json!("late"));
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn a_task_has_the_patience_of_its_registration() {
    let place = Place::new();
    let job = place.submit(&["patient"]);
    // With the supervisor's patience it would go on for an hour.
    let mut supervisor = hostile(&place, &["--patience", "1h", "--processes", "1"]);
    let status = place.ended(&job);
    assert_eq!(status["cause"], "timeout", "{status:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

fn revoked() -> Verdict {
    Verdict::failed("revoked", "revoked")
}

#[test]
fn a_waiting_job_that_is_revoked_never_runs() {
    let place = Place::new();
    let job = submit(&place, &[once("add", json!([2, 3]))]).remove(0);
    let _ = place.run(&["revoke", &job]).succeeds();
    let other = place.submit(&["add", "--args", "[2, 3]"]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    assert_eq!(place.returned(&other), json!(5));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let status = place.status(&job);
    assert_eq!(
        (&status["status"], &status["cause"]),
        (&json!("FAILED"), &json!("revoked"))
    );
    assert_eq!(status["started_at"], Value::Null);
}

/// Revokes a job that runs; it ends although it does not want to.
fn revoke_running(who: Who, task: &str, args: Value) {
    let place = place_of(who);
    let job = submit(&place, &[once(task, args)]).remove(0);
    let mut supervisor = hostile(&place, &["--processes", "1", "--patience", "200ms"]);
    let _ = place.running(&job);
    let _ = place.run(&["revoke", &job]).succeeds();
    let status = place.ended(&job);
    assert_eq!(status["cause"], "revoked", "{status:#}");
    // Its place is free again.
    let next = place.submit(&["flaky", "--args", "[0]"]);
    assert_eq!(place.returned(&next), json!(1));
    assert_eq!(
        Verdict::of(&place.status(&job)),
        revoked(),
        "{:#}",
        place.status(&job)
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn a_running_job_that_is_revoked_ends() {
    revoke_running(Who::Root, "late", json!([]));
}

#[test]
fn a_revoked_job_that_ignores_sigterm_is_killed() {
    for who in [Who::Root, Who::User] {
        revoke_running(who, "block_signals", json!([]));
    }
}

#[test]
fn a_revoked_job_that_has_stopped_itself_is_killed() {
    for who in [Who::Root, Who::User] {
        revoke_running(who, "stop_itself", json!([true]));
    }
}

#[test]
fn a_job_expires_also_while_it_waits_or_runs() {
    let place = Place::new();
    let waits = with(once("add", json!([1, 1])), "expires", "1ms");
    let runs = with(once("hang", json!([])), "expires", "1s");
    let jobs = submit(&place, &[waits, runs]);
    let arguments = ["--processes", "1", "--patience", "200ms"];
    let mut supervisor = Supervisor::start(&place, &arguments);
    for job in &jobs {
        let status = place.ended(job);
        assert_eq!(
            status["cause"],
            "expired",
            "{status:#}\n{}",
            supervisor.log()
        );
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let statuses = statuses(&place, &jobs);
    assert_eq!(statuses[0]["started_at"], Value::Null);
    assert_eq!(
        statuses[1]["error"]["signal"], "SIGKILL",
        "{:#}",
        statuses[1]
    );
}

#[test]
fn a_job_that_waits_longer_than_its_ttl_expires() {
    let place = Place::new();
    let line = with(once("add", json!([1, 1])), "ttl", "1ms");
    let job = submit(&place, &[line]).remove(0);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    let status = place.ended(&job);
    assert_eq!(
        Verdict::of(&status),
        Verdict::failed("expired", "expired"),
        "{status:#}"
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_whose_task_nobody_knows_ends_so() {
    let place = Place::new();
    let job = submit(&place, &[once("no_such_task", json!([]))]).remove(0);
    let mut supervisor = Supervisor::start(&place, &["--unknown-after", "100ms"]);
    let status = place.ended(&job);
    let expected = Verdict::failed("unknown-task", "unknown-task");
    assert_eq!(Verdict::of(&status), expected, "{status:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_whose_task_nobody_knows_yet_waits_if_it_is_told_to() {
    let place = Place::new();
    let job = submit(&place, &[once("burn", json!([0, 0]))]).remove(0);
    let mut first = Supervisor::start(&place, &["--unknown-after", "never"]);
    first.says("serving");
    // The store has been looked through for overdue jobs when a later job has ended.
    let other = place.submit(&["add", "--args", "[2, 3]"]);
    assert_eq!(place.returned(&other), json!(5));
    assert_eq!(place.status(&job)["status"], "SUBMITTED");
    assert_eq!(first.stop(), 0, "{}", first.log());
    let mut second = hostile(&place, &[]);
    assert_eq!(place.returned(&job), json!(0));
    assert_eq!(second.stop(), 0, "{}", second.log());
}
