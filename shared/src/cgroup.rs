//! Killing everything in a cgroup. Used by the supervisor at the end of a task, and by its zygotes
//! when the supervisor is gone.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::pidfd::PidFd;

/// Rounds over a cgroup whose processes fork faster than they are killed one by one.
const ROUNDS: usize = 10_000;

/// Processes held at once: each takes a descriptor.
const HELD: usize = 64;

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
        File::from(open(dir, "cgroup.kill", OFlag::O_WRONLY)?).write_all(b"1")?;
        // It passes over processes whose first thread has ended while others go on: they are listed
        // still. Nobody is born any more, so once is enough.
        return kill_listed(dir).map(drop);
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
    let all = processes(dir)?;
    let mut listed = all.len();
    for some in all.chunks(HELD) {
        let held = some.iter().map(|&pid| (pid, PidFd::open(pid)));
        let held: Vec<_> = held.collect();
        // Listed still, now that it is held: it is the process that was meant.
        let there: HashSet<_> = processes(dir)?.into_iter().collect();
        for (pid, process) in &held {
            if let (true, Ok(process)) = (there.contains(pid), process) {
                let _ = process.signal(libc::SIGKILL);
            }
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
