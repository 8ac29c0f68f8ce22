//! A process held by a descriptor: its number can pass to a stranger, the descriptor cannot.
//! Everything that Bulkhead signals, it signals through this type.
#![expect(
    unsafe_code,
    reason = "no crate wraps these calls with all their flags"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PIDFD_SIGNAL_PROCESS_GROUP` (Linux 6.9).
const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// A process.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl From<OwnedFd> for PidFd {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> Self {
        process.0
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

impl PidFd {
    /// Takes hold of the process that has this number now.
    ///
    /// # Errors
    /// `ESRCH` if there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers and reads no memory.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.send(signal, 0)
    }

    /// Sends a signal to the process group that the process leads.
    ///
    /// # Errors
    /// `ESRCH` if there is none; `EINVAL` on kernels before 6.9.
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.send(signal, PROCESS_GROUP)
    }

    fn send(&self, signal: i32, flags: libc::c_uint) -> io::Result<()> {
        let info = std::ptr::null::<libc::siginfo_t>();
        let fd = self.0.as_raw_fd();
        // SAFETY: a null info asks the kernel to fill it in; the others are integers, and the
        // descriptor is open.
        check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) })?;
        Ok(())
    }
}
