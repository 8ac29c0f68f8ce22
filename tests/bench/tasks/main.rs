//! The tasks of the benchmark.

use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bulkhead_child::{Context, durable, task, tasks};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::pause;

/// When SIGTERM came, in nanoseconds of the monotonic clock; 0 is not yet.
static TERM: AtomicI64 = AtomicI64::new(0);

fn monotonic_ns() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: async-signal-safe, and writes one timespec, which lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

extern "C" fn on_term(_: libc::c_int) {
    TERM.store(monotonic_ns(), Ordering::SeqCst);
}

/// Waits until it is stopped.
#[task]
fn wait(ctx: &Context) {
    while !ctx.is_stopping() {
        pause();
    }
}

/// Waits for SIGTERM, and returns how long after its start that came, in nanoseconds.
#[task]
fn note_term() -> anyhow::Result<i64> {
    let start = monotonic_ns();
    let action = SigAction::new(
        SigHandler::Handler(on_term),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler reads a clock and stores a number: both are async-signal-safe.
    unsafe { sigaction(Signal::SIGTERM, &action) }?;
    // Blocked between the look and the wait: it cannot slip in between.
    let term: SigSet = [Signal::SIGTERM].into_iter().collect();
    let before = term.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    while TERM.load(Ordering::SeqCst) == 0 {
        // SAFETY: reads one signal set, which lives here.
        unsafe { libc::sigsuspend(before.as_ref()) };
    }
    Ok(TERM.load(Ordering::SeqCst) - start)
}

/// The monotonic clock at its first line, in nanoseconds.
#[task]
fn clock(_value: String) -> i64 {
    monotonic_ns()
}

/// Its argument.
#[task]
fn echo(value: String) -> String {
    value
}

/// Its argument, on a thread of a group.
#[task(mechanism = "thread")]
fn echo_thread(value: String) -> String {
    value
}

/// Waits for ten milliseconds on a group's runtime.
#[task]
async fn nap(ctx: &Context, value: String) -> usize {
    ctx.sleep_async(Duration::from_millis(10)).await;
    value.len()
}

/// How long each of `n` recorded calls took, in nanoseconds.
#[task]
fn record(n: usize) -> anyhow::Result<Vec<i64>> {
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let start = monotonic_ns();
        durable::now()?;
        times.push(monotonic_ns() - start);
    }
    Ok(times)
}

/// Runs `n` steps, sleeps without a process, and returns how long it took to come through the steps
/// again, in nanoseconds.
#[task]
fn replay(ctx: &Context, n: u32) -> anyhow::Result<i64> {
    let start = monotonic_ns();
    for number in 0..n {
        durable::step("step", |_| anyhow::Ok(number))?;
    }
    let took = monotonic_ns() - start;
    let durable = ctx.durable().snooze_after(Duration::ZERO);
    durable.sleep(Duration::from_millis(20))?;
    Ok(took)
}

fn main() -> ExitCode {
    bulkhead_child::run(tasks![
        clock,
        echo,
        echo_thread,
        nap,
        note_term,
        record,
        replay,
        wait
    ])
}
