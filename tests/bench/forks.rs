//! A limit: how many processes this machine can make, end and reap, eight at a time.
//!
//! Runs in a process of its own, which is small: the copy is what a fork costs.

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::limit::WINDOW;

/// Forks and reaps `count` processes that end at once.
pub(crate) fn run(count: usize) -> anyhow::Result<()> {
    let mut running = 0;
    for _ in 0..count {
        if running == WINDOW {
            waitpid(None, None)?;
            running -= 1;
        }
        // SAFETY: this process has one thread, so no lock is held by one that is not copied.
        match unsafe { fork() }? {
            // SAFETY: _exit takes a number and ends the copy at once.
            ForkResult::Child => unsafe { libc::_exit(0) },
            ForkResult::Parent { .. } => running += 1,
        }
    }
    for _ in 0..running {
        waitpid(None, None)?;
    }
    Ok(())
}
