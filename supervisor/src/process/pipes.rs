//! The pipes of one task process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

/// Our ends: none of them ever blocks.
#[derive(Debug)]
pub(crate) struct Ours {
    pub job: OwnedFd,
    pub result: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// How the task ended, where an init of ours stands above it: a socket that keeps packets apart, as
    /// a warden also hears through it.
    pub report: Option<OwnedFd>,
}

/// The process' ends, in the order of the wire.
#[derive(Debug)]
pub(crate) struct Theirs {
    job: OwnedFd,
    result: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    report: Option<OwnedFd>,
}

impl Theirs {
    /// Descriptors for a fork request; `cgroup` goes before the report, `limits` behind it.
    pub(crate) fn in_order<'a>(
        &'a self,
        cgroup: Option<BorrowedFd<'a>>,
        limits: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> Vec<BorrowedFd<'a>> {
        let pipes = [&self.job, &self.result, &self.stdout, &self.stderr];
        let report = self.report.as_ref().map(AsFd::as_fd);
        pipes
            .into_iter()
            .map(AsFd::as_fd)
            .chain(cgroup)
            .chain(report)
            .chain(limits)
            .collect()
    }
}

/// Opens them all.
pub(crate) fn open(with_report: bool) -> io::Result<(Ours, Theirs)> {
    let (their_job, job) = pipe2(OFlag::O_CLOEXEC)?;
    let (result, their_result) = pipe2(OFlag::O_CLOEXEC)?;
    let (stdout, their_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, their_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let (report, their_report) = if with_report {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
        (Some(ours), Some(theirs))
    } else {
        (None, None)
    };
    for end in [&job, &result, &stdout, &stderr].into_iter().chain(&report) {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let ours = Ours {
        job,
        result,
        stdout,
        stderr,
        report,
    };
    let theirs = Theirs {
        job: their_job,
        result: their_result,
        stdout: their_stdout,
        stderr: their_stderr,
        report: their_report,
    };
    Ok((ours, theirs))
}
