//! Many strict jobs of random attacks beside as many honest ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stage::{Stage, Who};
use crate::table::ALL;

/// As many of each, and how often; more in the long drills.
fn each() -> (usize, u32) {
    match std::env::var_os("BULKHEAD_LONG") {
        Some(_) => (1000, 3),
        None => (60, 1),
    }
}

/// What a supervisor may have grown by meanwhile, in KiB, however often: its heap is never the same
/// twice.
const GROWTH: u64 = 8 << 10;

/// Steps through the attacks in an order that is not theirs; it meets all of them.
const STEP: usize = 37;

#[test]
fn honest_jobs_among_attacks_end_well_and_the_supervisor_does_not_grow() {
    crowd(Who::Root);
}

#[test]
fn the_same_for_the_supervisor_of_an_ordinary_user() {
    crowd(Who::User);
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long drill are what it is made for"
)]
fn crowd(who: Who) {
    let Some(stage) = Stage::set("strict", who) else {
        return;
    };
    let honest = json!({"task": "long", "args": [100], "max_retries": 0});
    let attack = |number: usize| {
        let name = ALL[number * STEP % ALL.len()].name;
        stage.line_of(name, "2s")
    };
    // Whatever it keeps for good it has after these.
    let first: Vec<_> = (0..ALL.len()).map(attack).collect();
    let _ = stage.all_ended(&first);
    let before = stage.resident();
    let (each, rounds) = each();
    let lines: Vec<_> = (0..each)
        .flat_map(|number| [honest.clone(), attack(number)])
        .collect();
    for _ in 0..rounds {
        let statuses = stage.all_ended(&lines);
        let after = stage.resident();
        eprintln!(
            "{each} honest jobs: {:?}; as many attacks: {:?}; the supervisor had {before} KiB before, {after} KiB after",
            ends(statuses.iter().step_by(2)),
            ends(statuses.iter().skip(1).step_by(2)),
        );
        for status in statuses.iter().step_by(2) {
            assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        }
        assert!(
            after <= before + GROWTH,
            "{before} KiB before, {after} KiB after"
        );
    }
    assert_eq!(stage.left_behind(), None);
    stage.goes_on();
}

/// How many ended in which way.
fn ends<'a>(statuses: impl Iterator<Item = &'a Value>) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for status in statuses {
        let cause = status["cause"].as_str();
        let end = cause
            .or_else(|| status["status"].as_str())
            .unwrap_or_default();
        *ends.entry(end.to_owned()).or_default() += 1;
    }
    ends
}
