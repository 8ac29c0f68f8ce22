//! Killing everything in a cgroup. Used by the supervisor at the end of a task, and by its zygotes
//! when the supervisor is gone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::pidfd::PidFd;

/// Rounds over a cgroup whose processes fork faster than they are killed one by one.
const ROUNDS: usize = 10_000;

fn open(dir: BorrowedFd<'_>, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(
        dir,
        name,
        flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
        Mode::empty(),
    )
}

/// Kills every process in the cgroup `dir` and below it. `whole` uses `cgroup.kill` (Linux 5.14);
/// otherwise processes are killed one by one until none is left.
///
/// # Errors
/// When the cgroup cannot be read or written. The processes may take a moment to be gone.
pub fn kill_all(dir: BorrowedFd<'_>, whole: bool) -> io::Result<()> {
    if whole {
        return File::from(open(dir, "cgroup.kill", OFlag::O_WRONLY)?).write_all(b"1");
    }
    for _ in 0..ROUNDS {
        if kill_listed(dir)? == 0 {
            return Ok(());
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// One round; how many processes were listed.
fn kill_listed(dir: BorrowedFd<'_>) -> io::Result<usize> {
    let mut listed = 0;
    for pid in processes(dir)? {
        listed += 1;
        let Ok(process) = PidFd::open(pid) else {
            continue;
        };
        // Listed still, now that it is held: it is the process that was meant.
        if processes(dir)?.contains(&pid) {
            let _ = process.signal(libc::SIGKILL);
        }
    }
    let mut entries = Dir::from_fd(open(dir, ".", OFlag::O_DIRECTORY | OFlag::O_RDONLY)?)?;
    for entry in entries.iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == Some(nix::dir::Type::Directory) && !name.starts_with('.') {
            let below = open(dir, &name, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
            listed += kill_listed(below.as_fd())?;
        }
    }
    Ok(listed)
}

/// The processes in the cgroup `dir` itself.
///
/// # Errors
/// When it cannot be read.
pub fn processes(dir: BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    let mut text = String::new();
    File::from(open(dir, "cgroup.procs", OFlag::O_RDONLY)?).read_to_string(&mut text)?;
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid| pid > 0)
        .collect())
}
