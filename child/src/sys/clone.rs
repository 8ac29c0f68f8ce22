//! The forks of a zygote: a task's process is its sibling, a child of the supervisor; that of a rehearsal
//! its child.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// Which side of the fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The new process.
    Task,
    /// The zygote, with the new process' id and pidfd.
    Zygote(i32, OwnedFd),
}

/// What the fork asks of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Be born in this cgroup (clone3 only).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Where libc keeps the thread's id.
    pub tid_address: Option<NonZeroU64>,
    /// Use clone3; else clone.
    pub clone3: bool,
}

/// Where libc keeps this thread's id: a raw clone leaves the copy stale unless the kernel
/// rewrites it. `None` on kernels built without checkpoint/restore.
pub(crate) fn tid_address() -> Option<NonZeroU64> {
    const PR_GET_TID_ADDRESS: libc::c_int = 40;
    let mut address: u64 = 0;
    // SAFETY: this prctl writes one pointer-sized value to the address given, which is a u64.
    let done = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut address) };
    if done == 0 {
        NonZeroU64::new(address)
    } else {
        None
    }
}

/// Forks a process whose parent is this process' parent.
///
/// The caller must be single-threaded: the zygote checks that at its start.
pub(crate) fn spawn_sibling(how: How<'_>) -> io::Result<Forked> {
    if how.clone3 {
        by_clone3(how)
    } else {
        by_clone(how)
    }
}

/// Forks a child of this process that nobody is told of when it ends: the id of it here, 0 there. Runs
/// no handler that the program has set for its forks.
///
/// The caller must be single-threaded, and waits for the child with `__WALL`.
pub(crate) fn spawn_unheard() -> io::Result<i32> {
    spawn_child(0, None)
}

/// Forks a child of this process, in `namespaces` of its own (`CLONE_NEW*`): the id of it here, 0 there.
/// SIGCHLD tells of its end. Runs no handler that the program has set for its forks.
///
/// The caller must be single-threaded.
pub(crate) fn spawn_below(namespaces: u64, tid_address: Option<NonZeroU64>) -> io::Result<i32> {
    spawn_child(namespaces | libc::SIGCHLD as u64, tid_address)
}

fn spawn_child(mut flags: u64, tid_address: Option<NonZeroU64>) -> io::Result<i32> {
    if tid_address.is_some() {
        flags |= (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
    }
    let child_tid = tid_address.map_or(0, NonZeroU64::get);
    // SAFETY: without CLONE_VM the new process has its own copy of all memory, as after fork; the process
    // is single-threaded, so no lock is held by a thread that is not copied. Written to is only where libc
    // keeps the thread's id, of which x86_64 and aarch64 differ in the place.
    let pid = check(unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            libc::syscall(libc::SYS_clone, flags, 0, 0, child_tid, 0)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            libc::syscall(libc::SYS_clone, flags, 0, 0, 0, child_tid)
        }
    })?;
    Ok(i32::try_from(pid).unwrap_or(i32::MAX))
}

#[expect(clippy::cast_sign_loss, reason = "clone flags are bits")]
fn by_clone3(how: How<'_>) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // exit_signal stays 0, as CLONE_PARENT demands: the new process takes the zygote's.
    args.flags = how.namespaces | (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if let Some(address) = how.tid_address {
        args.flags |= (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
        args.child_tid = address.get();
    }
    if let Some(cgroup) = how.cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the new process has its own copy of all memory, as after fork; the
    // process is single-threaded, so no lock is held by a thread that is not copied. `args` and
    // `pidfd` outlive the call.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    })?;
    Ok(side(pid, pidfd))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the legacy call takes 32 bits of flags"
)]
fn by_clone(how: How<'_>) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = how.namespaces as libc::c_int | libc::CLONE_PARENT | libc::CLONE_PIDFD;
    if how.tid_address.is_some() {
        flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    }
    let child_tid = how.tid_address.map_or(0, NonZeroU64::get);
    // SAFETY: as for clone3; a null stack means to go on with a copy of this one, and the pidfd is
    // written to the fourth place, which lives until the call returns. x86_64 and aarch64 differ
    // in the order of the last two, which are told apart below.
    let pid = check(unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, child_tid, 0)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, child_tid)
        }
    })?;
    Ok(side(pid, pidfd))
}

fn side(pid: libc::c_long, pidfd: libc::c_int) -> Forked {
    match i32::try_from(pid).unwrap_or(i32::MAX) {
        0 => Forked::Task,
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        pid => Forked::Zygote(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }),
    }
}
