//! Durable calls of tasks that die, change or ask for what cannot be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{ended, submit};

/// The calls of a journey.
const CALLS: u32 = 8;

fn start(place: &Place) -> Supervisor<'_> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "4", "--task-user", "keep"])
        .start()
}

fn line(task: &str, args: Value) -> Value {
    json!({ "task": task, "args": args })
}

/// Every value that any run has seen, by call: there may be one of each.
fn seen(file: &Path) -> BTreeMap<u64, Value> {
    let mut seen = BTreeMap::new();
    for line in fs::read_to_string(file.with_extension("seen"))
        .unwrap()
        .lines()
    {
        let pair: (u64, Value) = serde_json::from_str(line).unwrap();
        let first = seen.entry(pair.0).or_insert_with(|| pair.1.clone());
        assert_eq!(*first, pair.1, "call {} changed its value", pair.0);
    }
    seen
}

fn journeys(place: &Place) {
    let mut deaths: Vec<_> = (1..=CALLS)
        .flat_map(|call| [(call, "before"), (call, "after")])
        .collect();
    deaths.push((0, "during"));
    let lines: Vec<_> = deaths
        .iter()
        .map(|(call, when)| {
            let file = place.path(&format!("{when}-{call}"));
            line("journey", json!([file, call, when]))
        })
        .collect();
    let jobs = submit(place, &lines);
    for job in &jobs {
        let sent = ["signal", job, "go", "--json", "7"];
        let _ = place.run(&sent).succeeds();
    }
    let mut supervisor = start(place);
    let statuses = ended(place, &jobs);
    for ((call, when), (job, status)) in deaths.iter().zip(jobs.iter().zip(&statuses)) {
        let what = format!("{when} call {call}: {status:#}");
        assert_eq!(status["status"], "SUCCEEDED", "{what}");
        assert_eq!(status["attempts"].as_array().unwrap().len(), 2, "{what}");
        let file = place.path(&format!("{when}-{call}"));
        let seen = seen(&file);
        assert_eq!(seen.len(), CALLS as usize, "{what}");
        let result = place.run(&["result", job]).succeeds().json();
        assert_eq!(result.as_array().unwrap().len(), 7, "{what}");
        assert_eq!(result[6], 7, "{what}");
        assert!(result[0].as_u64().unwrap() > 0, "{what}");
        // No step that returned was run again; the others died in none.
        let effects = fs::read_to_string(&file).unwrap();
        let mut effects: Vec<_> = effects.lines().collect();
        effects.sort_unstable();
        assert_eq!(effects, ["beside", "inner", "one", "outer"], "{what}");
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn a_death_before_during_or_after_a_durable_call_changes_no_value_on_sqlite() {
    journeys(&Place::new());
}

#[test]
fn a_death_before_during_or_after_a_durable_call_changes_no_value_on_redis() {
    let server = RedisServer::start(&[]);
    journeys(&Place::with_store(&server.url()));
}

#[test]
fn a_task_whose_calls_have_changed_is_told_both() {
    let place = Place::new();
    let jobs = submit(&place, &[line("wander", json!([]))]);
    let mut supervisor = start(&place);
    let status = &ended(&place, &jobs)[0];
    let text = status["error"]["text"].as_str().unwrap();
    let names_both = text.contains("`1` is sleep") && text.contains("was step `first`");
    assert!(names_both, "{text}");
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_step_is_tried_again_by_its_own_rule_and_told_which_try_it_is() {
    let place = Place::new();
    let jobs = submit(
        &place,
        &[line("stubborn", json!([3])), line("stubborn", json!([0]))],
    );
    let mut supervisor = start(&place);
    for (job, tries) in jobs.iter().zip([4, 1]) {
        assert_eq!(place.returned(job), json!([tries, true]));
        assert_eq!(place.status(job)["attempt"], 1);
    }
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn calls_that_cannot_be_are_told_why() {
    let place = Place::new();
    let jobs = submit(&place, &[line("odd_calls", json!([]))]);
    let mut supervisor = start(&place);
    let told = place.returned(&jobs[0]);
    let words = [
        "bytes",
        "two durable calls",
        "`1st`",
        "no task runs on this thread",
        "name",
    ];
    for (text, word) in told.as_array().unwrap().iter().zip(words) {
        assert!(text.as_str().unwrap().contains(word), "{word}: {told:#}");
    }
    assert_eq!(supervisor.stop(), 0);
}
