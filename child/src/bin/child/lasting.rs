//! Tasks that go on where they were, whatever becomes of their processes.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
#[cfg(feature = "async")]
use bulkhead_child::{Context, Timestamp};
use bulkhead_child::{durable, task};
use serde_json::Value;

fn length(seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("`{seconds}` is no length of time"))
}

/// The time before and after a durable sleep, in seconds since 1970.
#[task]
pub(crate) fn nap(seconds: f64) -> anyhow::Result<[f64; 2]> {
    let before = durable::time()?;
    durable::sleep(length(seconds)?)?;
    Ok([before, durable::time()?])
}

/// Runs `n` steps, each of which appends its number to the file; the sum of the numbers.
#[task]
pub(crate) fn steps(n: u64, file: PathBuf) -> anyhow::Result<u64> {
    let mut sum = 0;
    for number in 1..=n {
        sum += durable::step(&format!("step {number}"), |_| append(&file, number))?;
    }
    Ok(sum)
}

fn append(file: &PathBuf, number: u64) -> anyhow::Result<u64> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let mut opened = opened.with_context(|| format!("opening {}", file.display()))?;
    // One write: what others append does not come between.
    opened.write_all(format!("{number}\n").as_bytes())?;
    Ok(number)
}

/// Waits so many seconds for the signal `approved`, and returns what came with it.
#[task]
pub(crate) fn approval(within: f64) -> anyhow::Result<Value> {
    let approved = durable::wait_for("approved", length(within)?)?;
    approved.context("nobody approved in time")
}

/// `nap`, as a thread of a group.
#[task(mechanism = "thread")]
pub(crate) fn thread_nap(seconds: f64) -> anyhow::Result<[f64; 2]> {
    nap(seconds)
}

/// `nap`, on the runtime of a group.
#[cfg(feature = "async")]
#[task]
pub(crate) async fn long_nap_async(ctx: &Context, seconds: f64) -> anyhow::Result<[Timestamp; 2]> {
    let durable = ctx.durable();
    let before = durable.now_async().await?;
    durable.sleep_async(length(seconds)?).await?;
    Ok([before, durable.now_async().await?])
}
