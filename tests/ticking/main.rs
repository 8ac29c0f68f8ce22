//! A child whose task runs by itself.

use std::process::ExitCode;

use bulkhead_child::{task, tasks};

fn main() -> ExitCode {
    bulkhead_child::run(tasks![add, tick])
}

/// Runs each second, and makes up for what was missed.
#[task(
    every = "1s",
    misfire = "all 1000",
    args = "[2]",
    kwargs = "{\"word\": \"\\\"tick\\\"\"}"
)]
fn tick(number: u64, word: String) -> (u64, String) {
    (number, word)
}

/// Runs when it is asked to.
#[task]
fn add(a: i64, b: i64) -> i64 {
    a + b
}
