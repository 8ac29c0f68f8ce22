//! How a process ended and what it consumed, straight from the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use bulkhead_shared::pidfd::PidFd;

/// Strangers reaped before anything else is looked at: somebody may make them faster.
const REAPED_AT_ONCE: usize = 64;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// The code it ended with, if no signal did.
    pub code: i32,
    /// CPU time in user mode, with that of the children it waited for.
    pub cpu_user: Duration,
    /// CPU time in the kernel, likewise.
    pub cpu_system: Duration,
    /// Peak resident memory of the largest of them, in KiB, if it is known.
    pub max_rss_kb: Option<u64>,
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    Duration::new(seconds, micros * 1000)
}

/// Reaps the process, which has ended: its pidfd is readable. `None` if it lives still.
///
/// # Errors
/// `ECHILD` if it is no child of ours or has been reaped before.
pub(crate) fn reap(process: &PidFd) -> io::Result<Option<Exit>> {
    const P_PIDFD: libc::c_int = 3;
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: rusage is plain integers, for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one siginfo and one rusage, both of which live here, and takes
    // integers besides; the descriptor is open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            P_PIDFD,
            process.as_fd().as_raw_fd(),
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
            &raw mut usage,
        )
    };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: after a successful waitid the kernel has filled in the fields of a child's end.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    if pid == 0 {
        return Ok(None);
    }
    let exited = info.si_code == libc::CLD_EXITED;
    Ok(Some(Exit {
        signal: if exited { 0 } else { status },
        code: if exited { status } else { 0 },
        cpu_user: duration(usage.ru_utime),
        cpu_system: duration(usage.ru_stime),
        max_rss_kb: u64::try_from(usage.ru_maxrss).ok(),
    }))
}

/// Reaps children that are none of ours: orphans that this process, as a subreaper or as PID 1,
/// has adopted. Stops at the first end that `is_known`, whose status belongs to somebody, and after
/// [`REAPED_AT_ONCE`]: whether it was that, and there may be more.
pub(crate) fn reap_strangers(is_known: impl Fn(i32) -> bool) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    for _ in 0..REAPED_AT_ONCE {
        let ended = waitid(Id::All, look).ok().and_then(|status| status.pid());
        let Some(pid) = ended.filter(|pid| !is_known(pid.as_raw())) else {
            return false;
        };
        if waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).is_err() {
            return false;
        }
    }
    true
}

/// A signal as people and `status` write it: `SIGSEGV`, `SIGRTMIN+3`.
pub(crate) fn signal_name(signal: i32) -> String {
    let first_real_time = libc::SIGRTMIN();
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().into(),
        Err(_) if signal == first_real_time => "SIGRTMIN".into(),
        Err(_) if signal > first_real_time => format!("SIGRTMIN+{}", signal - first_real_time),
        Err(_) => format!("SIG{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "they are reaped behind its back")]
    fn of_many_strangers_who_have_ended_so_many_are_reaped_at_once() {
        for _ in 0..=REAPED_AT_ONCE {
            let child = std::process::Command::new("true").spawn().unwrap();
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let seen = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            waitid(Id::Pid(pid), seen).unwrap();
        }
        assert!(!reap_strangers(|_| true));
        assert!(reap_strangers(|_| false));
        assert!(!reap_strangers(|_| false));
    }
}
