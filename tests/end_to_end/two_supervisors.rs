//! Several supervisors on one store.

use std::fs;

use bulkhead_tests::cli::Place;
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
fn a_job_behind_an_endless_one_starts_on_the_idle_supervisor() {
    let place = Place::new();
    let held = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let mut busy = start(&place, &[]);
    let _ = place.running(&held);
    let mut idle = start(&place, &[]);
    let behind: Vec<_> = (0..5).map(|_| once("flaky", json!([0]))).collect();
    let jobs = submit(&place, &behind);
    for status in ended(&place, &jobs) {
        assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    }
    assert_eq!(place.status(&held)["status"], "RUNNING");
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(Verdict::of(&place.ended(&held)), Verdict::succeeded());
    assert_eq!((busy.stop(), idle.stop()), (0, 0));
}

#[test]
fn a_fleet_is_seen_at_work_and_is_gone_when_it_has_drained() {
    let place = Place::new();
    let held = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let mut supervisor = start(&place, &["--queues", "default,mail"]);
    let _ = place.running(&held);
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    let member = &fleet[0];
    assert_eq!((&member["slots"], &member["held"]), (&json!(1), &json!(1)));
    assert_eq!(member["alive"], json!(true));
    assert_eq!(member["queues"], json!(["default", "mail"]));
    assert!(member["version"].is_string() && member["started_at"].is_string());
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(Verdict::of(&place.ended(&held)), Verdict::succeeded());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    assert_eq!(fleet, json!([]));
}

#[test]
fn jobs_of_a_supervisor_that_drains_are_left_to_the_other() {
    let place = Place::new();
    let held = submit(&place, &[once("hold", json!([place.path("go")]))]).remove(0);
    let mut first = start(&place, &[]);
    let _ = place.running(&held);
    first.term();
    first.says("draining");
    let next = submit(&place, &[once("flaky", json!([0]))]).remove(0);
    let mut second = start(&place, &[]);
    assert_eq!(place.returned(&next), json!(1));
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(first.code(), 0, "{}", first.log());
    assert_eq!(Verdict::of(&place.ended(&held)), Verdict::succeeded());
    assert_eq!(second.stop(), 0, "{}", second.log());
}

#[test]
fn every_job_of_many_runs_once() {
    let place = Place::new();
    let lines: Vec<_> = (0..100).map(|_| once("flaky", json!([0]))).collect();
    let jobs = submit(&place, &lines);
    let mut both = [start(&place, &["--burst"]), start(&place, &["--burst"])];
    for supervisor in &mut both {
        assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    }
    for status in crate::parts::statuses(&place, &jobs) {
        assert_eq!(
            (&status["status"], &status["attempt"]),
            (&json!("SUCCEEDED"), &json!(1)),
            "{status:#}"
        );
    }
}

#[test]
fn each_serves_the_tasks_it_knows() {
    let place = Place::new();
    let jobs = submit(
        &place,
        &[once("add", json!([2, 3])), once("who_am_i", json!([]))],
    );
    let mut hostile = start(&place, &[]);
    let mut demo = Supervisor::start(&place, &["--processes", "1"]);
    for status in ended(&place, &jobs) {
        assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    }
    assert_eq!((hostile.stop(), demo.stop()), (0, 0));
}
