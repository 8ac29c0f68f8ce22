//! Tasks that do what they are asked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, task};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes read or written at once.
const CHUNK: usize = 64 << 10;

/// Longer than anybody holds a lock here.
const LONG: Duration = Duration::from_secs(3600);

/// The sum of two numbers.
#[task]
pub(crate) fn add(a: i64, b: i64) -> anyhow::Result<i64> {
    a.checked_add(b)
        .context("the sum does not fit into 64 bits")
}

/// What the job before this one returned, and `n`.
#[task]
pub(crate) fn add_previous(ctx: &Context, n: i64) -> anyhow::Result<i64> {
    let previous: Option<i64> = ctx
        .previous_result()
        .context("what the job before this one returned is no whole number of 64 bits")?;
    let previous = previous.context("no job came before this one (make it a callback)")?;
    previous
        .checked_add(n)
        .context("the sum does not fit into 64 bits")
}

/// Its argument.
#[task]
pub(crate) fn echo(value: Value) -> Value {
    value
}

/// Waits; ends early, with an error, when it is asked to stop.
#[task]
pub(crate) fn sleep(ctx: &Context, seconds: f64) -> anyhow::Result<()> {
    let duration = Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("`{seconds}` is no length of a sleep"))?;
    Ok(ctx.sleep(duration)?)
}

/// Writes that many bytes of text to standard output, and returns how many.
#[task]
pub(crate) fn print(bytes: u64) -> anyhow::Result<u64> {
    let text = b"All work and no play makes a dull task.\n".repeat(1 << 10);
    let mut left = bytes;
    let mut out = io::stdout().lock();
    while left > 0 {
        let len = usize::try_from(left).map_or(text.len(), |left| left.min(text.len()));
        out.write_all(&text[..len])?;
        left -= len as u64;
    }
    out.flush()?;
    Ok(bytes)
}

/// Says how far it is, step by step.
#[task]
pub(crate) fn progress(ctx: &Context, steps: u32) -> anyhow::Result<u32> {
    for step in 1..=steps {
        ctx.progress(json!({ "step": step, "of": steps }))?;
    }
    Ok(steps)
}

/// The digest of a file, in hexadecimal, read piece by piece.
#[task]
pub(crate) fn sha256(ctx: &Context, path: PathBuf) -> anyhow::Result<String> {
    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        anyhow::ensure!(!ctx.is_stopping(), "stopped");
        let len = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        digest.update(&buffer[..len]);
    }
    let digest = digest.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `sleep`, as a thread of a group.
#[task(mechanism = "thread")]
pub(crate) fn thread_sleep(ctx: &Context, seconds: f64) -> anyhow::Result<()> {
    sleep(ctx, seconds)
}

/// Sleeps while it holds a lock, for which it waits up to an hour; the fence it held it under.
#[task]
pub(crate) fn locked(ctx: &Context, lock: String, seconds: f64) -> anyhow::Result<u64> {
    let held = ctx.lock(&lock).wait(LONG).acquire()?;
    sleep(ctx, seconds)?;
    let fence = held.fence();
    held.release()?;
    Ok(fence)
}

/// `locked`, as a thread of a group.
#[task(mechanism = "thread")]
pub(crate) fn thread_locked(ctx: &Context, lock: String, seconds: f64) -> anyhow::Result<u64> {
    locked(ctx, lock, seconds)
}

/// `locked`, on the runtime of a group.
#[cfg(feature = "async")]
#[task]
pub(crate) async fn locked_async(ctx: &Context, lock: String, seconds: f64) -> anyhow::Result<u64> {
    let held = ctx.lock(&lock).wait(LONG).acquire_async().await?;
    nap_async(ctx, seconds).await?;
    Ok(held.fence())
}

/// Whether it runs on the main thread of its process.
#[task(mechanism = "thread", run_in_main_thread = true)]
pub(crate) fn main_thread() -> bool {
    nix::unistd::gettid() == nix::unistd::getpid()
}

/// Waits on the runtime of a group, among others that wait.
#[cfg(feature = "async")]
#[task]
pub(crate) async fn nap_async(ctx: &Context, seconds: f64) -> anyhow::Result<()> {
    let duration = Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("`{seconds}` is no length of a nap"))?;
    ctx.sleep_async(duration).await;
    Ok(())
}
