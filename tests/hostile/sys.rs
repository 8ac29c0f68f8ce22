//! What an attack needs of the system that safe Rust does not give.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::ForkResult;

/// The result pipe's number in every task process.
const RESULTS: i32 = 4;

/// The result pipe.
pub(crate) fn results() -> BorrowedFd<'static> {
    // SAFETY: it is open from before the first task to the end of the process, unless a task of
    // this program closes it, which does not use it afterwards.
    unsafe { BorrowedFd::borrow_raw(RESULTS) }
}

/// Closes the result pipe behind the back of its owner.
pub(crate) fn close_results() {
    // SAFETY: close takes a number. Nobody writes to it afterwards: the task that does this hangs.
    unsafe { libc::close(RESULTS) };
}

/// Puts `descriptor` in the place of the result pipe.
pub(crate) fn replace_results(descriptor: &OwnedFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: dup2 takes two numbers; the place stays open, which is all that its owner needs.
    unsafe { libc::dup2(descriptor.as_raw_fd(), RESULTS) };
}

/// Copies this process.
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the process of a task has one thread, and no task of this program starts more; in
    // a group of threads the copy makes system calls only.
    unsafe { nix::unistd::fork() }
}

/// Ignores a signal.
pub(crate) fn ignore(which: Signal) -> nix::Result<()> {
    // SAFETY: to ignore a signal runs no code.
    unsafe { signal(which, SigHandler::SigIgn) }?;
    Ok(())
}

/// Writes to an address where there is never any memory.
pub(crate) fn touch_nothing() {
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: there is none: this write is meant to fault. It is volatile, so it is not removed,
    // and below the lowest address that can be mapped, so it changes nothing.
    unsafe { nowhere.write_volatile(1) };
}

/// Any system call.
pub(crate) fn raw(number: i64, a: [usize; 6]) -> nix::Result<usize> {
    // SAFETY: attacks give the kernel nonsense on purpose; pointers among it lead to memory of
    // the caller that outlives the call.
    let answer = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    let answer = nix::errno::Errno::result(answer)?;
    Ok(usize::try_from(answer).unwrap_or(0))
}

/// The file behind a number that was just opened.
pub(crate) fn file(number: usize) -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller has just opened it, and nobody else knows it.
    unsafe { std::fs::File::from_raw_fd(i32::try_from(number).unwrap_or(-1)) }
}

/// Ends a copy of this process well.
pub(crate) fn leave() -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(0) }
}

/// Ends a copy of this process badly.
pub(crate) fn leave_badly() -> ! {
    // SAFETY: as above.
    unsafe { libc::_exit(1) }
}

/// Memory that would be shared with children.
pub(crate) struct Shared {
    start: *mut u8,
    len: usize,
}

/// Maps so many bytes of it.
pub(crate) fn map_shared(len: usize) -> nix::Result<Shared> {
    let (read_write, shared) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: a new mapping at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, read_write, shared, -1, 0) };
    match start {
        libc::MAP_FAILED => Err(nix::errno::Errno::last()),
        start => Ok(Shared {
            start: start.cast(),
            len,
        }),
    }
}

impl Shared {
    /// Leaves only its first page mapped.
    pub(crate) fn unmap_tail(self) -> nix::Result<()> {
        let rest = self.len - 4096;
        // SAFETY: the mapping has more than a page.
        let tail = unsafe { self.start.add(4096) };
        // SAFETY: it is the rest of the mapping, which nobody uses any more.
        let done = unsafe { libc::munmap(tail.cast(), rest) };
        nix::errno::Errno::result(done).map(drop)
    }

    /// Writes to each page of the first `bytes`.
    pub(crate) fn touch(&self, bytes: usize) {
        for at in (0..bytes.min(self.len)).step_by(4096) {
            // SAFETY: it lies within the mapping.
            let place = unsafe { self.start.add(at) };
            // SAFETY: as above; the mapping can be written, and nobody else knows it.
            unsafe { place.write_volatile(1) };
        }
    }
}
