//! What an attack needs of the system that safe Rust does not give.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::ForkResult;

/// The result pipe's number in every task process.
const RESULTS: i32 = 4;

/// The result pipe.
pub(crate) fn results() -> BorrowedFd<'static> {
    // SAFETY: it is open from before the first task to the end of the process, unless a task of
    // this program closes it, which does not use it afterwards.
    unsafe { BorrowedFd::borrow_raw(RESULTS) }
}

/// Closes the result pipe behind the back of its owner.
pub(crate) fn close_results() {
    // SAFETY: close takes a number. Nobody writes to it afterwards: the task that does this hangs.
    unsafe { libc::close(RESULTS) };
}

/// Puts `descriptor` in the place of the result pipe.
pub(crate) fn replace_results(descriptor: &OwnedFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: dup2 takes two numbers; the place stays open, which is all that its owner needs.
    unsafe { libc::dup2(descriptor.as_raw_fd(), RESULTS) };
}

/// Copies this process.
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the process of a task has one thread, and no task of this program starts more; in
    // a group of threads the copy makes system calls only.
    unsafe { nix::unistd::fork() }
}

/// Ignores a signal.
pub(crate) fn ignore(which: Signal) -> nix::Result<()> {
    // SAFETY: to ignore a signal runs no code.
    unsafe { signal(which, SigHandler::SigIgn) }?;
    Ok(())
}

/// Writes to an address where there is never any memory.
pub(crate) fn touch_nothing() {
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: there is none: this write is meant to fault. It is volatile, so it is not removed,
    // and below the lowest address that can be mapped, so it changes nothing.
    unsafe { nowhere.write_volatile(1) };
}
