//! How much memory all processes of a task have together, where no cgroup counts it: read from
//! `/proc`. What several share is counted once, so that a task may fork as it likes.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Processes of one task that are looked at; its limit of processes is far lower.
const MEMBERS: usize = 4096;

/// Looks at who has come to the init while its descendants were read.
const AGAIN: usize = 4;

/// Where a task's processes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Members {
    /// This one and all below it: it is an init, to which orphans come.
    Below(i32),
    /// All in this cgroup.
    In(PathBuf),
}

impl Members {
    /// Those who live, the oldest first.
    pub(crate) fn list(&self) -> Vec<i32> {
        match self {
            Self::Below(init) => below(*init),
            Self::In(cgroup) => {
                let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
                let pids = text.lines().filter_map(|line| line.parse().ok());
                pids.take(MEMBERS).collect()
            }
        }
    }
}

fn below(init: i32) -> Vec<i32> {
    let mut found = vec![init];
    let mut known = HashSet::from([init]);
    let mut next = 0;
    for _ in 0..AGAIN {
        while let Some(&pid) = found.get(next) {
            next += 1;
            let fresh = children(pid)
                .into_iter()
                .filter(|child| known.insert(*child));
            found.extend(fresh);
            if found.len() >= MEMBERS {
                return found;
            }
        }
        // Whoever was read before its parent died is an orphan by now.
        let fresh = children(init)
            .into_iter()
            .filter(|child| known.insert(*child));
        found.extend(fresh);
        if next == found.len() {
            break;
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let texts = threads(pid)
        .into_iter()
        .filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    let numbers = |text: String| text.split_whitespace().map(str::parse).collect::<Vec<_>>();
    texts.flat_map(numbers).flatten().collect()
}

fn threads(pid: i32) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).collect()
}

/// Bytes that a process is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Share {
    /// Of its own, in memory or swapped out.
    own: u64,
    /// Of files in memory that it has mapped.
    shared: u64,
    /// Addresses: tells processes apart that may live in the same memory.
    addresses: u64,
}

/// A process with what it is charged with, whoever else uses the same pages.
#[derive(Debug)]
struct Process {
    /// A thread of it that lives: its leader, or, if that has ended, another.
    thread: i32,
    /// Where that one's numbers are.
    place: PathBuf,
    share: Share,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let read = |place: PathBuf| {
            let share = in_status(&fs::read_to_string(place.join("status")).ok()?)?;
            let thread = place.file_name()?.to_str()?.parse().ok()?;
            Some(Self {
                thread,
                place,
                share,
            })
        };
        // A leader that has ended hides the memory in which its threads go on.
        read(format!("/proc/{pid}").into()).or_else(|| threads(pid).into_iter().find_map(read))
    }

    /// Its share of pages that several use. Where we may not look, it has all of them.
    fn fair(&self) -> Share {
        let text = fs::read_to_string(self.place.join("smaps_rollup"));
        let found = text.ok().and_then(|text| in_rollup(&text));
        found.map_or(self.share, |(own, shared)| Share {
            own,
            shared,
            ..self.share
        })
    }
}

/// A number of KiB behind a name, in bytes.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn in_status(text: &str) -> Option<Share> {
    Some(Share {
        own: number(text, "RssAnon:")? + number(text, "VmSwap:").unwrap_or(0),
        shared: number(text, "RssShmem:")?,
        addresses: number(text, "VmSize:")?,
    })
}

fn in_rollup(text: &str) -> Option<(u64, u64)> {
    let own = number(text, "Pss_Anon:")? + number(text, "SwapPss:").unwrap_or(0);
    Some((own, number(text, "Pss_Shmem:")?))
}

/// Bytes at the most: what several processes share is counted for each.
pub(crate) fn at_most(members: &[i32], tmp: Option<u64>) -> u64 {
    let processes = members.iter().filter_map(|&pid| Process::read(pid));
    let shares: Vec<_> = processes.map(|process| process.share).collect();
    total(&shares, in_tmp(members, tmp))
}

/// Bytes that they have together.
pub(crate) fn exact(members: &[i32], tmp: Option<u64>) -> u64 {
    let processes = members.iter().filter_map(|&pid| Process::read(pid));
    let mut alone: Vec<(Process, Share)> = Vec::new();
    for process in processes {
        let share = process.fair();
        let is_same =
            |(other, _): &&(Process, Share)| other.share.addresses == process.share.addresses;
        // Between `vfork` and `exec` two processes live in one memory.
        if !alone
            .iter()
            .filter(is_same)
            .any(|(other, _)| share_memory(other.thread, process.thread))
        {
            alone.push((process, share));
        }
    }
    let shares: Vec<_> = alone.into_iter().map(|(_, share)| share).collect();
    total(&shares, in_tmp(members, tmp))
}

/// What lies in the private directory and is mapped, too, is there once.
fn total(shares: &[Share], tmp: u64) -> u64 {
    let own: u64 = shares.iter().map(|share| share.own).sum();
    let shared: u64 = shares.iter().map(|share| share.shared).sum();
    own + shared.max(tmp)
}

/// Whether two threads are known to live in the same memory.
fn share_memory(one: i32, other: i32) -> bool {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: the call takes integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

/// Bytes in the private `/tmp` of these processes, which has this size.
fn in_tmp(members: &[i32], size: Option<u64>) -> u64 {
    let Some(size) = size else { return 0 };
    let used = |pid: &i32| {
        let found = statfs(Path::new(&format!("/proc/{pid}/root/tmp"))).ok()?;
        let block = u64::try_from(found.block_size()).ok()?;
        // A number that has passed to a stranger leads to another file system.
        let is_it = found.filesystem_type() == TMPFS_MAGIC
            && found.blocks().saturating_mul(block).abs_diff(size) < block;
        is_it.then(|| (found.blocks() - found.blocks_free().min(found.blocks())) * block)
    };
    members.iter().find_map(used).unwrap_or(0)
}

/// Whether the kernel tells the children of a process.
pub(crate) fn lists_children() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        let status = "Name:\tx\nVmSize:\t  200 kB\nRssAnon:\t  100 kB\nRssFile:\t 7 kB\n\
                      RssShmem:\t 3 kB\nVmSwap:\t 2 kB\n";
        let expected = Share {
            own: 102 << 10,
            shared: 3 << 10,
            addresses: 200 << 10,
        };
        assert_eq!(in_status(status), Some(expected));
        assert_eq!(in_status("Name:\tdead\nState:\tZ (zombie)\n"), None);
        let rollup =
            "Pss:  90 kB\nPss_Anon:  50 kB\nPss_File: 36 kB\nPss_Shmem: 4 kB\nSwapPss: 1 kB\n";
        assert_eq!(in_rollup(rollup), Some((51 << 10, 4 << 10)));
    }

    #[test]
    fn what_lies_in_the_directory_and_is_mapped_is_counted_once() {
        let share = |own, shared| Share {
            own,
            shared,
            addresses: 0,
        };
        assert_eq!(total(&[share(1, 2), share(3, 2)], 7), 4 + 7);
        assert_eq!(total(&[share(1, 9)], 7), 1 + 9);
    }

    #[test]
    fn a_process_and_what_is_below_it_are_found_and_measured() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let list = Members::Below(own).list();
        assert!(list.contains(&own) && list.contains(&pid), "{list:?}");
        let held = std::hint::black_box(vec![1_u8; 32 << 20]);
        let before = exact(&[own], None);
        assert!(before >= 32 << 20, "{before}");
        assert!(at_most(&[own, pid], None) >= before - (1 << 20));
        // Twice the same is once.
        assert!(exact(&[own, own], None) < before + (16 << 20));
        drop(held);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
