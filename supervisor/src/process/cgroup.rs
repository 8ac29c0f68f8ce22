//! One cgroup per slot, reused from process to process: whatever a task starts is in it, and is
//! killed with it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkhead_shared::cgroup;

/// Begins the name of every cgroup of ours, followed by the run's id.
pub(crate) const PREFIX: &str = "bulkhead-";

/// Where this process may make cgroups: its own, in the unified hierarchy.
pub(crate) fn own_directory() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (places, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| places.split(' ').nth(4))
            .flatten()
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A path from outside our cgroup namespace names nothing here.
    (!own.starts_with("..")).then(|| Path::new(mount).join(own))
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    Ok(fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?
        .into())
}

/// The cgroup that holds the cgroups of all slots of this run.
#[derive(Debug)]
pub(crate) struct Cgroups {
    path: PathBuf,
    directory: OwnedFd,
    whole: bool,
}

impl Cgroups {
    /// Makes it. `whole` says whether `cgroup.kill` may be used.
    pub(crate) fn create(below: &Path, id: &str, whole: bool) -> io::Result<Self> {
        let path = below.join(format!("{PREFIX}{id}"));
        fs::create_dir(&path)?;
        let directory = directory(&path)?;
        let whole = whole && path.join("cgroup.kill").exists();
        Ok(Self {
            path,
            directory,
            whole,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(crate) const fn kills_whole(&self) -> bool {
        self.whole
    }

    /// Makes the cgroup of a slot.
    pub(crate) fn leaf(&self, slot: u16) -> io::Result<Leaf> {
        let path = self.path.join(format!("slot-{slot}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let events = File::open(path.join("cgroup.events"))?;
        Ok(Leaf {
            directory: directory(&path)?,
            events,
            whole: self.whole,
        })
    }

    /// Removes it and the cgroups below, if nothing lives in them.
    pub(crate) fn remove(self) {
        remove_tree(&self.path);
    }
}

fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // Busy ones stay; the next start tries again.
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Kills what is left in the cgroup of a run whose supervisor is dead, and removes it.
pub(crate) fn clear_after(below: &Path, id: &str) {
    let path = below.join(format!("{PREFIX}{id}"));
    let Ok(directory) = directory(&path) else {
        return;
    };
    let whole = path.join("cgroup.kill").exists();
    if cgroup::kill_all(directory.as_fd(), whole).is_ok() {
        remove_tree(&path);
    }
}

/// The cgroup of a slot.
#[derive(Debug)]
pub(crate) struct Leaf {
    directory: OwnedFd,
    events: File,
    whole: bool,
}

impl Leaf {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Readable with priority when the last process has left or the first has come.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Whether any process is in it.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        let mut text = [0; 128];
        let len = self.events.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..len]);
        Ok(!text.lines().any(|line| line == "populated 0"))
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        cgroup::kill_all(self.directory.as_fd(), self.whole)
    }
}
