//! Disks that are soon full. For helper processes: they change what the process sees.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// Puts a file system of `size` on `dir` that nobody else sees.
///
/// # Panics
/// If that is not possible, or this process has more than one thread and is not root.
pub fn small_disk(dir: &Path, size: &str) {
    if !Uid::effective().is_root() {
        let (uid, gid) = (Uid::current(), Gid::current());
        unshare(CloneFlags::CLONE_NEWUSER).unwrap();
        fs::write("/proc/self/setgroups", "deny").unwrap();
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let options = format!("size={size},mode=0700");
    let kind = Some("tmpfs");
    mount(kind, dir, kind, MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Gives a small disk more room.
///
/// # Panics
/// If that is not possible.
pub fn enlarge(dir: &Path, size: &str) {
    let options = format!("size={size},mode=0700");
    let none: Option<&str> = None;
    mount(none, dir, none, MsFlags::MS_REMOUNT, Some(options.as_str())).unwrap();
}
