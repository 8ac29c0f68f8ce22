//! Users for task processes: one of its own for every living process, from a high range that no
//! account uses.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// Users of one supervisor: more than it has slots, so that a number rests before it is used again.
const BLOCK: u32 = 8192;

/// Supervisors that can share a machine.
const BLOCKS: u32 = 64;

/// First numbers of the ranges that are tried: far above all accounts, else, in a container that
/// maps few users, near the end of those.
const BASES: [u32; 2] = [1_600_000_000, 50_000];

/// Where the locks on blocks of task users lie; root alone can write there.
pub(crate) const LOCKS: &str = "/run/bulkhead";

/// A block of users that no other supervisor of this machine uses.
#[derive(Debug)]
pub(crate) struct Users {
    first: u32,
    count: u32,
    next: u32,
    in_use: HashSet<u32>,
    _lock: Flock<File>,
}

impl Users {
    /// Takes a free block. `locks` is a directory for lock files that only root can write to.
    pub(crate) fn claim(locks: &Path) -> io::Result<Self> {
        let (base, count) = range()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(locks)?;
        for block in 0..BLOCKS {
            let path = locks.join(format!("users-{block}"));
            let mut options = fs::OpenOptions::new();
            options
                .create(true)
                .write(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW);
            let Ok(lock) = Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            let count = count / BLOCKS;
            let first = base + block * count;
            let in_use = HashSet::new();
            return Ok(Self {
                first,
                count,
                next: 0,
                in_use,
                _lock: lock,
            });
        }
        Err(io::Error::other(
            "all blocks of task users are taken by other supervisors",
        ))
    }

    /// A user that no living process has.
    pub(crate) fn take(&mut self) -> Option<u32> {
        for _ in 0..self.count {
            let uid = self.first + self.next;
            self.next = (self.next + 1) % self.count;
            if self.in_use.insert(uid) {
                return Some(uid);
            }
        }
        None
    }

    /// Gives a user back: nothing runs as it any more.
    pub(crate) fn give_back(&mut self, uid: u32) {
        self.in_use.remove(&uid);
    }
}

/// The first range that this user namespace maps whole.
pub(crate) fn range() -> io::Result<(u32, u32)> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let mapped: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line
                .split_whitespace()
                .filter_map(|n| n.parse::<u64>().ok());
            let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some((inside, inside + count))
        })
        .collect();
    let candidates = BASES.into_iter().zip([BLOCK * BLOCKS, 10_000]);
    let mut whole = candidates.filter(|&(base, count)| {
        let (start, end) = (u64::from(base), u64::from(base) + u64::from(count));
        mapped.iter().any(|&(from, to)| from <= start && end <= to)
    });
    whole
        .next()
        .ok_or_else(|| io::Error::other("this user namespace maps too few users"))
}
