//! Who lives: each supervisor holds a lock on its own byte of the start-file.
//!
//! The kernel drops the lock when its holder dies, by whatever means, so a dead supervisor is
//! known at once. The locks are open-file-description locks: plain record locks vanish when any
//! descriptor of the file is closed, and would not tell two stores of one process apart.

use std::collections::HashMap;
use std::fs::File;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use crate::broker::SupervisorId;

/// The supervisors this store speaks for, and a look at the others.
#[derive(Debug)]
pub(super) struct Alive {
    /// None for a store in memory: nobody else is there.
    file: Option<File>,
    mine: HashMap<SupervisorId, i64>,
    /// Since the last commit: given back if the transaction fails.
    fresh: Vec<SupervisorId>,
}

impl Alive {
    pub(super) fn new(file: Option<File>) -> Self {
        Self {
            file,
            mine: HashMap::new(),
            fresh: Vec::new(),
        }
    }

    /// The row of a supervisor that this store speaks for.
    pub(super) fn row(&self, id: SupervisorId) -> Option<i64> {
        self.mine.get(&id).copied()
    }

    /// Speaks for `id` from now on.
    pub(super) fn hold(&mut self, id: SupervisorId, row: i64) {
        // If another store of this process, or a full lock table, keeps us from it: then the
        // lease's own end decides.
        if let Some(file) = &self.file {
            let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&byte(row, libc::F_WRLCK)));
        }
        self.mine.insert(id, row);
        self.fresh.push(id);
    }

    /// Keeps the file from whoever clears away what nobody has touched for days: a process that finds none
    /// makes another one, and takes all who are there for dead.
    pub(super) fn touch(&self) {
        if let Some(file) = &self.file {
            // Who may not do this is no worse off than before.
            let _ = futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW);
        }
    }

    /// Stops speaking for `id`.
    pub(super) fn release(&mut self, id: SupervisorId) {
        if let Some(row) = self.mine.remove(&id)
            && let Some(file) = &self.file
        {
            let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&byte(row, libc::F_UNLCK)));
        }
    }

    /// Whether the supervisor of that row lives. In doubt it does: its lease decides then.
    pub(super) fn is_alive(&self, row: i64) -> bool {
        // Locks of our own description never conflict with us, so they cannot be probed.
        if self.mine.values().any(|mine| *mine == row) {
            return true;
        }
        let Some(file) = &self.file else {
            return false;
        };
        let mut probe = byte(row, libc::F_WRLCK);
        match fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe)) {
            Ok(_) => i32::from(probe.l_type) != libc::F_UNLCK,
            Err(_) => true,
        }
    }

    pub(super) fn committed(&mut self) {
        self.fresh.clear();
    }

    pub(super) fn rolled_back(&mut self) {
        for id in std::mem::take(&mut self.fresh) {
            self.release(id);
        }
    }
}

/// A lock on the byte of one row.
fn byte(row: i64, kind: i32) -> libc::flock {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "these constants are 0, 1 and 2"
    )]
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: row,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use uuid::Uuid;

    #[test]
    fn a_store_of_the_same_process_sees_a_supervisor_die_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true);
            options.open(dir.path().join("start")).unwrap()
        };
        let (mut one, two) = (Alive::new(Some(open())), Alive::new(Some(open())));
        one.hold(SupervisorId(Uuid::now_v7()), 7);
        drop(open());
        assert!(one.is_alive(7) && two.is_alive(7));
        assert!(!two.is_alive(8));
        drop(one);
        assert!(!two.is_alive(7));
    }

    #[test]
    fn a_registration_that_was_rolled_back_leaves_no_lock_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("start");
        std::fs::write(&path, []).unwrap();
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap()
        };
        let (mut one, two) = (Alive::new(Some(open())), Alive::new(Some(open())));
        one.hold(SupervisorId(Uuid::now_v7()), 1);
        one.committed();
        one.hold(SupervisorId(Uuid::now_v7()), 2);
        one.rolled_back();
        assert!(two.is_alive(1) && !two.is_alive(2));
    }
}
