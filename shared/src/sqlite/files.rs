//! The store's files: where they are, who may touch them, whether they are still the same.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::statfs;

use crate::backend::{Missing, Options};
use crate::broker::BrokerError;
use crate::directory::check_directory;

/// Bits that let others than owner and group in.
const OTHERS: u32 = 0o007;

/// The files of one store.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The database, in a directory without links.
    pub(super) db: PathBuf,
    group_access: bool,
}

/// Which file a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Files {
    /// Checks the place; creates nothing.
    pub(super) fn new(path: &str, options: &Options) -> Result<Self, BrokerError> {
        let path = Path::new(path);
        let Some(name) = path.file_name() else {
            return Err(refused(
                format!("`{}` is not the name of a file", path.display()),
                "write `sqlite:PATH`, such as `sqlite:bulkhead.db`",
            ));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = fs::canonicalize(parent).map_err(|error| {
            refused(
                format!("no store at `{}`: its directory: {error}", path.display()),
                "make the directory, or name another path",
            )
        })?;
        check_directory(&dir, options.group_access, "the store")?;
        check_file_system(&dir)?;
        Ok(Self {
            db: dir.join(name),
            group_access: options.group_access,
        })
    }

    /// Makes sure that the database is a file of its own that others cannot read.
    pub(super) fn prepare(&self, missing: Missing) -> Result<(), BrokerError> {
        let found = match fs::symlink_metadata(&self.db) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if missing == Missing::Refuse {
                    return Err(refused(
                        format!("there is no store at `{}`", self.db.display()),
                        "start a supervisor, submit a job or make a stream there, or name another one with --store",
                    ));
                }
                return self.create();
            }
            Err(error) => return Err(self.unusable(&self.db, &error)),
        };
        if !found.is_file() {
            return Err(not_a_file(&self.db));
        }
        if found.mode() & OTHERS != 0 {
            let closed = fs::Permissions::from_mode(found.mode() & 0o770);
            fs::set_permissions(&self.db, closed).map_err(|error| {
                refused(
                    format!(
                        "others may open `{}` and that cannot be changed: {error}",
                        self.db.display()
                    ),
                    "run `chmod o-rwx` on it",
                )
            })?;
        }
        Ok(())
    }

    fn create(&self) -> Result<(), BrokerError> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.mode())
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.db)
            .and_then(|file| self.set_mode(&file));
        match made {
            // Another process was first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|error| self.unusable(&self.db, &error)),
        }
    }

    /// Opens one of the files beside the database, made if it is missing.
    pub(super) fn open_beside(&self, suffix: &str) -> Result<File, BrokerError> {
        let path = self.beside(suffix);
        let open = |may_create| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(may_create)
                .mode(self.mode())
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
        };
        let file = match open(true) {
            Ok(file) => {
                self.set_mode(&file)
                    .map_err(|error| self.unusable(&path, &error))?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open(false).map_err(|error| match error.raw_os_error() {
                    Some(libc::ELOOP | libc::EISDIR) => not_a_file(&path),
                    _ => self.unusable(&path, &error),
                })?
            }
            Err(error) => return Err(self.unusable(&path, &error)),
        };
        let found = file
            .metadata()
            .map_err(|error| self.unusable(&path, &error))?;
        if found.is_file() {
            Ok(file)
        } else {
            Err(not_a_file(&path))
        }
    }

    /// After this, whatever has been committed survives a power cut: it is in the log or has been
    /// folded into the file, and a fold syncs both by itself.
    pub(super) fn sync_log(&self) -> io::Result<()> {
        let log = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.beside("-wal"))?;
        log.sync_all()?;
        let dir = self.db.parent().unwrap_or_else(|| Path::new("."));
        File::open(dir)?.sync_all()
    }

    /// The path of a file beside the database.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.db);
        path.push(suffix);
        path.into()
    }

    /// Which file the database's path leads to now.
    pub(super) fn identity(&self) -> Result<Identity, BrokerError> {
        fs::symlink_metadata(&self.db)
            .map(|found| Identity::of(&found))
            .map_err(|_| self.moved())
    }

    /// Says so if the path no longer leads to `opened`.
    pub(super) fn still(&self, opened: Identity) -> Result<(), BrokerError> {
        if self.identity()? == opened {
            Ok(())
        } else {
            Err(self.moved())
        }
    }

    fn moved(&self) -> BrokerError {
        refused(
            format!(
                "`{}` was removed or replaced while it was open; nothing was written",
                self.db.display()
            ),
            "put the file back, or restart this process to use the new one",
        )
    }

    fn mode(&self) -> u32 {
        if self.group_access { 0o660 } else { 0o600 }
    }

    /// The umask may have taken the group's bits.
    fn set_mode(&self, file: &File) -> io::Result<()> {
        file.set_permissions(fs::Permissions::from_mode(self.mode()))
    }

    pub(super) fn unusable(&self, path: &Path, error: &io::Error) -> BrokerError {
        let reason = format!("cannot open `{}`: {error}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                BrokerError::Full { reason }
            }
            _ => refused(
                reason,
                "let this user write the file and its directory, or name another path",
            ),
        }
    }
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

pub(super) fn refused(reason: impl Into<String>, way_out: &str) -> BrokerError {
    BrokerError::Refused {
        reason: reason.into(),
        way_out: way_out.into(),
    }
}

fn not_a_file(path: &Path) -> BrokerError {
    refused(
        format!("`{}` is a link or no regular file", path.display()),
        "name the file itself; links are not followed",
    )
}

fn check_file_system(dir: &Path) -> Result<(), BrokerError> {
    let Ok(found) = statfs(dir) else {
        return Ok(());
    };
    match network_file_system(found.filesystem_type().0) {
        Some(name) => Err(refused(
            format!("`{}` is on {name}, a network file system", dir.display()),
            "SQLite needs a local one; use `redis://...` to share a store between machines",
        )),
        None => Ok(()),
    }
}

/// The name of a file system on which locks and shared memory do not hold between machines.
const fn network_file_system(magic: i64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x0102_1997 => "9P",
        0x5346_414F => "AFS",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_local_ones_are_not_taken_for_them() {
        assert_eq!(network_file_system(libc::NFS_SUPER_MAGIC), Some("NFS"));
        assert_eq!(network_file_system(libc::EXT4_SUPER_MAGIC), None);
        assert_eq!(network_file_system(libc::TMPFS_MAGIC), None);
    }
}
