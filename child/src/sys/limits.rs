//! Limits of this process, and its descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Lowers a resource limit for good, soft and hard; one that is lower already stays.
pub(crate) fn lower_limit(resource: u32, value: u64) -> io::Result<()> {
    limit_both(resource, value, value)
}

/// Lowers a resource limit for good: `soft` brings a signal, `hard` the end.
pub(crate) fn limit_both(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes one rlimit, and `now` is one.
    if unsafe { libc::getrlimit(resource, &raw mut now) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let lowered = libc::rlimit {
        rlim_cur: soft.min(now.rlim_max),
        rlim_max: hard.min(now.rlim_max),
    };
    if (lowered.rlim_cur, lowered.rlim_max) == (now.rlim_cur, now.rlim_max) {
        return Ok(());
    }
    // SAFETY: the call reads one rlimit, and `lowered` is one.
    if unsafe { libc::setrlimit(resource, &raw const lowered) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor from `first` on. The caller owns none of them through a Rust value
/// that it will use or drop later.
pub(crate) fn close_from(first: u32) {
    // SAFETY: the call takes integers; it cannot fail for an open-ended range without flags. On a
    // kernel without it (before 5.9) nothing is closed, and everything of ours is close-on-exec.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Puts a copy of `descriptor` at the number `place`, open across exec.
pub(crate) fn place(descriptor: BorrowedFd<'_>, place: RawFd) -> io::Result<()> {
    // SAFETY: the call takes two integers. Whatever was open at `place` is closed by it; only
    // fresh forks call this, for places that no Rust value owns or whose owner is never used again.
    if unsafe { libc::dup2(descriptor.as_raw_fd(), place) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// As [`place`], closed on exec.
pub(crate) fn place_privately(descriptor: BorrowedFd<'_>, place: RawFd) -> io::Result<()> {
    // SAFETY: the call takes integers; as for `place`.
    if unsafe { libc::dup3(descriptor.as_raw_fd(), place, libc::O_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor but this one.
pub(crate) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = u32::try_from(kept.as_raw_fd()).unwrap_or(0);
    if kept > 0 {
        // SAFETY: takes integers; the caller keeps no other descriptor that it will use again.
        unsafe { libc::syscall(libc::SYS_close_range, 0, kept - 1, 0) };
    }
    close_from(kept + 1);
}
