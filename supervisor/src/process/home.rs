//! The private directories of this run: one per task process. Before its verdict can be read all
//! that is in it is gone, and the directory itself unless it is as good as new: to make and remove
//! one costs more than a fork.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam::channel::Sender;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fchmod};

use super::removal::remove_all;

/// The directory of one run of a supervisor, and the lock that says it lives.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

/// The directory that holds those of all runs of this user.
fn base() -> io::Result<PathBuf> {
    let me = nix::unistd::geteuid().as_raw();
    let path = std::env::temp_dir().join(format!("bulkhead-{me}"));
    match fs::DirBuilder::new().mode(0o711).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != me || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "`{}` belongs to somebody else or others can write to it (set TMPDIR to another place)",
            path.display()
        )));
    }
    Ok(path)
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

fn lock(run: &Path) -> io::Result<Option<Flock<File>>> {
    let file = open_lock(&run.join("lock"))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// Keeps a run that is just being made, and is not locked yet, from being taken for a dead one.
fn gate(base: &Path) -> io::Result<Flock<File>> {
    let file = open_lock(&base.join("gate"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

impl RunDirectory {
    /// Makes the directory of run `id`.
    pub(crate) fn create(id: &str) -> io::Result<Self> {
        let base = base()?;
        let _gate = gate(&base)?;
        let path = base.join(id);
        fs::DirBuilder::new().mode(0o711).create(&path)?;
        let lock = lock(&path)?.ok_or_else(|| io::Error::other("the run's lock is taken"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where the processes of a slot have their private directory, one after the other.
    pub(crate) fn home(&self, slot: u16) -> PathBuf {
        self.path.join(slot.to_string())
    }

    /// Removes all of it.
    pub(crate) fn remove(self) {
        // What cannot be removed now is removed at the next start.
        let _ = remove_all(&self.path);
    }
}

/// Removes what is left of runs whose supervisor is dead. `clear` is called for each while its
/// directory is locked, and says whether nothing of it lives any more; if not, the directory stays
/// for the next time. How many stay.
pub(crate) fn clear_dead_runs(clear: impl FnMut(&str) -> bool) -> io::Result<usize> {
    clear_dead_below(&base()?, clear)
}

fn clear_dead_below(base: &Path, mut clear: impl FnMut(&str) -> bool) -> io::Result<usize> {
    let mut left = 0;
    for entry in fs::read_dir(base)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let locked = {
            // No longer than this: a removal takes long, and others want to start meanwhile.
            let _gate = gate(base)?;
            lock(&entry.path())
        };
        if let Ok(Some(_lock)) = locked {
            let is_gone = clear(&name) && remove_all(&entry.path()).is_ok();
            left += usize::from(!is_gone);
        }
    }
    Ok(left)
}

/// A private directory that stays open from one process to the next, as to open it costs as much as to
/// look through it. Only where tasks have users of their own: they can neither move nor remove it, so it
/// is the one that is found at its path.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<OwnedFd>);

impl Kept {
    /// It will be removed.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// Gives a private directory to a process of this user and group that is about to start, and makes
/// it if it is gone. Who starts it is its only user until then.
pub(crate) fn give(
    path: &Path,
    owner: Option<(u32, u32)>,
    Kept(kept): &mut Kept,
) -> io::Result<()> {
    let kept_before = kept.take();
    if let (Some((user, group)), Some(directory)) = (owner, kept_before) {
        nix::unistd::fchown(&directory, Some(user.into()), Some(group.into()))?;
        *kept = Some(directory);
        return Ok(());
    }
    give_at(path, owner)?;
    if owner.is_some() {
        *kept = open(path).ok();
    }
    Ok(())
}

fn open(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())
}

fn give_at(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let chown = || match owner {
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    let make = || fs::DirBuilder::new().mode(0o700).create(path);
    match chown() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make().and_then(|()| chown()),
        Ok(()) if owner.is_none() => match make() {
            // The slot's last process has left it as good as new.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        },
        given => given,
    }
}

/// Whether a private directory is gone or as good as new: empty, without attributes or access
/// lists, ours alone. Most are, and serve the slot's next process.
pub(crate) fn is_as_new(path: &Path, Kept(kept): &Kept) -> bool {
    if let Some(directory) = kept {
        return renew(directory).is_ok_and(|is_new| is_new);
    }
    match open(path) {
        Ok(directory) => renew(&directory).is_ok_and(|is_new| is_new),
        Err(errno) => errno == Errno::ENOENT,
    }
}

/// Takes an empty directory back from the user it was given to.
fn renew(directory: &OwnedFd) -> io::Result<bool> {
    let found = nix::sys::stat::fstat(directory)?;
    // One that has grown stays large when it is emptied, and takes long to look through.
    if found.st_size > found.st_blksize {
        return Ok(false);
    }
    if !is_empty(directory.as_fd())? || has_attributes(directory.as_fd()) {
        return Ok(false);
    }
    let me = nix::unistd::geteuid();
    if found.st_uid != me.as_raw() {
        // Its number may be another slot's next, which must not find a way in.
        nix::unistd::fchown(directory, Some(me), Some(nix::unistd::getegid()))?;
    }
    if Mode::from_bits_truncate(found.st_mode) != Mode::S_IRWXU {
        fchmod(directory, Mode::S_IRWXU)?;
    }
    Ok(true)
}

/// Whether a directory lists nothing but itself and its parent. Asked for
/// every process there is: a listing of the usual kind takes 32 KiB and four calls more.
#[expect(
    clippy::host_endian_bytes,
    reason = "the kernel's, which is this host's"
)]
fn is_empty(directory: BorrowedFd<'_>) -> io::Result<bool> {
    /// Where an entry's length and its name lie (`linux_dirent64`).
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut bytes = [0; 1024];
    // It may have been listed before.
    nix::unistd::lseek(directory, 0, nix::unistd::Whence::SeekSet)?;
    loop {
        let number = directory.as_raw_fd();
        // SAFETY: the call writes at most so many bytes to a buffer that is as long.
        let len = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                number,
                bytes.as_mut_ptr(),
                bytes.len(),
            )
        };
        let Ok(len) = usize::try_from(len) else {
            return Err(io::Error::last_os_error());
        };
        let mut entries = bytes.get(..len).unwrap_or_default();
        if entries.is_empty() {
            return Ok(true);
        }
        while let Some(&[low, high]) = entries.get(LENGTH..LENGTH + 2) {
            let name = entries.get(NAME..).unwrap_or_default();
            if !name.starts_with(b".\0") && !name.starts_with(b"..\0") {
                return Ok(false);
            }
            let length = usize::from(u16::from_ne_bytes([low, high]));
            entries = entries.get(length.max(NAME)..).unwrap_or_default();
        }
    }
}

/// Whether it has extended attributes, access lists among them.
fn has_attributes(directory: BorrowedFd<'_>) -> bool {
    // SAFETY: with a length of 0 the call writes nothing and returns the size of the list.
    let size = unsafe { libc::flistxattr(directory.as_raw_fd(), std::ptr::null_mut(), 0) };
    let is_without = size == 0 || size == -1 && Errno::last() == Errno::EOPNOTSUPP;
    !is_without
}

/// What is told when a directory is gone, or cannot be removed.
type Done = dyn Fn(u64, io::Result<()>) + Send + Sync;

/// Removes directories that are not empty, each on a thread of its own: a hostile task can make
/// one that takes minutes, and nobody else's verdict waits for it. At most one per slot. Where no
/// thread can be had, as a fork bomb leaves none, they go to one that has been there all along.
pub(crate) struct Cleaner {
    done: Arc<Done>,
    reserve: Sender<(u64, PathBuf)>,
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cleaner")
    }
}

impl Cleaner {
    /// `done` is told each generation whose directory is gone, or not.
    ///
    /// # Errors
    /// When not even the first thread can be started.
    pub(crate) fn start(
        done: impl Fn(u64, io::Result<()>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let done: Arc<Done> = Arc::new(done);
        // One entry per slot at the most: a slot waits for its sweep.
        let (reserve, inbox) = crossbeam::channel::unbounded::<(u64, PathBuf)>();
        let tell = Arc::clone(&done);
        let body = move || {
            for (generation, path) in inbox {
                tell(generation, remove_all(&path));
            }
        };
        thread::Builder::new().name("cleaner".into()).spawn(body)?;
        Ok(Self { done, reserve })
    }

    /// Begins to remove a directory.
    pub(crate) fn remove(&self, generation: u64, path: PathBuf) {
        let (tell, of) = (Arc::clone(&self.done), path.clone());
        let body = move || tell(generation, remove_all(&of));
        let alone = thread::Builder::new().name("cleaner".into()).spawn(body);
        if alone.is_err() {
            // That thread lives as long as this sender.
            let _ = self.reserve.send((generation, path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_clears_up_after_the_dead_keeps_nobody_from_starting() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        fs::create_dir_all(base.join("dead/0/inner")).unwrap();
        let mut cleared = Vec::new();
        let left = clear_dead_below(base, |name| {
            cleared.push(name.to_owned());
            let gate = open_lock(&base.join("gate")).unwrap();
            Flock::lock(gate, FlockArg::LockExclusiveNonblock).is_ok()
        });
        assert_eq!((left.unwrap(), cleared), (0, vec!["dead".to_owned()]));
        assert!(!base.join("dead").exists());
    }

    #[test]
    fn a_directory_with_an_entry_is_not_as_new_and_one_without_is_shut_again() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        let is_new = |path: &Path| is_as_new(path, &Kept::default());
        assert!(is_new(&top), "there is none");
        fs::create_dir(&top).unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(is_new(&top));
        let mode = fs::metadata(&top).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        fs::write(top.join(".hidden"), "left").unwrap();
        assert!(!is_new(&top));
        std::os::unix::fs::symlink(place.path(), place.path().join("link")).unwrap();
        assert!(!is_new(&place.path().join("link")));
    }

    #[test]
    fn a_directory_that_is_kept_open_is_given_and_looked_through_again_and_again() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        let me = (
            nix::unistd::getuid().as_raw(),
            nix::unistd::getgid().as_raw(),
        );
        let mut kept = Kept::default();
        for round in 0..3 {
            give(&top, Some(me), &mut kept).unwrap();
            assert!(kept.0.is_some() && is_as_new(&top, &kept), "{round}");
            let left = top.join(round.to_string());
            fs::write(&left, "left").unwrap();
            assert!(!is_as_new(&top, &kept), "{round}");
            fs::remove_file(left).unwrap();
        }
        remove_all(&top).unwrap();
        kept.forget();
        give(&top, Some(me), &mut kept).unwrap();
        assert!(top.is_dir() && is_as_new(&top, &kept));
        give(&top, None, &mut kept).unwrap();
        assert!(kept.0.is_none(), "its owner may move it");
    }
}
