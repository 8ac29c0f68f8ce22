//! A processor that writes what it is given into a file, and breaks when it is told to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Events, Stream, processor};
use serde::{Deserialize, Serialize};

use crate::trouble;

/// A line of a ledger.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    key: String,
    seq: u64,
    /// Where the line goes.
    file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    poison: Option<Poison>,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Poison {
    /// The process dies of SIGABRT.
    Crash,
    /// It ignores SIGTERM and waits for ever.
    Hang,
    /// The function fails.
    Error,
}

/// Lines of one key keep their order.
fn orders() -> Stream<Order> {
    Stream::new("orders").partition_by(|order: &Order| order.key.clone())
}

/// Appends `key seq` to each order's file. An order that it fails at is tried four times in all,
/// then put away.
#[processor(
    stream = orders,
    exception_policy = retry,
    then = dead_letter,
    max_retries = 3,
    backoff = constant("10ms"),
    timeout = "5s",
    patience = "200ms"
)]
pub(crate) fn ledger(events: Events<Order>) -> anyhow::Result<()> {
    for order in events {
        append(&order)?;
    }
    Ok(())
}

fn append(order: &Order) -> anyhow::Result<()> {
    let Order { key, seq, file, .. } = order;
    match order.poison {
        Some(Poison::Crash) => std::process::abort(),
        Some(Poison::Hang) => trouble::hang(),
        Some(Poison::Error) => anyhow::bail!("order {seq} of `{key}` is poisoned"),
        None => {}
    }
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let mut opened = opened.with_context(|| format!("opening {}", file.display()))?;
    // One write: what others append does not come between.
    let line = format!("{key} {seq}\n");
    let written = opened.write(line.as_bytes())?;
    anyhow::ensure!(written == line.len(), "wrote {written} bytes of a line");
    Ok(())
}
