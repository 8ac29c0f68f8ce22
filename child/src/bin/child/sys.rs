//! What safe Rust does not do: bad memory accesses, forks, raw descriptors, signals.

use std::io::{self, PipeWriter, Write};
use std::os::fd::BorrowedFd;
use std::ptr;
use std::str::FromStr;

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getpid, pause, setsid};

/// The number of `SEGV`, `SIGSEGV` or `11`.
pub(crate) fn signal_number(text: &str) -> Option<libc::c_int> {
    if let Ok(number) = text.parse() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    Signal::from_str(&format!("SIG{name}"))
        .ok()
        .map(|signal| signal as libc::c_int)
}

/// Ignores `signal`.
pub(crate) fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives `signal` its default action back.
pub(crate) fn restore_default(signal: libc::c_int) {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Sends `signal` to this process.
pub(crate) fn raise(signal: libc::c_int) {
    // SAFETY: raise has no demand; no memory is involved.
    unsafe { libc::raise(signal) };
}

/// Writes to an address where there is never any memory.
pub(crate) fn touch_nothing() {
    let nowhere = ptr::without_provenance_mut::<u8>(8);
    // SAFETY: there is none: this write is meant to fault. It is volatile, so it is not removed,
    // and below the lowest address that can be mapped, so it changes nothing.
    unsafe { nowhere.write_volatile(1) };
}

/// Starts a grandchild that gets away from its session, its parent and SIGTERM. It writes its
/// pid (little endian) to `pid_to` and lives until it is killed.
pub(crate) fn start_fugitive(pid_to: PipeWriter) -> io::Result<()> {
    // SAFETY: a task's process has one thread unless the task starts more, and this one has not.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(pid_to);
            waitpid(child, None)?;
            Ok(())
        }
        ForkResult::Child => {
            let _ = setsid();
            // SAFETY: as above; the copy has only the thread that forked.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                flee(pid_to);
            }
            leave()
        }
    }
}

fn flee(mut pid_to: PipeWriter) -> ! {
    let _ = setsid();
    ignore(libc::SIGTERM);
    // SAFETY: PR_SET_PDEATHSIG takes a number and touches no memory; 0 clears it.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    let _ = pid_to.write_all(&getpid().as_raw().to_le_bytes());
    drop(pid_to);
    loop {
        pause();
    }
}

fn leave() -> ! {
    // SAFETY: _exit ends the process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// Writes `bytes` past the runtime into the result pipe.
pub(crate) fn write_result_pipe(bytes: &[u8]) -> io::Result<()> {
    // SAFETY: descriptor 4 is the result pipe, open as long as a task runs.
    let pipe = unsafe { BorrowedFd::borrow_raw(4) };
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[nix::unistd::write(pipe, rest)?..];
    }
    Ok(())
}
