//! What this host can do, tried out at start rather than read from version numbers.
//!
//! `BULKHEAD_WITHOUT` makes a probe say no, so that every fallback is tested on any kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::process::limits::Controllers;
use crate::process::users::{self, Users};
use crate::process::{cgroup, memory};

/// What can be denied.
pub(crate) const FEATURES: [&str; 14] = [
    "landlock",
    "cgroup",
    "cgroup-kill",
    "pidfd-group",
    "clone3",
    "userns",
    "tid-address",
    "seccomp",
    "mounts",
    "network-namespace",
    "ipc-namespace",
    "limits",
    "wardens",
    "task-users",
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
    /// The version of Landlock; 0 if there is none.
    pub landlock_abi: i64,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// A task can have mounts of its own, and a `/proc`.
    pub mounts: bool,
    pub network_namespaces: bool,
    /// Also those of the host's name.
    pub ipc_namespaces: bool,
    /// Cgroups that limit memory, processes, CPU.
    pub controllers: Option<Controllers>,
    /// The kernel tells the children of a process.
    pub children: bool,
    /// Each process can have a user of its own.
    pub task_users: bool,
    /// An init that stays can end what its task has started, and clear up after it.
    pub wardens: bool,
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
            landlock_abi: if has("landlock") {
                landlock_abi().max(0)
            } else {
                0
            },
            seccomp: has("seccomp") && filters_work(),
            mounts: has("mounts") && has("userns") && try_out(is_root, own_mounts),
            network_namespaces: has("network-namespace")
                && has("userns")
                && try_out(is_root, || make(CloneFlags::CLONE_NEWNET)),
            ipc_namespaces: has("ipc-namespace")
                && has("userns")
                && try_out(is_root, || {
                    make(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
                }),
            controllers: if has("limits") && is_root {
                Controllers::find()
            } else {
                None
            },
            children: memory::lists_children(),
            task_users: has("task-users")
                && is_root
                && Users::claim(Path::new(users::LOCKS)).is_ok(),
            wardens: has("wardens") && is_root && is_able(&ABILITIES),
        }
    }
}

/// What root must not have lost for that (`linux/capability.h`): to signal, own and open what is
/// others', and to mount. The kernel does not say that it has signalled nobody.
const ABILITIES: [u32; 5] = [
    5,  // CAP_KILL
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    21, // CAP_SYS_ADMIN
];

/// Whether all of these capabilities are in effect.
fn is_able(capabilities: &[u32]) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let has = |capability: &u32| effective.is_some_and(|mask| mask & 1 << capability != 0);
    capabilities.iter().all(has)
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

/// Whether this kernel takes filters that return an error.
fn filters_work() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    let action = SECCOMP_RET_ERRNO;
    // SAFETY: with this operation the call reads one number, which outlives it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

/// Tries the namespaces a task would get.
fn namespaces_work(is_root: bool) -> bool {
    try_out(is_root, || make(CloneFlags::CLONE_NEWPID))
}

fn make(namespaces: CloneFlags) -> bool {
    unshare(namespaces).is_ok()
}

/// A private mount, a mount as a descriptor, and a `/proc` of its own, as `strict` makes them.
fn own_mounts() -> bool {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    let is_private = make(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        && mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).is_ok();
    // SAFETY: the caller is a process with one thread.
    is_private
        && match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let works = mount_points_move() && mounts_proc();
                // SAFETY: _exit takes an integer and does not return.
                unsafe { libc::_exit(i32::from(!works)) }
            }
            Ok(ForkResult::Parent { child }) => ended_well(child),
            Err(_) => false,
        }
}

fn mount_points_move() -> bool {
    let tmpfs = nix::mount::mount(
        Some("probe"),
        "/tmp",
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    );
    const OPEN_TREE_CLONE: u32 = 1;
    // SAFETY: the call reads a text that outlives it.
    let tree = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            c"/dev/null".as_ptr(),
            OPEN_TREE_CLONE,
        )
    };
    let attributes = [0_u64; 4];
    // SAFETY: the path is empty, as the flag asks; the call reads so many bytes, which outlive it.
    let confined = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    tmpfs.is_ok() && tree >= 0 && confined == 0
}

fn mounts_proc() -> bool {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    // SAFETY: the call reads a text that outlives it.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 0) };
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the command takes neither key nor value.
    let made = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context,
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    };
    // SAFETY: the call takes numbers.
    made == 0 && unsafe { libc::syscall(libc::SYS_fsmount, context, 0, 0) } >= 0
}

/// Tries something in a process of its own, inside a user namespace if it has no privileges.
fn try_out(is_root: bool, what: impl FnOnce() -> bool) -> bool {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // SAFETY: the caller has one thread, so no lock is held by a thread that is not copied.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let inside = || {
                is_root
                    || (make(CloneFlags::CLONE_NEWUSER)
                        && fs::write("/proc/self/setgroups", "deny").is_ok()
                        && fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).is_ok()
                        && fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).is_ok())
            };
            let works = inside() && what();
            // SAFETY: _exit takes an integer and does not return.
            unsafe { libc::_exit(i32::from(!works)) }
        }
        Ok(ForkResult::Parent { child }) => ended_well(child),
        Err(_) => false,
    }
}

fn ended_well(child: nix::unistd::Pid) -> bool {
    use nix::sys::wait::WaitStatus::Exited;
    matches!(waitpid(child, None), Ok(Exited(_, 0)))
}
