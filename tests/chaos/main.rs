//! The tasks of the suites that kill supervisors. Each attempt first appends a line with its job's
//! uuid and its fence to a file, by one write, so that what was run is known from those who ran;
//! then it ends in its own way.

mod register;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, task, tasks};
use nix::poll::{PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{pause, setsid};

use register::{Record, Target};

/// The argument that makes this program a process that gets away from its task.
const FLEE: &str = "flee";

/// Between looks whether a gate stands open.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Between signs of life of a task that hangs, in ms.
const BEAT_EVERY: u8 = 20;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(FLEE) {
        return flee();
    }
    bulkhead_child::run(tasks![crash, escape, fail, give, hang, hold, nap, recover])
}

/// Returns.
#[task]
fn give(ctx: &Context, target: Target) -> anyhow::Result<u32> {
    Record::begin(ctx, &target)?.end()?;
    Ok(ctx.attempt())
}

/// Takes a moment and returns.
#[task]
fn nap(ctx: &Context, target: Target, ms: u64) -> anyhow::Result<()> {
    let record = Record::begin(ctx, &target)?;
    ctx.sleep(Duration::from_millis(ms))?;
    record.end()
}

/// Fails.
#[task]
fn fail(ctx: &Context, target: Target) -> anyhow::Result<()> {
    Record::begin(ctx, &target)?.end()?;
    anyhow::bail!("as asked")
}

/// Returns after so many attempts that failed.
#[task]
fn recover(ctx: &Context, target: Target, failures: u32) -> anyhow::Result<u32> {
    Record::begin(ctx, &target)?.end()?;
    anyhow::ensure!(ctx.attempt() > failures, "not yet");
    Ok(ctx.attempt())
}

/// Dies of SIGABRT.
#[task]
fn crash(ctx: &Context, target: Target) -> anyhow::Result<()> {
    Record::begin(ctx, &target)?.end()?;
    std::process::abort()
}

/// Lets no SIGTERM through and waits for ever.
#[task]
fn hang(ctx: &Context, target: Target) -> anyhow::Result<()> {
    let record = Record::begin(ctx, &target)?;
    SigSet::from(Signal::SIGTERM).thread_block()?;
    loop {
        let _ = poll(&mut [], PollTimeout::from(BEAT_EVERY));
        record.beat()?;
    }
}

/// Returns once there is a file `gate`.
#[task]
fn hold(ctx: &Context, target: Target, gate: PathBuf) -> anyhow::Result<()> {
    let record = Record::begin(ctx, &target)?;
    while !gate.exists() {
        ctx.sleep(LOOK_EVERY)?;
        record.beat()?;
    }
    record.end()
}

/// Leaves a process of another session behind that nothing but SIGKILL ends; returns at once, or
/// when there is a file `gate`.
#[task]
fn escape(ctx: &Context, target: Target, gate: Option<PathBuf>) -> anyhow::Result<u32> {
    let mut fugitive = Command::new("/proc/self/exe")
        .arg(FLEE)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the fugitive")?;
    let mut said = [0];
    let mut words = fugitive.stdout.take().context("it was piped")?;
    words.read_exact(&mut said).context("nobody got away")?;
    let record = Record::begin(ctx, &target)?;
    while gate.as_ref().is_some_and(|gate| !gate.exists()) {
        ctx.sleep(LOOK_EVERY)?;
        record.beat()?;
    }
    record.end()?;
    Ok(fugitive.id())
}

fn flee() -> ExitCode {
    // Whatever of this fails, the process lives on, which is the point.
    let _ = setsid();
    let _ = prctl::set_pdeathsig(None);
    let _ = SigSet::all().thread_block();
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(b"!").and_then(|()| out.flush());
    drop(out);
    loop {
        pause();
    }
}
