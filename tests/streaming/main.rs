//! A child with a processor for each policy, all of the stream `orders` of the demo child. Each appends
//! `key seq` and a line break, by one write, to a file of its own: that of the record with its own name
//! behind a dot, such as `lines.ledger_halt`. The line goes on with the fence and the process id, and each
//! call keeps a lock for its partition: where two would process it at once, `TWO` is written.

mod hostile;
#[expect(dead_code, reason = "what other attacks need")]
#[path = "../hostile/sys.rs"]
mod sys;
#[path = "../hostile/wire.rs"]
mod wire;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, Events, Stream, processor, tasks};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::pause;
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    bulkhead_child::run(tasks![
        ledger_batches,
        ledger_dead_letter,
        ledger_halt,
        ledger_ignore,
        ledger_late,
        ledger_quarantine,
        ledger_retry,
    ])
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    key: String,
    seq: u64,
    file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    poison: Option<Poison>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Poison {
    Crash,
    Hang,
    Error,
    #[serde(untagged)]
    Lie(hostile::Lie),
}

fn orders() -> Stream<Order> {
    Stream::new("orders").partition_by(|order: &Order| order.key.clone())
}

#[processor(stream = orders, exception_policy = halt, timeout = "3s", patience = "200ms")]
fn ledger_halt(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

#[processor(stream = orders, exception_policy = quarantine, timeout = "3s", patience = "200ms")]
fn ledger_quarantine(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

#[processor(stream = orders, exception_policy = ignore, timeout = "3s", patience = "200ms")]
fn ledger_ignore(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

/// Would take partitions only when a test is long over.
#[processor(stream = orders, exception_policy = ignore, join_delay = "1h")]
fn ledger_late(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

#[processor(stream = orders, exception_policy = dead_letter, timeout = "3s", patience = "200ms")]
fn ledger_dead_letter(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

#[processor(
    stream = orders,
    exception_policy = retry,
    then = dead_letter,
    max_retries = 3,
    backoff = constant("10ms"),
    timeout = "3s",
    patience = "200ms"
)]
fn ledger_retry(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    one_by_one(ctx, events)
}

/// A batch with a poison in it writes nothing: all of its lines go out by one write.
#[processor(stream = orders, exception_policy = ignore, timeout = "3s", patience = "200ms")]
fn ledger_batches(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    let mut alone = Alone::new(ctx, &events);
    for batch in events.take(100, Duration::from_millis(50)) {
        alone.check(&batch[0])?;
        batch.iter().try_for_each(|order| swallow(ctx, order))?;
        let mut rest = &batch[..];
        // Records may name different files.
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|order| order.file == first.file);
            let (now, later) = rest.split_at(same.count());
            append(ctx, now)?;
            rest = later;
        }
    }
    Ok(())
}

/// The only call for its partition, or so it should be.
struct Alone {
    name: String,
    lock: Option<Flock<File>>,
}

impl Alone {
    fn new(ctx: &Context, events: &Events<Order>) -> Self {
        let name = format!(".{}.{}", ctx.task(), events.partition_number());
        Self { name, lock: None }
    }

    /// Takes the lock with the first event, which says where it lies.
    fn check(&mut self, order: &Order) -> anyhow::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let mut path: OsString = (&order.file).into();
        path.push(&self.name);
        let file = File::create(&path).context("a file for the lock")?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => self.lock = Some(lock),
            Err(_) => {
                let mut path: OsString = (&order.file).into();
                path.push(".two");
                let opened = OpenOptions::new().append(true).create(true).open(&path);
                writeln!(opened?, "TWO {}", self.name)?;
            }
        }
        Ok(())
    }
}

fn one_by_one(ctx: &Context, events: Events<Order>) -> anyhow::Result<()> {
    let mut alone = Alone::new(ctx, &events);
    for order in events {
        alone.check(&order)?;
        swallow(ctx, &order)?;
        append(ctx, &[order])?;
    }
    Ok(())
}

fn swallow(ctx: &Context, order: &Order) -> anyhow::Result<()> {
    match order.poison {
        None => Ok(()),
        Some(Poison::Crash) => std::process::abort(),
        Some(Poison::Error) => anyhow::bail!("order {} of `{}` is poisoned", order.seq, order.key),
        Some(Poison::Hang) => {
            SigSet::from(Signal::SIGTERM).thread_block()?;
            loop {
                pause();
            }
        }
        Some(Poison::Lie(lie)) => hostile::tell(ctx, lie),
    }
}

/// Orders with the same file, by one write.
fn append(ctx: &Context, orders: &[Order]) -> anyhow::Result<()> {
    let Some(Order { file, .. }) = orders.first() else {
        return Ok(());
    };
    let mut path: OsString = file.into();
    path.push(format!(".{}", ctx.task()));
    let opened = OpenOptions::new().append(true).create(true).open(&path);
    let mut opened = opened.with_context(|| format!("opening {}", path.display()))?;
    let (fence, pid) = (ctx.fence(), std::process::id());
    let lines = orders
        .iter()
        .map(|Order { key, seq, .. }| format!("{key} {seq} {fence} {pid}\n"));
    let lines: String = lines.collect();
    let written = opened.write(lines.as_bytes())?;
    anyhow::ensure!(written == lines.len(), "wrote {written} bytes of lines");
    Ok(())
}
