//! Files in memory that have no name: gone with the last process that holds them.
//!
//! A profile may keep its tasks from making one where nobody counts the memory (an ordinary user's
//! supervisor without cgroups). Then it lies in the private `/tmp`, which is in memory, too, and has its
//! size; never in a directory on a disk.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

/// Who has the file besides this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heir {
    /// Nobody, unless it is handed over.
    Nobody,
    /// What this process starts, under the same number.
    Command,
}

/// A file in memory with this in it, read from its start.
pub(super) fn file(bytes: &[u8], heir: Heir, home: Option<&Path>) -> io::Result<File> {
    let flags = match heir {
        Heir::Nobody => MFdFlags::MFD_CLOEXEC,
        Heir::Command => MFdFlags::empty(),
    };
    let mut file = match (memfd_create("bulkhead", flags), home) {
        (Err(Errno::EPERM), Some(home)) => unnamed(home, heir)?,
        (made, _) => File::from(made?),
    };
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// A file without a name in a directory that is in memory.
fn unnamed(home: &Path, heir: Heir) -> io::Result<File> {
    let close = match heir {
        Heir::Nobody => OFlag::O_CLOEXEC,
        Heir::Command => OFlag::empty(),
    };
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | close;
    let file = File::from(open(home, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    match fstatfs(&file)?.filesystem_type() {
        TMPFS_MAGIC => Ok(file),
        _ => Err(io::Error::other(
            "the profile refuses `memfd_create`, and the private directory is on a disk (give the profile a `tmp`, as in tmp = \"64MiB\")",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    fn text(mut file: &File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_written_is_read_from_the_start_and_again_by_its_number() {
        let made = file(b"hello", Heir::Command, None).unwrap();
        assert_eq!(text(&made), "hello");
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hello");
    }

    #[test]
    fn a_directory_in_memory_will_do_and_one_on_a_disk_will_not() {
        let Ok(mut made) = unnamed(Path::new("/dev/shm"), Heir::Nobody) else {
            // No such directory here: what is tested end to end is tested there.
            return;
        };
        made.write_all(b"hello").unwrap();
        made.rewind().unwrap();
        assert_eq!(text(&made), "hello");
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hello");
        // The sources are on a disk, or on something else that is no memory.
        let disk = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(unnamed(disk, Heir::Nobody).is_err());
    }
}
