//! Raw waiting: an init must be told of every end, also by signals that libraries do not know.

use std::time::Duration;

use bulkhead_shared::frame::{InitReport, ReportedUsage};

use nix::sys::signal::SigSet;

/// What a look for ended children found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reaped {
    /// This one has ended.
    Ended(Ended),
    /// There are children, and all of them live.
    NobodyYet,
    /// There are none.
    NoChildren,
}

/// The end of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub pid: i32,
    pub how: InitReport,
    /// CPU time of it and of the children it waited for, in microseconds.
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    /// Peak resident memory of the largest of them, in KiB.
    pub max_rss_kb: u64,
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap_any() -> Reaped {
    reap(libc::WNOHANG)
}

/// Waits until a child has ended, and reaps it.
pub(crate) fn reap_next() -> Reaped {
    reap(0)
}

fn reap(options: libc::c_int) -> Reaped {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = loop {
        // SAFETY: the call writes one integer and one rusage, both of which live here.
        let pid = unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) };
        let is_interrupted =
            || std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        // Who lets himself be traced is said to have stopped, which is no end.
        if !(pid == -1 && is_interrupted() || pid > 0 && libc::WIFSTOPPED(status)) {
            break pid;
        }
    };
    let how = match libc::WIFSIGNALED(status) {
        true => InitReport {
            signal: libc::WTERMSIG(status),
            code: 0,
        },
        false => InitReport {
            signal: 0,
            code: libc::WEXITSTATUS(status),
        },
    };
    match pid {
        0 => Reaped::NobodyYet,
        -1 => Reaped::NoChildren,
        pid => Reaped::Ended(Ended {
            pid,
            how,
            cpu_user_us: micros(usage.ru_utime),
            cpu_system_us: micros(usage.ru_stime),
            max_rss_kb: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        }),
    }
}

fn micros(time: libc::timeval) -> u64 {
    let micros = time
        .tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_usec);
    u64::try_from(micros).unwrap_or(0)
}

/// Waits for one of these blocked signals, at most this long; 0 if none has come. Of several that have
/// it is the one with the lowest number.
pub(crate) fn wait_for_signal(signals: &SigSet, at_most: Duration) -> i32 {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    // SAFETY: the call reads a signal set and a time, both of which live here; no answer is asked.
    let signal =
        unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), &raw const timeout) };
    signal.max(0)
}

/// What this process' own end would count by now.
pub(crate) fn whole_usage() -> ReportedUsage {
    let [own, below] = [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].map(|whose| {
        // SAFETY: rusage is plain integers, for which all zeroes is a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes one rusage, and `usage` is one.
        unsafe { libc::getrusage(whose, &raw mut usage) };
        usage
    });
    ReportedUsage {
        cpu_user_us: micros(own.ru_utime).saturating_add(micros(below.ru_utime)),
        cpu_system_us: micros(own.ru_stime).saturating_add(micros(below.ru_stime)),
        max_rss_kb: u64::try_from(own.ru_maxrss.max(below.ru_maxrss)).ok(),
    }
}
