//! On the walls: namespaces, mounts, users, frames.

use std::os::fd::AsRawFd;

use bulkhead_child::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Attack, Came, Victims, came, reached};
use crate::sys;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("make-user-namespace", |_, _| {
        new_namespace(libc::CLONE_NEWUSER)
    }),
    ("make-namespace-by-x32", |_, _| {
        // The same by its other number, where the kernel has two for each.
        const X32: i64 = 0x4000_0000;
        let flag = usize::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
        apart(|| sys::raw(libc::SYS_unshare | X32, [flag, 0, 0, 0, 0, 0]).is_ok())
    }),
    ("make-network-namespace", |_, _| {
        new_namespace(libc::CLONE_NEWNET)
    }),
    ("clone-into-namespace", clone_namespace),
    ("clone3-into-namespace", clone3_namespace),
    ("enter-namespace", enter_namespace),
    ("mount", mount_tmpfs),
    ("unmount", unmount),
    ("change-root", |_, _| came(nix::unistd::chroot("/"))),
    ("pivot-root", |_, _| {
        let root = c"/".as_ptr() as usize;
        reached(libc::SYS_pivot_root, [root, root, 0, 0, 0, 0])
    }),
    ("open-a-mount", |_, _| {
        let root = c"/".as_ptr() as usize;
        came(sys::raw(libc::SYS_open_tree, [HERE, root, 1, 0, 0, 0]))
    }),
    ("become-root", |_, _| {
        came(nix::unistd::setresuid(0.into(), 0.into(), 0.into()))
    }),
    ("become-somebody-else", |_, _| {
        came(nix::unistd::setresuid(1.into(), 1.into(), 1.into()))
    }),
    ("regain-capabilities", capabilities),
];

/// `AT_FDCWD`.
const HERE: usize = 100_usize.wrapping_neg();

/// In a process of its own: the attacker itself would be somewhere else afterwards.
fn apart(what: impl FnOnce() -> bool) -> Came {
    match sys::fork().map_err(|errno| errno.to_string())? {
        nix::unistd::ForkResult::Child => match what() {
            true => sys::leave(),
            false => sys::leave_badly(),
        },
        nix::unistd::ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok("done".into()),
            other => Err(format!("{other:?}")),
        },
    }
}

fn new_namespace(flag: i32) -> Came {
    let flag = usize::try_from(flag).unwrap_or(0);
    apart(|| sys::raw(libc::SYS_unshare, [flag, 0, 0, 0, 0, 0]).is_ok())
}

fn clone_namespace(_: &Context, _: &Victims) -> Came {
    let flags = usize::try_from(libc::CLONE_NEWUSER | libc::SIGCHLD).unwrap_or(0);
    match sys::raw(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) {
        Ok(0) => sys::leave(),
        other => came(other),
    }
}

fn clone3_namespace(_: &Context, _: &Victims) -> Came {
    // `struct clone_args`: flags first, the signal at its end fifth.
    let mut arguments = [0_u64; 11];
    arguments[0] = u64::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
    arguments[4] = u64::try_from(libc::SIGCHLD).unwrap_or(0);
    let (place, size) = (arguments.as_ptr() as usize, size_of_val(&arguments));
    match sys::raw(libc::SYS_clone3, [place, size, 0, 0, 0, 0]) {
        Ok(0) => sys::leave(),
        other => came(other),
    }
}

fn enter_namespace(_: &Context, _: &Victims) -> Came {
    let namespace = std::fs::File::open("/proc/1/ns/mnt").map_err(|error| error.to_string())?;
    let number = usize::try_from(namespace.as_raw_fd()).unwrap_or(0);
    apart(|| sys::raw(libc::SYS_setns, [number, 0, 0, 0, 0, 0]).is_ok())
}

fn mount_tmpfs(_: &Context, _: &Victims) -> Came {
    let place = std::env::var_os("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let place = place.to_string_lossy();
    let kind = Some("tmpfs");
    let done = mount(kind, place.as_ref(), kind, MsFlags::empty(), None::<&str>);
    if done.is_ok() {
        let _ = umount2(place.as_ref(), MntFlags::MNT_DETACH);
    }
    came(done)
}

fn unmount(_: &Context, _: &Victims) -> Came {
    // A place that nothing is mounted at: whoever may unmount is told so.
    let nothing = c"/proc/self/status".as_ptr() as usize;
    reached(libc::SYS_umount2, [nothing, 0, 0, 0, 0, 0])
}

fn capabilities(_: &Context, _: &Victims) -> Came {
    let header = [0x2008_0522_u32, 0];
    let all = [u32::MAX; 6];
    let (header, all) = (header.as_ptr() as usize, all.as_ptr() as usize);
    came(sys::raw(libc::SYS_capset, [header, all, 0, 0, 0, 0]))
}
