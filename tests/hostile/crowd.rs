//! What one job can do to a process that it shares with others.

use bulkhead_child::anyhow;
use bulkhead_child::{Context, task};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, getpid, pause};

use crate::{sys, wire};

/// Waits for that many milliseconds, whatever it is asked: an honest neighbour.
#[task(mechanism = "thread")]
pub(crate) fn crowd_nap(milliseconds: u16) {
    let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(milliseconds));
}

/// Ends the process that all of them are in.
#[task(mechanism = "thread")]
pub(crate) fn crowd_exit(code: i32) {
    #[expect(
        clippy::disallowed_methods,
        clippy::exit,
        reason = "a task that exits on its own is what this shows"
    )]
    std::process::exit(code)
}

/// Calls itself until its stack is full.
#[task(mechanism = "thread")]
pub(crate) fn crowd_overflow() -> u64 {
    deeper(1)
}

#[expect(unconditional_recursion, reason = "it ends when the stack does")]
fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    room[0] + deeper(std::hint::black_box(depth + 1))
}

/// Touches memory that is not there.
#[task(mechanism = "thread")]
pub(crate) fn crowd_segv() {
    sys::touch_nothing();
}

/// Stops the process, with everybody in it.
#[task(mechanism = "thread")]
pub(crate) fn crowd_stop() -> anyhow::Result<()> {
    loop {
        kill(getpid(), Signal::SIGSTOP)?;
    }
}

/// Never ends.
#[task(mechanism = "thread")]
pub(crate) fn crowd_hang() -> ! {
    loop {
        pause();
    }
}

/// Prints that many lines of a kilobyte.
#[task(mechanism = "thread")]
pub(crate) fn crowd_print(lines: u32) -> u32 {
    let line = "x".repeat(1023);
    for _ in 0..lines {
        #[expect(clippy::print_stdout, reason = "to print is what it is for")]
        {
            println!("{line}");
        }
    }
    lines
}

/// Reports progress so often.
#[task(mechanism = "thread")]
pub(crate) fn crowd_report(ctx: &Context, times: u32) -> anyhow::Result<u32> {
    for n in 0..times {
        ctx.progress(n)?;
    }
    Ok(times)
}

/// Writes what is no frame where the answers of all of them go.
#[task(mechanism = "thread")]
pub(crate) fn crowd_garbage() -> anyhow::Result<()> {
    wire::say(&[0xff; 4096])
}

/// Answers for a call that there never was.
#[task(mechanism = "thread")]
pub(crate) fn crowd_forge() -> anyhow::Result<()> {
    wire::say(&wire::done(0, r#""forged""#)?)
}

/// Closes the pipe that everybody answers into, and stays.
#[task(mechanism = "thread")]
pub(crate) fn crowd_close() -> ! {
    sys::close_results();
    loop {
        pause();
    }
}

/// Leaves a process behind that is deaf to signals and in a session of its own.
#[task(mechanism = "thread")]
pub(crate) fn crowd_escape() -> anyhow::Result<()> {
    match sys::fork()? {
        ForkResult::Parent { .. } => Ok(()),
        // The copy of a process with threads may do nothing but make system calls.
        ForkResult::Child => {
            let _ = nix::unistd::setsid();
            let _ = sys::ignore(Signal::SIGTERM);
            let _ = SigSet::all().thread_block();
            loop {
                pause();
            }
        }
    }
}
