//! What the tasks below a warden have one after the other: a `/tmp`, and a namespace of IPC. Each finds
//! them as new. Made anew they are only where the task before has left something, for that takes longer
//! than a fork.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_shared::isolation::Walls;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};

use super::{Failed, Step, walls};
use crate::sys::{self, Directory};

#[derive(Debug, Default)]
pub(super) struct Leavings {
    /// Mounted, and nothing in it.
    tmp: Option<(OwnedFd, Directory)>,
    /// Its namespace of IPC is there, and nothing in it.
    has_ipc: bool,
}

impl Leavings {
    /// Readies all of it for a task of this user.
    pub(super) fn furnish(&mut self, walls: &Walls, owner: (Uid, Gid)) -> Result<(), Failed> {
        if walls.ipc && !self.has_ipc {
            own_ipc()?;
            self.has_ipc = true;
        }
        match &self.tmp {
            None => {
                walls::furnish_tmp(walls, Some(owner))?;
                if walls.tmp.is_some() {
                    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                    let tmp = openat(AT_FDCWD, "/tmp", flags, Mode::empty());
                    self.tmp = Some(seen(tmp.step("open its /tmp")?)?);
                }
            }
            Some((tmp, _)) => {
                let (user, group) = owner;
                let given = fchown(tmp, Some(user), Some(group))
                    .and_then(|()| fchmod(tmp, Mode::S_IRWXU))
                    .and_then(|()| futimens(tmp, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW));
                given.step("give its /tmp away")?;
            }
        }
        Ok(())
    }

    /// Takes away what a task has left. Nothing runs any more that could use it.
    pub(super) fn clear(&mut self, walls: &Walls) -> Result<(), Failed> {
        if let Some((tmp, as_new)) = self.tmp.take() {
            if is_as_new(&tmp, as_new) {
                self.tmp = Some((tmp, as_new));
            } else {
                drop(tmp);
                walls::clear_tmp(walls)?;
            }
        }
        match self.has_ipc && sys::has_ipc().unwrap_or(true) {
            true => own_ipc(),
            false => Ok(()),
        }
    }
}

/// A new namespace of IPC: that of before goes, with all that is in it.
fn own_ipc() -> Result<(), Failed> {
    unshare(CloneFlags::CLONE_NEWIPC).step("make a namespace of IPC")
}

fn seen(directory: OwnedFd) -> Result<(OwnedFd, Directory), Failed> {
    let as_new = Directory::look(directory.as_fd()).step("look at what is a task's own")?;
    Ok((directory, as_new))
}

fn is_as_new(directory: &OwnedFd, as_new: Directory) -> bool {
    Directory::look(directory.as_fd()).is_ok_and(|now| now == as_new)
}
