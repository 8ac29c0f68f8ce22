//! Mounts as descriptors: made where nobody sees them, and put into their place at once.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC.cast_unsigned();
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH.cast_unsigned();
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const FSOPEN_CLOEXEC: u32 = 1;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSMOUNT_CLOEXEC: u32 = 1;

/// What a mount does not allow.
pub(crate) const READ_ONLY: u64 = 0x1;
/// Programs that change their user do not.
pub(crate) const NO_SETUID: u64 = 0x2;
/// Devices cannot be opened.
pub(crate) const NO_DEVICES: u64 = 0x4;
/// Nothing can be executed.
pub(crate) const NO_EXECUTION: u64 = 0x8;

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

pub(crate) fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn opened(value: libc::c_long) -> io::Result<OwnedFd> {
    let number = i32::try_from(check(value)?).unwrap_or(-1);
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy of what is mounted at `path` and below, in no place yet.
pub(crate) fn copy_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = text(path)?;
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    // SAFETY: the call reads a text that outlives it.
    opened(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Takes rights away from a mount; also from those below it.
pub(crate) fn confine_tree(mount: BorrowedFd<'_>, without: u64) -> io::Result<()> {
    let attributes = Attributes {
        set: without,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: the path is empty, as the flag asks; the struct is as long as is said and outlives
    // the call, which reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })?;
    Ok(())
}

/// Puts a mount into its place.
pub(crate) fn attach(mount: BorrowedFd<'_>, place: &CStr) -> io::Result<()> {
    // SAFETY: the call reads two texts that outlive it; the descriptor is open.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// The `/proc` of this process' pid namespace, in no place yet. In it a user sees none but the own
/// processes.
pub(crate) fn own_proc(without: u64) -> io::Result<OwnedFd> {
    // SAFETY: the call reads a text that outlives it.
    let context =
        opened(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) })?;
    let none = std::ptr::null::<libc::c_char>();
    let hidden = (FSCONFIG_SET_STRING, c"hidepid".as_ptr(), c"2".as_ptr());
    for (command, key, value) in [hidden, (FSCONFIG_CMD_CREATE, none, none)] {
        // SAFETY: the descriptor is open; the call reads two texts that outlive it, or none.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                key,
                value,
                0,
            )
        })?;
    }
    // SAFETY: the call takes an open descriptor and numbers.
    opened(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            without,
        )
    })
}
