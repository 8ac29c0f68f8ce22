//! The process between the supervisor and a task where no cgroup holds the task together: pid 1
//! of a pid namespace, or the subreaper of all that the task starts.
//!
//! It reports the task's true end (a pid 1 itself cannot die of most signals), hands SIGTERM on,
//! and takes everything with it when it goes. Single-threaded; runs no code of the user's.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bulkhead_shared::codec;
use bulkhead_shared::frame::InitReport;
use bulkhead_shared::isolation::Containment;
use bulkhead_shared::pidfd::PidFd;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, setpgid};

use super::{Failed, Step};
use crate::sys;

/// Long enough between two looks; whatever happens brings a signal.
pub(super) const FOREVER: Duration = Duration::from_secs(3600);

/// Ends that are counted before signals are looked at again.
pub(super) const REAPED_AT_ONCE: usize = 64;

/// Which side of the second fork this is.
#[derive(Debug)]
pub(super) enum Side {
    /// The task.
    Task,
    /// The init above this task.
    Init(Pid),
}

/// Makes this process an init and forks the task below it.
pub(super) fn stand_above(
    containment: Containment,
    furnish: impl FnOnce() -> Result<(), Failed>,
) -> Result<Side, Failed> {
    let own = Pid::from_raw(0);
    setpgid(own, own).step("lead a process group")?;
    match containment {
        Containment::PidNamespace { user } => {
            if user {
                // The files of a process that hides its memory belong to root.
                prctl::set_dumpable(true).step("open its own maps")?;
                map_own_user().step("map its user")?;
            }
            prctl::set_dumpable(false).step("hide the init")?;
            prctl::set_pdeathsig(Signal::SIGKILL).step("follow the supervisor's death")?;
        }
        Containment::Subreaper | Containment::Cgroup => {
            prctl::set_child_subreaper(true).step("adopt orphans")?;
            // Not SIGKILL: its descendants would outlive it.
            prctl::set_pdeathsig(Signal::SIGHUP).step("follow the supervisor's death")?;
        }
    }
    furnish()?;
    let mask = signals();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).step("block signals")?;
    // SAFETY: the process has one thread, so no lock is held by a thread that is not copied.
    match unsafe { fork() }.step("fork the task")? {
        ForkResult::Child => {
            // A group of its own, so that the init can signal all of it and not itself.
            setpgid(own, own).step("lead a process group")?;
            Ok(Side::Task)
        }
        ForkResult::Parent { child } => Ok(Side::Init(child)),
    }
}

/// SIGTERM is handed on, SIGHUP means to kill everything, SIGCHLD to look.
pub(super) fn signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD]
        .into_iter()
        .collect()
}

/// Inside a fresh user namespace: the same user as outside, and nobody else.
pub(super) fn map_own_user() -> io::Result<()> {
    // The ids seen here before a map is written are the overflow ids; the true ones are those of
    // the zygote, which handed them down.
    let (uid, gid) = outer_ids();
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

static OUTER: std::sync::OnceLock<(u32, u32)> = std::sync::OnceLock::new();

/// Remembers who the zygote is; must be called before the first fork.
pub(super) fn remember_ids() {
    OUTER.get_or_init(|| {
        (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        )
    });
}

fn outer_ids() -> (u32, u32) {
    OUTER.get().copied().unwrap_or((0, 0))
}

/// Watches over `task` until it has ended, reports how, and ends with everything it started.
pub(super) fn watch(containment: Containment, task: Pid, report: &OwnedFd) -> ! {
    // Holding the supervisor's pipes here would keep them open after the task; the zygote's own
    // descriptors (the other inits' report pipes are not among them) are of no use either.
    sys::close_all_but(report.as_fd());
    let mask = signals();
    let mut wait = FOREVER;
    let end = loop {
        match sys::wait_for_signal(&mask, wait) {
            libc::SIGTERM => hand_on(task),
            libc::SIGHUP => {
                let _ = kill(task, Signal::SIGKILL);
                // While one of them traces it, it cannot be reaped, dead or not.
                if containment == Containment::Subreaper {
                    strike_descendants();
                }
            }
            _ => {}
        }
        wait = match reap(task) {
            Reaped::Task(end) => break end,
            Reaped::All => FOREVER,
            Reaped::Enough => Duration::ZERO,
        };
    };
    if containment == Containment::Subreaper {
        kill_descendants();
    }
    if let Ok(body) = codec::body(&end) {
        let _ = nix::unistd::write(report, &body);
    }
    sys::leave(0)
}

/// Asks the task to end, with its group: its leader is our own unreaped child.
pub(super) fn hand_on(task: Pid) {
    let _ = killpg(task, Signal::SIGTERM);
    let _ = killpg(task, Signal::SIGCONT);
}

/// Who was reaped.
#[derive(Debug, PartialEq, Eq)]
enum Reaped {
    /// The task, which ended so.
    Task(InitReport),
    /// Whoever had ended.
    All,
    /// So many that there may be more.
    Enough,
}

/// Reaps those who have ended, up to the task. Not all at once: whoever makes orphans faster than they
/// are reaped is to be killed, too.
fn reap(task: Pid) -> Reaped {
    for _ in 0..REAPED_AT_ONCE {
        match sys::reap_any() {
            sys::Reaped::Ended(ended) if ended.pid == task.as_raw() => {
                return Reaped::Task(ended.how);
            }
            sys::Reaped::Ended(_) => {}
            sys::Reaped::NobodyYet | sys::Reaped::NoChildren => return Reaped::All,
        }
    }
    Reaped::Enough
}

/// Kills everything below this subreaper, in rounds: whoever is forked meanwhile is a child of
/// somebody below, and when that one dies, ours.
fn kill_descendants() {
    let mask: SigSet = [Signal::SIGCHLD].into_iter().collect();
    loop {
        strike_descendants();
        // Not all at once: who makes them is to be killed meanwhile.
        for _ in 0..REAPED_AT_ONCE {
            match sys::reap_any() {
                sys::Reaped::NoChildren => return,
                sys::Reaped::NobodyYet => break,
                sys::Reaped::Ended(_) => {}
            }
        }
        // A dying process needs a moment; SIGCHLD ends the wait.
        sys::wait_for_signal(&mask, Duration::from_millis(5));
    }
}

fn strike_descendants() {
    for process in descendants() {
        // Gone already is as good as killed.
        let _ = process.signal(libc::SIGKILL);
    }
}

/// All living processes below this one.
///
/// Each is held by a pidfd before its ancestry is read: a number that has passed to a stranger
/// meanwhile leads up to somebody else and is left alone.
fn descendants() -> Vec<PidFd> {
    let here = Pid::this().as_raw();
    let mut found = Vec::new();
    let mut open = vec![here];
    while let Some(parent) = open.pop() {
        for pid in children(parent) {
            let Ok(process) = PidFd::open(pid) else {
                continue;
            };
            if is_below(pid, here) {
                found.push(process);
                open.push(pid);
            }
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let texts = threads
        .flatten()
        .filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    texts
        .flat_map(|text| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Whether following parents from `pid` leads to `ancestor`; the depth is bounded by the number
/// of processes there can be.
fn is_below(mut pid: i32, ancestor: i32) -> bool {
    for _ in 0..1 << 22 {
        match parent_of(pid) {
            Some(parent) if parent == ancestor => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, also brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    use super::*;

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    /// A child that has ended and is not reaped yet.
    fn ended() -> Child {
        let child = Command::new("true").spawn().unwrap();
        let seen = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(pid(&child)), seen).unwrap();
        child
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "they are reaped behind its back")]
    fn of_many_who_have_ended_some_are_reaped_before_signals_are_looked_at_again() {
        let all: Vec<_> = (0..=REAPED_AT_ONCE).map(|_| ended()).collect();
        let stranger = Pid::from_raw(i32::MAX);
        assert_eq!(reap(stranger), Reaped::Enough);
        assert_eq!(reap(stranger), Reaped::All);
        assert_eq!(reap(stranger), Reaped::All);
        drop(all);
        let task = ended();
        let end = InitReport { signal: 0, code: 0 };
        assert_eq!(reap(pid(&task)), Reaped::Task(end));
    }
}
