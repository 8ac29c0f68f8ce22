//! Tasks that wait for a word of the test, or tell it what they see.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, UnknownSecret, task};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

/// Between looks for a file, in milliseconds.
const LOOK_EVERY: u8 = 5;

/// Waits until `file` is there, and returns its name. Does not listen to SIGTERM.
#[task]
pub(crate) fn hold(file: PathBuf) -> PathBuf {
    while !file.exists() {
        pause();
    }
    file
}

fn pause() {
    let mut none = [];
    let every = nix::poll::PollTimeout::from(LOOK_EVERY);
    // Interrupted or not, it looks again.
    let _ = nix::poll::poll(&mut none, every);
}

/// A text of that many bytes.
#[task]
pub(crate) fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// How long the text is that the job before this one returned, and how long its own.
#[task]
pub(crate) fn measure(ctx: &Context, text: String) -> anyhow::Result<(usize, usize)> {
    let previous: Option<String> = ctx.previous_result()?;
    Ok((previous.context("nothing came before")?.len(), text.len()))
}

/// Waits for SIGTERM, and then returns as if in time.
#[task]
pub(crate) fn late(ctx: &Context) -> &'static str {
    while !ctx.is_stopping() {
        pause();
    }
    "late"
}

/// Hangs, with a patience of its own.
#[task(patience = "100ms", timeout = "200ms", max_retries = 0)]
pub(crate) fn patient() -> anyhow::Result<()> {
    nix::sys::signal::SigSet::all().thread_block()?;
    loop {
        pause();
    }
}

/// Fails as often as it is told, and then returns the number of the attempt.
#[task(backoff = constant("20ms"))]
pub(crate) fn flaky(ctx: &Context, failures: u32) -> anyhow::Result<u32> {
    let attempt = ctx.attempt();
    anyhow::ensure!(attempt > failures, "attempt {attempt}");
    Ok(attempt)
}

/// Says that it has begun, and waits for `file`.
#[task]
pub(crate) fn step(ctx: &Context, file: PathBuf) -> anyhow::Result<PathBuf> {
    ctx.progress(json!({ "step": 1 }))?;
    Ok(hold(file))
}

/// Uses `ms` milliseconds of CPU time and `megabytes` of memory.
#[task]
pub(crate) fn burn(ms: i64, megabytes: usize) -> anyhow::Result<usize> {
    let held = std::hint::black_box(vec![1u8; megabytes << 20]);
    let spent = || getrusage(UsageWho::RUSAGE_SELF).map(|usage| usage.user_time());
    let start = spent()?.num_milliseconds();
    while spent()?.num_milliseconds() - start < ms {
        (0..10_000).for_each(|n| {
            std::hint::black_box(n);
        });
    }
    Ok(held.len() >> 20)
}

/// All environment variables.
#[task]
pub(crate) fn environment() -> BTreeMap<String, String> {
    env::vars().collect()
}

/// User, process, home, working directory.
#[task]
pub(crate) fn who_am_i(file: Option<PathBuf>) -> anyhow::Result<Value> {
    if let Some(file) = file {
        hold(file);
    }
    let home = PathBuf::from(env::var_os("HOME").context("no HOME")?);
    let data = fs::metadata(&home)?;
    fs::write(home.join("mine"), "mine")?;
    Ok(json!({
        "uid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getegid().as_raw(),
        "home_gid": data.gid(),
        "pid": std::process::id(),
        "home": home,
        "home_mode": data.permissions().mode() & 0o777,
        "cwd": env::current_dir()?,
    }))
}

/// Keeps a file in its home, if it has one, until `file` is there.
#[task]
pub(crate) fn lodge(ctx: &Context, file: PathBuf) -> anyhow::Result<()> {
    if let Some(home) = env::var_os("HOME") {
        fs::write(PathBuf::from(home).join("mine"), "mine")?;
    }
    ctx.progress(json!("lodged"))?;
    hold(file);
    Ok(())
}

/// Kills its own process; again soon.
#[task(backoff = constant("1ms"))]
pub(crate) fn wound() -> anyhow::Result<()> {
    Ok(nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?)
}

/// The length of a secret.
#[task]
pub(crate) fn secret(ctx: &Context, name: String) -> Result<usize, UnknownSecret> {
    Ok(ctx.secret(&name)?.len())
}
