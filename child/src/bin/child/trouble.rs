//! Tasks that go wrong, each in its own way.

use std::fs::File;
use std::hint;
use std::io::{self, Read, Write};

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, task};
use nix::unistd::pause;

use crate::sys;

/// Bytes allocated at once.
const MEGABYTE: usize = 1 << 20;

/// Bytes of `garbage`.
const GARBAGE: usize = 4096;

/// Fails with `text`.
#[task]
pub(crate) fn fail(text: String) -> anyhow::Result<()> {
    anyhow::bail!(text)
}

/// Panics with `text`.
#[task]
pub(crate) fn panic(text: String) {
    panic!("{text}")
}

/// Fails as often as it is told, and then returns the number of the attempt.
#[task]
pub(crate) fn flaky(ctx: &Context, failures: u32) -> anyhow::Result<u32> {
    let attempt = ctx.attempt();
    anyhow::ensure!(
        attempt > failures,
        "attempt {attempt} of {failures} to fail"
    );
    Ok(attempt)
}

/// Dies of a signal: `SEGV` by touching memory that is not there, `ABRT` by aborting, any other
/// name or number by sending it to itself.
#[task]
pub(crate) fn crash(signal: String) -> anyhow::Result<()> {
    let number = sys::signal_number(&signal)
        .with_context(|| format!("`{signal}` is no signal (such as `SEGV`, `SIGKILL` or `11`)"))?;
    sys::restore_default(number);
    match number {
        libc::SIGSEGV => sys::touch_nothing(),
        libc::SIGABRT => std::process::abort(),
        other => sys::raise(other),
    }
    anyhow::bail!("survived `{signal}`")
}

/// Ends its process with `code`.
#[task]
pub(crate) fn exit(code: i32) {
    #[expect(
        clippy::disallowed_methods,
        clippy::exit,
        reason = "a task that exits on its own is what this shows"
    )]
    std::process::exit(code)
}

/// Ignores SIGTERM and waits for ever.
#[task]
pub(crate) fn hang() -> ! {
    sys::ignore(libc::SIGTERM);
    loop {
        pause();
    }
}

/// Ignores SIGTERM and burns CPU time for ever.
#[task]
pub(crate) fn spin() -> ! {
    sys::ignore(libc::SIGTERM);
    loop {
        hint::spin_loop();
    }
}

/// Allocates that many MiB, touches every page, and returns how many.
#[task]
pub(crate) fn allocate(megabytes: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..megabytes {
        // Ones: pages of zeros need not be real.
        held.push(hint::black_box(vec![1u8; MEGABYTE]));
    }
    held.len()
}

/// Starts a process that leaves its session and parents and ignores SIGTERM; prints and returns
/// its pid. With `hang`, then hangs as well.
#[task]
pub(crate) fn escape(hang: Option<bool>) -> anyhow::Result<i32> {
    let (mut reader, writer) = io::pipe()?;
    sys::start_fugitive(writer)?;
    let mut pid = [0; size_of::<i32>()];
    reader.read_exact(&mut pid).context("nobody got away")?;
    let pid = i32::from_le_bytes(pid);
    let mut out = io::stdout().lock();
    writeln!(out, "{pid}")?;
    out.flush()?;
    if hang == Some(true) {
        self::hang();
    }
    Ok(pid)
}

/// Writes random bytes where its answers should go, and returns as if nothing had happened.
#[task]
pub(crate) fn garbage() -> anyhow::Result<()> {
    let mut bytes = [0; GARBAGE];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // No length of a frame, so that the verdict does not depend on luck.
    bytes[3] |= 0x80;
    Ok(sys::write_result_pipe(&bytes)?)
}

/// A thread of a group that never ends, whatever it is asked.
#[task(mechanism = "thread")]
pub(crate) fn thread_hang() -> ! {
    loop {
        pause();
    }
}

/// `crash`, as a thread of a group.
#[task(mechanism = "thread")]
pub(crate) fn thread_crash(signal: String) -> anyhow::Result<()> {
    crash(signal)
}

/// `panic`, as a thread of a group.
#[task(mechanism = "thread")]
pub(crate) fn thread_panic(text: String) {
    panic(text);
}

/// A future that never gives its runtime back.
#[cfg(feature = "async")]
#[task]
pub(crate) async fn block_async() {
    loop {
        pause();
    }
}
