//! A directory of the machine. Everything in it is reached through its descriptor, and no link is
//! followed.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use super::disk::Disk;
use crate::broker::BrokerError;
use crate::directory::check_directory;

/// Files of their owner alone.
const MODE: u32 = 0o600;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    dir: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, BrokerError> {
        let unusable = |error: &io::Error| unusable(path, error);
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        match &made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(error));
            }
            _ => {}
        }
        let path = fs::canonicalize(path).map_err(|error| unusable(&error))?;
        check_directory(&path, false, "the checkpoints")?;
        // Also what is no directory answers at once: a named pipe would wait for its other end.
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_DIRECTORY);
        let dir = options.open(&path).map_err(|error| unusable(&error))?;
        if made.is_ok()
            && let Some(parent) = path.parent()
        {
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(|error| unusable(&error))?;
        }
        let opened = Self { path, dir };
        opened.still()?;
        Ok(opened)
    }

    /// Says so if the path leads elsewhere by now.
    fn still(&self) -> Result<(), BrokerError> {
        let same = |now: &Metadata, opened: &Metadata| {
            now.is_dir() && (now.dev(), now.ino()) == (opened.dev(), opened.ino())
        };
        match (fs::symlink_metadata(&self.path), self.dir.metadata()) {
            (Ok(now), Ok(opened)) if same(&now, &opened) => Ok(()),
            _ => Err(BrokerError::Refused {
                reason: format!(
                    "`{}` was removed or replaced while it was open, or is no directory; nothing \
                     was written",
                    self.path.display()
                ),
                way_out: "put the directory back, or restart this process to use the new one"
                    .into(),
            }),
        }
    }

    fn open_file(&self, name: &str, flags: OFlag) -> Result<File, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.dir, name, flags, Mode::from_bits_truncate(MODE)).map(File::from)
    }

    fn say(&self, name: &str, error: impl Into<io::Error>) -> BrokerError {
        unusable(&self.path.join(name), &error.into())
    }
}

impl Disk for Directory {
    type Handle = (File, String);
    type Lock = File;

    fn read(&self, name: &str, longest: usize) -> Result<Option<Vec<u8>>, BrokerError> {
        self.still()?;
        let file = match self.open_file(name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.map_err(|error| self.say(name, error))?,
        };
        let found = file.metadata().map_err(|error| self.say(name, error))?;
        if !found.is_file() {
            return Err(self.say(name, Errno::ELOOP));
        }
        let mut bytes = Vec::new();
        let longest = u64::try_from(longest).unwrap_or(u64::MAX);
        let read = file.take(longest).read_to_end(&mut bytes);
        read.map_err(|error| self.say(name, error))?;
        Ok(Some(bytes))
    }

    fn create(&self, name: &str) -> Result<Self::Handle, BrokerError> {
        self.still()?;
        self.remove(name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = self.open_file(name, flags);
        let file = file.map_err(|error| self.say(name, error))?;
        // The umask may have taken the owner's bits.
        let closed = file.set_permissions(Permissions::from_mode(MODE));
        closed.map_err(|error| self.say(name, error))?;
        Ok((file, name.into()))
    }

    fn write(&self, (file, name): &mut Self::Handle, bytes: &[u8]) -> Result<(), BrokerError> {
        file.write_all(bytes).map_err(|error| self.say(name, error))
    }

    fn sync(&self, (file, name): &Self::Handle) -> Result<(), BrokerError> {
        file.sync_all().map_err(|error| self.say(name, error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), BrokerError> {
        renameat(&self.dir, from, &self.dir, to).map_err(|error| self.say(to, error))
    }

    fn sync_names(&self) -> Result<(), BrokerError> {
        fsync(&self.dir).map_err(|error| self.say("", error))?;
        self.still()
    }

    fn remove(&self, name: &str) -> Result<bool, BrokerError> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(self.say(name, error)),
        }
    }

    fn count(&self, end: &str) -> Result<usize, BrokerError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = Dir::openat(&self.dir, ".", flags, Mode::empty());
        let mut count = 0;
        for entry in dir.map_err(|error| self.say("", error))?.iter() {
            let entry = entry.map_err(|error| self.say("", error))?;
            count += usize::from(entry.file_name().to_bytes().ends_with(end.as_bytes()));
        }
        Ok(count)
    }

    fn lock(&self, name: &str) -> Result<Option<File>, BrokerError> {
        self.still()?;
        let file = self.open_file(name, OFlag::O_RDWR | OFlag::O_CREAT);
        let file = file.map_err(|error| self.say(name, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.say(name, error)),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("`{}`", self.path.join(name).display())
    }
}

fn unusable(path: &Path, error: &io::Error) -> BrokerError {
    let reason = format!("cannot use `{}`: {error}", path.display());
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => BrokerError::Full { reason },
        Some(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO) => BrokerError::Refused {
            reason: format!("`{}` is a link or no regular file", path.display()),
            way_out: "name the file itself; links are not followed".into(),
        },
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ENOENT | Errno::ENOTDIR) => {
            BrokerError::Refused {
                reason,
                way_out: "name a directory that this user can write to, in one that exists".into(),
            }
        }
        _ => BrokerError::Away { reason },
    }
}
