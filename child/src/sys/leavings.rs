//! What a task may have left in namespaces that the next one is to have: asked of the kernel by numbers,
//! without the heap.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::resource::{Resource, getrlimit};

use super::check;

/// All that a directory of a private file system shows of what was ever done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    /// Bytes of entries, up to some.
    entries: usize,
    /// Blocks and files that its file system has left.
    left: (u64, u64),
    /// Bytes of names of extended attributes.
    attributes: libc::ssize_t,
    /// Flags as `chattr` sets them, or -1.
    flags: libc::c_long,
}

impl Directory {
    pub(crate) fn look(directory: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: statfs is plain integers, for which all zeroes is a valid value.
        let mut system: libc::statfs = unsafe { std::mem::zeroed() };
        let number = directory.as_raw_fd();
        // SAFETY: the call writes one statfs, and `system` is one.
        check(unsafe { libc::fstatfs(number, &raw mut system) }.into())?;
        // SAFETY: a list of no length is only measured.
        let attributes = unsafe { libc::flistxattr(number, std::ptr::null_mut(), 0) };
        let mut flags: libc::c_long = 0;
        // SAFETY: the call writes an integer no longer than this one.
        if unsafe { libc::ioctl(number, libc::FS_IOC_GETFLAGS, &raw mut flags) } == -1 {
            flags = -1;
        }
        Ok(Self {
            entries: entries(directory)?,
            left: (system.f_bfree, system.f_ffree),
            attributes,
            flags,
        })
    }
}

/// Bytes of the entries of a directory, up to the length of a few.
fn entries(directory: BorrowedFd<'_>) -> io::Result<usize> {
    let number = directory.as_raw_fd();
    // SAFETY: takes numbers.
    check(unsafe { libc::lseek(number, 0, libc::SEEK_SET) })?;
    let mut space = [0_u64; 64];
    let len = size_of_val(&space);
    // SAFETY: the call writes so many bytes at most, aligned as its entries are.
    let read = unsafe { libc::syscall(libc::SYS_getdents64, number, space.as_mut_ptr(), len) };
    match check(read) {
        Ok(read) => Ok(usize::try_from(read).unwrap_or(usize::MAX)),
        // The first entry is longer than there is room for: no directory without entries has such.
        Err(_) => Ok(usize::MAX),
    }
}

/// Whether there is, or may be, any object in this process' namespace of IPC.
pub(crate) fn has_ipc() -> io::Result<bool> {
    // Those of POSIX could only be seen as files; where nobody may make one there is none.
    let (_, most_of_queues) = getrlimit(Resource::RLIMIT_MSGQUEUE)?;
    if most_of_queues != 0 {
        return Ok(true);
    }
    const MSG_INFO: libc::c_int = 12;
    const SHM_INFO: libc::c_int = 14;
    const SEM_INFO: libc::c_int = 19;
    // Larger than each of the three structs, of which the count is one integer.
    let mut info = [0_i32; 64];
    let into = info.as_mut_ptr();
    // SAFETY: `msginfo` is eight integers; of these the first counts.
    let answer = unsafe { libc::msgctl(0, MSG_INFO, into.cast()) };
    let mut has_some = is_there(answer.into())? && info[0] != 0;
    // SAFETY: `shm_info` is an integer that counts, and six numbers.
    let answer = unsafe { libc::shmctl(0, SHM_INFO, into.cast()) };
    has_some |= is_there(answer.into())? && info[0] != 0;
    // SAFETY: `seminfo` is ten integers; of these the eighth counts.
    let answer = unsafe { libc::semctl(0, 0, SEM_INFO, into) };
    has_some |= is_there(answer.into())? && info[7] != 0;
    Ok(has_some)
}

/// Whether a kernel knows what it was asked for.
fn is_there(answer: libc::c_long) -> io::Result<bool> {
    match check(answer) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn a_directory_that_was_written_to_is_another() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        let look = || Directory::look(directory.as_fd()).unwrap().entries;
        let empty = look();
        assert_eq!(look(), empty);
        // Longer than there is room for.
        for name in ["a".to_owned(), "b".repeat(255)] {
            fs::write(place.path().join(&name), "").unwrap();
            assert!(look() > empty, "{name}");
            fs::remove_file(place.path().join(&name)).unwrap();
            assert_eq!(look(), empty);
        }
    }

    /// Whether each kind of object is seen in a namespace that has had none; `None` on a host that makes
    /// none.
    fn sees_each() -> Option<bool> {
        use nix::sched::{CloneFlags, unshare};
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWIPC).ok()?;
        let (_, hard) = getrlimit(Resource::RLIMIT_MSGQUEUE).ok()?;
        let may_have_queues = hard != 0 && has_ipc().unwrap();
        super::super::lower_limit(libc::RLIMIT_MSGQUEUE, 0).ok()?;
        let (new, rights) = (libc::IPC_PRIVATE, 0o600);
        let has_some = || has_ipc().unwrap();
        let mut sees = may_have_queues == (hard != 0) && !has_some();
        // SAFETY: takes numbers.
        let queue = unsafe { libc::msgget(new, rights) };
        sees &= queue != -1 && has_some();
        // SAFETY: as above; to remove one no struct is looked at.
        unsafe { libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()) };
        // SAFETY: takes numbers.
        let memory = unsafe { libc::shmget(new, 4096, rights) };
        sees &= memory != -1 && has_some();
        // SAFETY: as above.
        unsafe { libc::shmctl(memory, libc::IPC_RMID, std::ptr::null_mut()) };
        sees &= !has_some();
        // SAFETY: takes numbers.
        let semaphores = unsafe { libc::semget(new, 1, rights) };
        Some(sees && semaphores != -1 && has_some())
    }

    #[test]
    fn objects_of_every_kind_are_seen() {
        use nix::sys::wait::{WaitStatus, waitpid};
        use nix::unistd::{ForkResult, fork};
        // SAFETY: the new process uses no lock but the allocator's, which outlives forks in glibc.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => crate::sys::leave(i32::from(sees_each() == Some(false))),
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }
}
