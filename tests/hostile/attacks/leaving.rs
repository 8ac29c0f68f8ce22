//! On the task that comes next in the same place. Where the first process is the supervisor nothing of
//! this is tried: there everybody shares a machine.

use std::env::temp_dir;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bulkhead_child::Context;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use super::{Attack, Came, Victims};
use crate::sys;

pub(super) const ALL: &[(&str, Attack)] =
    &[("leave-things-behind", leave), ("find-what-was-left", find)];

/// What objects of System V IPC are found by.
const KEY: usize = 0x0062_756c;
const QUEUE: &std::ffi::CStr = c"bulkhead-left";
const ATTRIBUTE: &std::ffi::CStr = c"user.left";
const NICE: usize = 7;
const FILES: u64 = 77;

/// Whether the first process there is may be an init that others have as well.
fn is_below_an_init() -> bool {
    let command = fs::read("/proc/1/cmdline").unwrap_or_default();
    !String::from_utf8_lossy(&command).contains("supervisor")
}

fn file() -> PathBuf {
    temp_dir().join("left")
}

fn directory() -> CString {
    CString::new(temp_dir().as_os_str().as_bytes()).unwrap_or_default()
}

fn leave(_: &Context, _: &Victims) -> Came {
    if !is_below_an_init() {
        return Err("the first process is not an init of its own".into());
    }
    umask(Mode::empty());
    let create = (libc::IPC_CREAT | 0o666) as usize;
    let (name, directory) = (QUEUE.as_ptr() as usize, directory());
    let queue_flags = (libc::O_CREAT | libc::O_RDWR) as usize;
    let lower = [FILES, FILES];
    let tries = [
        (libc::SYS_msgget, [KEY, create, 0, 0, 0, 0]),
        (libc::SYS_semget, [KEY, 1, create, 0, 0, 0]),
        (libc::SYS_shmget, [KEY, 4096, create, 0, 0, 0]),
        (libc::SYS_mq_open, [name, queue_flags, 0o666, 0, 0, 0]),
        (
            libc::SYS_setxattr,
            [
                directory.as_ptr() as usize,
                ATTRIBUTE.as_ptr() as usize,
                name,
                3,
                0,
                0,
            ],
        ),
        (
            libc::SYS_setpriority,
            [libc::PRIO_PROCESS as usize, 1, NICE, 0, 0, 0],
        ),
        (
            libc::SYS_prlimit64,
            [
                1,
                libc::RLIMIT_NOFILE as usize,
                lower.as_ptr() as usize,
                0,
                0,
                0,
            ],
        ),
    ];
    let done = tries
        .into_iter()
        .filter(|(number, arguments)| sys::raw(*number, *arguments).is_ok());
    let done = done.count();
    let _ = fs::write(file(), "left");
    let _ = fs::set_permissions(temp_dir(), fs::Permissions::from_mode(0o777));
    // They may end this task, or wait for the next one.
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let _ = kill(Pid::from_raw(1), signal);
    }
    Err(format!(
        "{done} of {} done; the next task tells",
        tries.len()
    ))
}

fn find(_: &Context, _: &Victims) -> Came {
    let (name, directory) = (QUEUE.as_ptr() as usize, directory());
    let mut names = [0_u8; 64];
    let list = [
        directory.as_ptr() as usize,
        names.as_mut_ptr() as usize,
        names.len(),
        0,
        0,
        0,
    ];
    let listed = sys::raw(libc::SYS_listxattr, list).unwrap_or(0);
    let is_there = |number, arguments| sys::raw(number, arguments).is_ok();
    let mode = fs::metadata(temp_dir()).map_or(0, |found| found.permissions().mode() & 0o777);
    // The kernel's own answer, which is 20 for an unchanged one.
    let nice = sys::raw(
        libc::SYS_getpriority,
        [libc::PRIO_PROCESS as usize, 0, 0, 0, 0, 0],
    );
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let found = [
        (
            "a queue",
            is_there(libc::SYS_mq_open, [name, 0, 0, 0, 0, 0]),
        ),
        (
            "a System V queue",
            is_there(libc::SYS_msgget, [KEY, 0, 0, 0, 0, 0]),
        ),
        (
            "semaphores",
            is_there(libc::SYS_semget, [KEY, 0, 0, 0, 0, 0]),
        ),
        (
            "shared memory",
            is_there(libc::SYS_shmget, [KEY, 0, 0, 0, 0, 0]),
        ),
        (
            "an attribute",
            names[..listed].starts_with(ATTRIBUTE.to_bytes()),
        ),
        ("a file", file().exists()),
        ("rights of a directory", mode == 0o777 && is_below_an_init()),
        ("a low priority", nice == Ok(20 - NICE)),
        ("a low limit", open_files == FILES),
    ];
    let found: Vec<_> = found
        .into_iter()
        .filter(|(_, is_there)| *is_there)
        .collect();
    match found.as_slice() {
        [] => Err("nothing is left of others".into()),
        found => Ok(found
            .iter()
            .map(|(what, _)| *what)
            .collect::<Vec<_>>()
            .join(", ")),
    }
}
