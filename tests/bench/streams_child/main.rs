//! The processors of the benchmark.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_child::{Events, Stream, anyhow, processor, tasks};
use serde::{Deserialize, Serialize};

/// One thing that is counted.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    number: u64,
}

fn items() -> Stream<Item> {
    Stream::new("items")
        .partition_by(|item: &Item| item.number)
        .partition_count(1)
        .partition_size(10_000_000)
}

/// Passes them, one after the other.
#[processor(stream = items)]
fn each(events: Events<Item>) -> u64 {
    events.fold(0, |last, item| item.number.max(last))
}

/// Passes them by the hundred.
#[processor(stream = items, prefetch_count = 1000)]
fn hundreds(events: Events<Item>) -> u64 {
    let batches = events.take(100, Duration::from_millis(5));
    batches.fold(0, |last, batch| {
        batch.last().map_or(last, |item| item.number.max(last))
    })
}

/// One thing whose journey is timed.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    /// The monotonic clock when it was sent, in nanoseconds; 0 is one that is to crash.
    sent: i64,
    file: PathBuf,
}

fn letters() -> Stream<Letter> {
    Stream::new("letters")
        .partition_by(|_: &Letter| 0)
        .partition_count(1)
}

/// Appends how long each was on its way, in nanoseconds, to its file.
#[processor(stream = letters, exception_policy = ignore)]
fn arrive(events: Events<Letter>) -> anyhow::Result<()> {
    for letter in events {
        if letter.sent == 0 {
            std::process::abort();
        }
        let took = monotonic_ns() - letter.sent;
        let mut file = OpenOptions::new().append(true).open(&letter.file)?;
        writeln!(file, "{took}")?;
    }
    Ok(())
}

fn monotonic_ns() -> i64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

fn main() -> ExitCode {
    bulkhead_child::run(tasks![arrive, each, hundreds])
}
