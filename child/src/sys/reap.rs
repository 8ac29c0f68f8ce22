//! Raw waiting: an init must be told of every end, also by signals that libraries do not know.

use std::time::Duration;

use nix::sys::signal::SigSet;

/// What a look for ended children found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reaped {
    /// This one has ended: by `signal`, or with `code` if that is 0.
    Ended { pid: i32, signal: i32, code: i32 },
    /// There are children, and all of them live.
    NobodyYet,
    /// There are none.
    NoChildren,
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap_any() -> Reaped {
    let mut status = 0;
    // SAFETY: the call writes one integer, and `status` is one.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match pid {
        0 => Reaped::NobodyYet,
        -1 => Reaped::NoChildren,
        pid if libc::WIFSIGNALED(status) => Reaped::Ended {
            pid,
            signal: libc::WTERMSIG(status),
            code: 0,
        },
        pid => Reaped::Ended {
            pid,
            signal: 0,
            code: libc::WEXITSTATUS(status),
        },
    }
}

/// Waits for one of these blocked signals, at most this long.
pub(crate) fn wait_for_signal(signals: &SigSet, at_most: Duration) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    // SAFETY: the call reads a signal set and a time, both of which live here; no answer is asked.
    unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), &raw const timeout) };
}
