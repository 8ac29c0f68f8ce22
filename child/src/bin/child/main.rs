//! Demo tasks.
use std::process::ExitCode;

use bulkhead_child::{task, tasks};

/// The sum of two numbers.
#[task(queue = "math")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn main() -> ExitCode {
    bulkhead_child::run(tasks![add])
}
