//! What this host can do, tried out at start rather than read from version numbers.
//!
//! `BULKHEAD_WITHOUT` makes a probe say no, so that every fallback is tested on any kernel.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::process::cgroup;

/// What can be denied.
pub(crate) const FEATURES: [&str; 7] = [
    "landlock",
    "cgroup",
    "cgroup-kill",
    "pidfd-group",
    "clone3",
    "userns",
    "tid-address",
];

/// What this host can do, less what was denied.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub is_root: bool,
    /// Landlock can scope signals and abstract sockets (ABI 6).
    pub landlock_scope: bool,
    /// Where cgroups may be made.
    pub cgroup: Option<PathBuf>,
    pub cgroup_kill: bool,
    /// A signal can be sent to a process group through a pidfd.
    pub pidfd_group: bool,
    pub clone3: bool,
    /// An ordinary user may make user and pid namespaces.
    pub user_namespaces: bool,
    pub tid_address: bool,
}

impl Host {
    /// Tries everything out. Must run before the process has a second thread: it forks.
    pub(crate) fn probe(without: &[String]) -> Self {
        let has = |feature: &str| !without.iter().any(|denied| denied == feature);
        let is_root = nix::unistd::geteuid().is_root();
        Self {
            is_root,
            landlock_scope: has("landlock") && landlock_abi() >= 6,
            cgroup: if has("cgroup") && is_root {
                writable_cgroup()
            } else {
                None
            },
            cgroup_kill: has("cgroup-kill"),
            pidfd_group: has("pidfd-group") && group_signals(),
            clone3: has("clone3") && clone3_works(),
            user_namespaces: has("userns") && namespaces_work(is_root),
            tid_address: has("tid-address"),
        }
    }
}

/// The version of Landlock; below 1 if it is not there.
pub(crate) fn landlock_abi() -> i64 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call takes a null pointer and no size, and returns a number.
    unsafe {
        let flag = LANDLOCK_CREATE_RULESET_VERSION;
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, flag)
    }
}

fn writable_cgroup() -> Option<PathBuf> {
    let own = cgroup::own_directory()?;
    let trial = own.join(format!("{}probe-{}", cgroup::PREFIX, std::process::id()));
    fs::create_dir(&trial).ok()?;
    let works = trial.join("cgroup.procs").exists() && trial.join("cgroup.events").exists();
    let _ = fs::remove_dir(&trial);
    works.then_some(own)
}

fn group_signals() -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let Ok(process) = bulkhead_shared::pidfd::PidFd::open(own) else {
        return false;
    };
    // Signal 0 tests only; a process that leads no group answers ESRCH, an old kernel EINVAL.
    match process.signal_group(0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() != Some(libc::EINVAL),
    }
}

fn clone3_works() -> bool {
    let none = std::ptr::null_mut::<libc::clone_args>();
    // SAFETY: a null pointer with size 0 makes the call fail before it does anything.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, none, 0) };
    // Where it is filtered the answer is ENOSYS or EPERM; where it exists, EINVAL.
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Tries the namespaces a task would get, in a process of its own.
fn namespaces_work(is_root: bool) -> bool {
    use nix::sched::{CloneFlags, unshare};
    let mut flags = CloneFlags::CLONE_NEWPID;
    if !is_root {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // SAFETY: the caller has one thread, so no lock is held by a thread that is not copied.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let mapped = || {
                is_root
                    || (fs::write("/proc/self/setgroups", "deny").is_ok()
                        && fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).is_ok()
                        && fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).is_ok())
            };
            let works = unshare(flags).is_ok() && mapped();
            // SAFETY: _exit takes an integer and does not return.
            unsafe { libc::_exit(i32::from(!works)) }
        }
        Ok(ForkResult::Parent { child }) => matches!(
            waitpid(child, None),
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0))
        ),
        Err(_) => false,
    }
}
