//! One cgroup per slot, reused from process to process: whatever a task starts is in it, and is
//! killed with it.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_shared::cgroup;

/// Begins the name of every cgroup of ours, followed by the run's id.
pub(crate) const PREFIX: &str = "bulkhead-";

/// Names those who live in a cgroup.
const MEMBERS: &str = "cgroup.procs";

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

pub(super) fn directory(path: &Path) -> io::Result<OwnedFd> {
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
    /// As that of a leaf.
    _above: Option<File>,
    whole: bool,
}

impl Cgroups {
    /// Makes it. `whole` says whether `cgroup.kill` may be used.
    pub(crate) fn create(below: &Path, id: &str, whole: bool) -> io::Result<Self> {
        let path = below.join(format!("{PREFIX}{id}"));
        fs::create_dir(&path)?;
        let directory = directory(&path)?;
        let above = File::open(below.join(MEMBERS)).ok();
        let whole = whole && path.join("cgroup.kill").exists();
        Ok(Self {
            path,
            directory,
            _above: above,
            whole,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(crate) const fn kills_whole(&self) -> bool {
        self.whole
    }

    /// Makes the cgroup of a slot; `fresh` tells it from earlier ones of the same slot.
    pub(crate) fn leaf(&self, slot: u16, fresh: u64) -> io::Result<Leaf> {
        let path = self.path.join(format!("slot-{slot}-{fresh}"));
        fs::create_dir(&path)?;
        let events = File::open(path.join("cgroup.events"))?;
        let directory = directory(&path)?;
        let members = File::open(path.join(MEMBERS))?;
        Ok(Leaf {
            path,
            directory,
            _members: members,
            events,
            whole: self.whole,
            is_killed: Cell::new(false),
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

/// How long the processes of a dead run may take to be gone at a start.
const CLEARED_WITHIN: Duration = Duration::from_secs(2);

/// Kills what is left in the cgroup of a run whose supervisor is dead, and removes it; whether it
/// is gone.
pub(crate) fn clear_after(below: &Path, id: &str) -> bool {
    let path = below.join(format!("{PREFIX}{id}"));
    let Ok(directory) = directory(&path) else {
        return true;
    };
    let whole = path.join("cgroup.kill").exists();
    let killed = cgroup::kill_all(directory.as_fd(), whole);
    if killed.and_then(|()| wait_until_empty(&path)).is_err() {
        return false;
    }
    remove_tree(&path);
    !path.exists()
}

fn wait_until_empty(path: &Path) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let events = File::open(path.join("cgroup.events"))?;
    let timeout = PollTimeout::try_from(CLEARED_WITHIN).unwrap_or(PollTimeout::MAX);
    // The kernel tells each change of the file; it changes a few times at the most.
    while is_populated(&events)? {
        if poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
            timeout,
        )? == 0
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn is_populated(events: &File) -> io::Result<bool> {
    let mut text = [0; 128];
    let len = events.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..len]);
    Ok(!text.lines().any(|line| line == "populated 0"))
}

/// The cgroup of a slot.
#[derive(Debug)]
pub(crate) struct Leaf {
    path: PathBuf,
    directory: OwnedFd,
    /// Only held: each fork into a cgroup looks who may write to this file, here and in the cgroup above
    /// both, and the kernel makes its inode anew for each look if nobody has it open.
    _members: File,
    events: File,
    whole: bool,
    is_killed: Cell<bool>,
}

impl Leaf {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Readable with priority when the last process has left or the first has come.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Whether any process is in it.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        is_populated(&self.events)
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.is_killed.set(true);
        cgroup::kill_all(self.directory.as_fd(), self.whole)
    }

    /// Whether it was ever killed. Kernels from 6.14 on kill every process that is later born into
    /// such a cgroup by `clone3` (they compare its count of kills with that of the parent's
    /// cgroup), so it must not be used again.
    pub(crate) const fn is_used_up(&self) -> bool {
        self.is_killed.get()
    }

    /// Removes it; nothing lives in it any more.
    pub(crate) fn remove(self) {
        // A busy one is removed with the others at the end, or at the next start.
        let _ = fs::remove_dir(&self.path);
    }
}
