//! Many strict jobs of random attacks beside as many honest ones.

use serde_json::json;

use crate::stage::{Stage, Who};
use crate::table::ALL;

/// As many of each; more in the long drills.
fn each() -> usize {
    match std::env::var_os("BULKHEAD_LONG") {
        Some(_) => 1000,
        None => 60,
    }
}

/// What a supervisor may have grown by meanwhile, in KiB: its heap is never the same twice.
const GROWTH: u64 = 8 << 10;

/// Steps through the attacks in an order that is not theirs; it meets all of them.
const STEP: usize = 37;

#[test]
fn honest_jobs_among_attacks_end_well_and_the_supervisor_does_not_grow() {
    let Some(stage) = Stage::set("strict", Who::Root) else {
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
    let lines: Vec<_> = (0..each())
        .flat_map(|number| [honest.clone(), attack(number)])
        .collect();
    let statuses = stage.all_ended(&lines);
    for status in statuses.iter().step_by(2) {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    }
    let after = stage.resident();
    assert!(
        after <= before + GROWTH,
        "{before} KiB before, {after} KiB after"
    );
    assert_eq!(stage.left_behind(), None);
    stage.goes_on();
}
