//! Jobs that wait in the pipe of a process that is not there yet.

use std::fs;

use bulkhead_shared::pidfd::PidFd;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::children::zygote;
use crate::parts::{Verdict, once, submit, with};

/// A supervisor whose next process is asked for, and will not come before the zygote goes on.
fn waits_for_its_process(place: &Place) -> (Supervisor<'_>, PidFd) {
    let go = place.path("go");
    let held = submit(place, &[once("hold", json!([go]))]).remove(0);
    let supervisor = Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "1", "--log-level", "debug"])
        .args(["--patience", "100ms"])
        .start();
    let _ = place.running(&held);
    let stopped = PidFd::open(zygote(&supervisor)).unwrap();
    stopped.signal(libc::SIGSTOP).unwrap();
    fs::write(&go, "").unwrap();
    assert_eq!(Verdict::of(&place.ended(&held)), Verdict::succeeded());
    (supervisor, stopped)
}

fn claimed(place: &Place, job: Value) -> String {
    let job = submit(place, &[job]).remove(0);
    let _ = place.status_when(&job, "claimed", |status| status["status"] == "RUNNING");
    job
}

#[test]
fn jobs_wait_for_a_zygote_that_is_stopped() {
    let place = Place::new();
    let (mut supervisor, zygote) = waits_for_its_process(&place);
    let next = submit(
        &place,
        &[once("flaky", json!([0])), once("flaky", json!([0]))],
    );
    zygote.signal(libc::SIGCONT).unwrap();
    for job in &next {
        assert_eq!(place.returned(job), json!(1));
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

fn serves(place: &Place, mut supervisor: Supervisor<'_>) {
    let next = submit(place, &[once("flaky", json!([0]))]).remove(0);
    assert_eq!(place.returned(&next), json!(1));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_whose_process_never_comes_is_given_back_uncounted() {
    let place = Place::new();
    let (supervisor, zygote) = waits_for_its_process(&place);
    let job = claimed(&place, once("flaky", json!([0])));
    zygote.signal(libc::SIGKILL).unwrap();
    supervisor.says("a process that was counted on does not come");
    let status = place.ended(&job);
    assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    assert_eq!(status["attempt"], 1);
    serves(&place, supervisor);
}

#[test]
fn a_job_is_revoked_before_its_process_is_there() {
    let place = Place::new();
    let (supervisor, zygote) = waits_for_its_process(&place);
    let job = claimed(&place, once("hold", json!([place.path("never")])));
    let _ = place.run(&["revoke", &job]).succeeds();
    // Not begun, it needs nobody to end.
    let status = place.ended(&job);
    assert_eq!(status["cause"], "revoked", "{status:#}");
    supervisor.says("a process is given up before it is there");
    zygote.signal(libc::SIGCONT).unwrap();
    serves(&place, supervisor);
}

#[test]
fn a_deadline_does_not_wait_for_the_process() {
    let place = Place::new();
    let (supervisor, zygote) = waits_for_its_process(&place);
    let never = once("hold", json!([place.path("never")]));
    let job = claimed(&place, with(never, "timeout", "200ms"));
    let status = place.ended(&job);
    assert_eq!(status["cause"], "timeout", "{status:#}");
    assert_eq!(status["pid"], Value::Null);
    supervisor.says("a process is given up before it is there");
    zygote.signal(libc::SIGCONT).unwrap();
    serves(&place, supervisor);
}
