//! Durable tasks whose supervisors are killed: at the worst places, and at any.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::scene::wait_for_death;

fn start<'a>(place: &'a Place, fault: &str) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "2", "--task-user", "keep", "--lease", "1s"])
        .env("BULKHEAD_TEST_FAULT", fault)
        .start()
}

fn submit(place: &Place, task: &str, args: &Value) -> String {
    place.submit(&[task, "--args", &args.to_string()])
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Supervisors that die right before, and right after, an entry is in the store.
fn survive(place: &Place, point: &str) {
    let files: Vec<_> = (0..3)
        .map(|n| place.path(&format!("journey-{n}")))
        .collect();
    let jobs: Vec<_> = files
        .iter()
        .map(|file| submit(place, "journey", &json!([file, 0, "never"])))
        .collect();
    for job in &jobs {
        let _ = place.run(&["signal", job, "go", "--json", "7"]).succeeds();
    }
    for passage in [1, 2, 7] {
        let mut supervisor = start(place, &format!("{point}:{passage}"));
        wait_for_death(&mut supervisor);
    }
    let mut last = start(place, "");
    for (job, file) in jobs.iter().zip(&files) {
        let result = place.returned(job);
        assert_eq!(result[6], 7, "{result}");
        // What any run has seen is what all have seen.
        let mut seen: Vec<Value> = lines(&file.with_extension("seen"))
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        seen.sort_by_key(|one| one[0].as_u64());
        seen.dedup();
        assert_eq!(seen.len(), 8, "{seen:#?}");
        // A step whose record was lost is run again: once for each death, at the most.
        let effects = lines(file);
        for word in ["one", "inner", "outer", "beside"] {
            let count = effects.iter().filter(|one| *one == word).count();
            assert!((1..=4).contains(&count), "{effects:?}");
        }
    }
    assert_eq!(last.stop(), 0, "{}", last.log());
}

#[test]
fn a_death_before_entries_are_committed_changes_no_value() {
    survive(&Place::new(), "record");
}

#[test]
fn a_death_after_entries_are_committed_changes_no_value() {
    survive(&Place::new(), "recorded");
}

#[test]
fn a_death_around_an_entry_changes_no_value_on_redis() {
    for point in ["record", "recorded"] {
        let server = RedisServer::start(&[]);
        survive(&Place::with_store(&server.url()), point);
    }
}

/// How often the job has come further: a step was begun for the first time, or came to its end. Who
/// kills at every try of a step, however often it is begun, uses up the job's budget for lost leases.
fn milestones(file: &Path) -> usize {
    let lines = lines(file);
    let firsts = lines
        .iter()
        .filter(|line| line.ends_with(" 1") || line.ends_with("done"));
    firsts.collect::<BTreeSet<_>>().len()
}

/// A job of twenty steps and five sleeps among three supervisors, of which one after the other is
/// killed as soon as the job has come further.
fn wander(place: &Place, kills: usize) {
    let file = place.path("pilgrimage");
    let job = submit(place, "pilgrimage", &json!([file]));
    let mut fleet: Vec<_> = (0..3).map(|_| start(place, "")).collect();
    let mut seen = 0;
    for kill in 0..kills {
        seen = until("the job to come further", PATIENCE, || {
            let count = milestones(&file);
            let is_over = file.with_extension("over").exists();
            (count > seen || is_over).then_some(count)
        });
        // Any of them: the choice is spread by what is known only now.
        let victim = (kill * 7 + seen) % fleet.len();
        fleet[victim].kill();
        fleet[victim] = start(place, "");
    }
    assert_eq!(place.returned(&job), 210);
    let known: Vec<_> = lines(&file);
    let tries: Vec<_> = known
        .iter()
        .filter(|line| !line.ends_with("done"))
        .collect();
    let once: BTreeSet<_> = tries.iter().collect();
    assert_eq!(once.len(), tries.len(), "no try was made twice: {tries:?}");
    let journal = place.run(&["journal", &job, "--json"]).succeeds().json();
    let stages: Vec<_> = journal["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"] == "step")
        .collect();
    assert_eq!(stages.len(), 20);
    for (stage, number) in stages.iter().zip(1..) {
        assert_eq!(stage["value"], number);
        // As many tries as were begun, and nothing after the one that was recorded.
        let begun = tries
            .iter()
            .filter(|one| one.starts_with(&format!("{number} ")));
        assert!(
            begun.count() as u64 <= stage["tries"].as_u64().unwrap(),
            "{stage}"
        );
    }
    for mut supervisor in fleet {
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

fn kills() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks for the long form"
    )]
    let is_long = std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1");
    if is_long { 30 } else { 8 }
}

#[test]
fn a_job_that_goes_on_outlives_any_number_of_supervisors_on_sqlite() {
    wander(&Place::new(), kills());
}

#[test]
fn a_job_that_goes_on_outlives_any_number_of_supervisors_on_redis() {
    let server = RedisServer::start(&[]);
    wander(&Place::with_store(&server.url()), kills());
}
