//! Waits for a command: reads what it writes, hands SIGTERM on, and does not wait for those who
//! outlive it.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, ExitStatus};

use bulkhead_shared::pidfd::PidFd;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::process;

/// What is read at once.
const READ: usize = 64 << 10;

/// Why a command was not waited for to its end.
#[derive(Debug)]
pub(super) enum WaitError {
    /// It wrote too much.
    TooLong {
        limit: u64,
    },
    System(io::Error),
}

impl From<io::Error> for WaitError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for WaitError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// How it ended, and what it wrote to standard output, if that is read: up to `limit` bytes.
pub(super) fn wait(
    mut child: Child,
    limit: Option<u64>,
) -> Result<(ExitStatus, Vec<u8>), WaitError> {
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let ended = watch(&mut child, pid, limit);
    if ended.is_err() {
        // Our own unreaped child leads its group.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let status = child.wait()?;
    Ok((status, ended?))
}

fn watch(child: &mut Child, pid: i32, limit: Option<u64>) -> Result<Vec<u8>, WaitError> {
    // Between a look at the flag and the wait no SIGTERM gets lost: it is taken in the wait only.
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    term.thread_block()?;
    let pidfd = PidFd::open(pid)?;
    let mut pipe = child.stdout.take();
    if let Some(pipe) = &pipe {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let limit = limit.unwrap_or(0);
    let mut written = Vec::new();
    let mut is_told = false;
    loop {
        if process::is_stopping() && !is_told {
            is_told = true;
            let group = Pid::from_raw(pid);
            killpg(group, Signal::SIGTERM)?;
            killpg(group, Signal::SIGCONT)?;
        }
        let has_ended = ready(pidfd.as_fd(), pipe.as_ref())?;
        if let Some(open) = &mut pipe
            && !read(open, &mut written, limit)?
        {
            pipe = None;
        }
        // What it wrote before its end has been read just now.
        if has_ended {
            term.thread_unblock()?;
            return Ok(written);
        }
    }
}

/// Waits until something is there to be read, a SIGTERM has come or the command has ended; whether
/// it has.
fn ready(pidfd: BorrowedFd<'_>, pipe: Option<&ChildStdout>) -> Result<bool, WaitError> {
    let mut all = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
    all.extend(pipe.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
    match ppoll(&mut all, None, Some(SigSet::empty())) {
        Ok(_) => Ok(all[0].any().unwrap_or(false)),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads what is there; whether more may come.
fn read(pipe: &mut ChildStdout, written: &mut Vec<u8>, limit: u64) -> Result<bool, WaitError> {
    let mut buffer = vec![0; READ];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => written.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if written.len() as u64 > limit {
            return Err(WaitError::TooLong { limit });
        }
    }
}
