//! How a supervisor stops.

use std::fs;
use std::os::fd::OwnedFd;

use bulkhead_tests::cli::Place;
use bulkhead_tests::namespace::can_make_namespaces;
use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

use crate::parts::{Verdict, Who, once, place_of, submit};

/// A supervisor that runs a job which waits for the file `go`, and the job.
fn holding<'a>(place: &'a Place, arguments: &[&str]) -> (Supervisor<'a>, String) {
    let job = submit(place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let supervisor = Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "1", "--patience", "200ms"])
        .args(arguments)
        .start();
    let _ = place.running(&job);
    (supervisor, job)
}

/// The drain of one that runs `job`: the job ends well, the next one waits.
fn drains(place: &Place, mut supervisor: Supervisor<'_>, job: &str) {
    supervisor.term();
    supervisor.says("draining");
    let next = submit(place, &[once("flaky", json!([0]))]).remove(0);
    assert_eq!(place.status(job)["status"], "RUNNING");
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let status = place.status(job);
    assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    assert_eq!(place.status(&next)["status"], "SUBMITTED");
}

#[test]
fn on_sigterm_running_tasks_finish_and_nothing_new_is_started() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let (supervisor, job) = holding(&place, &[]);
        drains(&place, supervisor, &job);
    }
}

#[test]
fn as_pid_1_of_a_container_it_drains_on_sigterm() {
    for who in [Who::Root, Who::User] {
        if !can_make_namespaces() {
            return;
        }
        let place = place_of(who);
        let job = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
        let supervisor = Supervisor::at(&place)
            .tasks_of("hostile-child")
            .args(["--processes", "1"])
            .as_pid_1()
            .start();
        let status = place.running(&job);
        assert_ne!(status["pid"], 1, "{status:#}");
        drains(&place, supervisor, &job);
    }
}

#[test]
fn a_second_sigterm_gives_running_jobs_back_uncounted() {
    let place = Place::new();
    let (mut first, job) = holding(&place, &[]);
    first.term();
    first.says("draining");
    first.term();
    assert_eq!(first.code(), 7, "{}", first.log());
    first.leaves_nothing();
    let status = place.status(&job);
    assert_eq!(
        (&status["status"], &status["attempt"]),
        (&json!("SUBMITTED"), &json!(0)),
        "{status:#}"
    );
    fs::write(place.path("go"), "").unwrap();
    let mut second = Supervisor::at(&place).tasks_of("hostile-child").start();
    let status = place.ended(&job);
    assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    assert_eq!(status["attempt"], 1, "{status:#}");
    assert_eq!(second.stop(), 0, "{}", second.log());
}

#[test]
fn when_the_grace_is_over_running_jobs_are_given_back() {
    let place = Place::new();
    let (mut supervisor, job) = holding(&place, &["--grace", "100ms"]);
    assert_eq!(supervisor.stop(), 7, "{}", supervisor.log());
    assert_eq!(place.status(&job)["status"], "SUBMITTED");
}

#[test]
fn a_job_that_is_given_back_keeps_its_place() {
    let place = Place::new();
    let (mut first, job) = holding(&place, &["--grace", "100ms"]);
    let later = submit(
        &place,
        &[once("who_am_i", json!([])), once("who_am_i", json!([]))],
    );
    assert_eq!(first.stop(), 7, "{}", first.log());
    fs::write(place.path("go"), "").unwrap();
    let mut second = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--processes", "1", "--burst"])
        .start();
    assert_eq!(second.code(), 0, "{}", second.log());
    let started = |job: &str| place.status(job)["started_at"].as_str().unwrap().to_owned();
    assert!(started(&job) <= started(&later[0]));
    assert!(started(&later[0]) <= started(&later[1]));
}

#[test]
fn a_burst_waits_for_retries_and_delayed_jobs_too() {
    let place = Place::new();
    let retried = place.submit(&["flaky", "--args", "[2]"]);
    let delayed = place.submit(&["flaky", "--args", "[0]", "--delay", "300ms"]);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--burst"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    for job in [&retried, &delayed] {
        assert_eq!(place.status(job)["status"], "SUCCEEDED");
    }
}

#[test]
fn a_burst_with_nothing_to_do_ends() {
    let place = Place::new();
    let mut supervisor = Supervisor::start(&place, &["--burst"]);
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
}

#[test]
fn a_burst_for_a_task_that_nobody_has_ends() {
    let place = Place::new();
    let mut supervisor = Supervisor::start(&place, &["--burst", "--tasks", "nosuch"]);
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    assert!(supervisor.log().contains("no such task"));
}

#[test]
fn a_burst_that_serves_nothing_ends_a_job_whose_task_nobody_knows() {
    let place = Place::new();
    let job = place.submit(&["no_such_task"]);
    let arguments = ["--burst", "--tasks", "nosuch", "--unknown-after", "100ms"];
    let mut supervisor = Supervisor::start(&place, &arguments);
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    let expected = Verdict::failed("unknown-task", "unknown-task");
    assert_eq!(Verdict::of(&place.status(&job)), expected);
}

#[test]
fn an_idle_supervisor_stops_at_once_and_leaves_nothing() {
    let place = Place::new();
    let mut supervisor = Supervisor::start(&place, &["--processes", "4"]);
    supervisor.says("serving");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn a_supervisor_whose_stderr_nobody_reads_works_on() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut supervisor = Supervisor::at(&place)
        .args(["--processes", "1", "--log-level", "trace"])
        .stderr(OwnedFd::from(writer))
        .start();
    drop(reader);
    for _ in 0..3 {
        let job = place.submit(&["add", "--args", "[2, 3]"]);
        assert_eq!(place.returned(&job), json!(5));
    }
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_store_that_is_removed_is_said_and_not_asked_without_end() {
    let place = Place::new();
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    supervisor.says("serving");
    fs::remove_file(place.store()).unwrap();
    supervisor.says("ERROR");
    let code = supervisor.stop();
    let log = supervisor.log();
    assert!([0, 7].contains(&code), "{code}: {log}");
    assert!(log.lines().count() < 100, "{log}");
}
