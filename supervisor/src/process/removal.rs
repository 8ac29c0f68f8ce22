//! Removes a directory, whatever a task has made of it.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A directory that is looked through; no link to one is.
const LISTED: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Whatever has that name, be it a link.
const NAMED: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Removes a directory with all that is in it, following no link.
///
/// However deep a hostile task has nested it, two levels are open at any time: what lies deeper
/// is moved up first. What somebody else removes meanwhile is gone, which is all that is wanted.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let top = match openat(AT_FDCWD, path, LISTED, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        // A task of our own user can put something else in its place, ...
        Err(Errno::ENOTDIR | Errno::ELOOP) => return fs::remove_file(path),
        // ... and shut us out.
        Err(Errno::EACCES) => {
            open_up(AT_FDCWD, path)?;
            openat(AT_FDCWD, path, LISTED, Mode::empty())?
        }
        top => top?,
    };
    // Without write permission nothing can be taken out of it, except by root.
    let _ = fchmod(&top, Mode::S_IRWXU);
    let mut moved: u64 = 0;
    loop {
        let entries = entries(top.as_fd())?;
        if entries.is_empty() {
            return match fs::remove_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        for (name, is_directory) in entries {
            if is_directory {
                flatten(top.as_fd(), &name, &mut moved)?;
            } else {
                unlink(top.as_fd(), &name, UnlinkatFlags::NoRemoveDir)?;
            }
        }
    }
}

/// Removes one entry, unless it is gone.
fn unlink(of: BorrowedFd<'_>, name: &CStr, how: UnlinkatFlags) -> nix::Result<()> {
    match unlinkat(of, name, how) {
        Err(Errno::ENOENT) => Ok(()),
        unlinked => unlinked,
    }
}

/// Opens the way into a directory that the task has shut: its user is ours, or we are root.
fn open_up<P: ?Sized + nix::NixPath>(of: BorrowedFd<'_>, name: &P) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let place = openat(of, name, NAMED | OFlag::O_DIRECTORY, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    fs::set_permissions(link, fs::Permissions::from_mode(0o700))
}

/// Empties the directory `name` below `top` by moving its own directories beside it.
fn flatten(top: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> io::Result<()> {
    let open = || openat(top, name, LISTED, Mode::empty());
    let below = match open() {
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EACCES) => {
            open_up(top, name)?;
            open()?
        }
        other => other?,
    };
    // Without write permission nothing can be taken out of it, except by root.
    let _ = fchmod(&below, Mode::S_IRWXU);
    loop {
        let listed = entries(below.as_fd())?;
        if listed.is_empty() {
            break;
        }
        for (inner, is_directory) in listed {
            if is_directory {
                // Moving a directory rewrites its `..`, which needs write permission on it.
                let _ = open_up(below.as_fd(), inner.as_c_str());
                let place = loop {
                    *moved += 1;
                    let place = format!(".moved-{moved}");
                    if openat(top, place.as_str(), NAMED, Mode::empty()).is_err() {
                        break place;
                    }
                };
                match renameat(&below, inner.as_c_str(), top, place.as_str()) {
                    Err(Errno::ENOENT) => {}
                    renamed => renamed?,
                }
            } else {
                unlink(below.as_fd(), &inner, UnlinkatFlags::NoRemoveDir)?;
            }
        }
    }
    Ok(unlink(top, name, UnlinkatFlags::RemoveDir)?)
}

fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<(CString, bool)>> {
    /// Read at a time: a directory with a million files takes rounds, not memory.
    const BATCH: usize = 1024;
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut listing = Dir::from_fd(openat(directory, ".", flags, Mode::empty())?)?;
    let mut found = Vec::new();
    for entry in listing.iter().flatten() {
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let is_directory = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                None => {
                    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_PATH;
                    openat(directory, name, flags, Mode::empty()).is_ok()
                }
            };
            found.push((name.to_owned(), is_directory));
        }
        if found.len() == BATCH {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    /// Nobody's.
    const USER: u32 = 54_321;

    #[test]
    fn a_directory_nested_deeper_than_there_are_descriptors_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        fs::create_dir(&top).unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut here = openat(AT_FDCWD, &top, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
            here = openat(&here, "d", flags, Mode::empty()).unwrap();
        }
        remove_all(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_directory_inside_with_more_files_than_are_listed_at_a_time_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        fs::create_dir_all(top.join("inner")).unwrap();
        for n in 0..2100 {
            fs::write(top.join("inner").join(n.to_string()), "").unwrap();
        }
        remove_all(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_directory_that_two_remove_at_once_is_gone_for_both() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        let inner = top.join("a/b/c");
        for _ in 0..20 {
            fs::create_dir_all(&inner).unwrap();
            for n in 0..100 {
                fs::write(top.join(n.to_string()), "").unwrap();
                fs::write(inner.join(n.to_string()), "").unwrap();
            }
            thread::scope(|threads| {
                let removing = [(); 2].map(|()| threads.spawn(|| remove_all(&top)));
                for one in removing {
                    one.join().unwrap().unwrap();
                }
            });
            assert!(!top.exists());
        }
    }

    /// Removes it as an ordinary user would, if this one is root, who is kept out of nothing.
    fn remove_as_a_user(path: &Path) -> io::Result<()> {
        let of_user = || {
            if nix::unistd::geteuid().is_root() {
                for place in [path.parent().unwrap(), path] {
                    std::os::unix::fs::lchown(place, Some(USER), Some(USER))?;
                }
                // Of this thread alone; what root may do with files goes with it.
                nix::unistd::setfsuid(USER.into());
            }
            remove_all(path)
        };
        thread::scope(|threads| threads.spawn(of_user).join().unwrap())
    }

    #[test]
    fn a_home_that_a_task_has_shut_or_replaced_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        for mode in [0o000, 0o500, 0o300] {
            fs::create_dir_all(&top).unwrap();
            fs::write(top.join("file"), "left").unwrap();
            fs::set_permissions(&top, PermissionsExt::from_mode(mode)).unwrap();
            remove_as_a_user(&top).unwrap();
            assert!(!top.exists(), "{mode:o}");
        }
        fs::write(&top, "a file").unwrap();
        remove_as_a_user(&top).unwrap();
        assert!(!top.exists());
        std::os::unix::fs::symlink("nowhere", &top).unwrap();
        remove_as_a_user(&top).unwrap();
        assert!(fs::symlink_metadata(&top).is_err());
    }

    #[test]
    fn no_name_that_a_task_has_taken_hinders_the_removal() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("home");
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        for n in 1..=3 {
            std::os::unix::fs::symlink("nowhere", top.join(format!(".moved-{n}"))).unwrap();
        }
        remove_all(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let precious = place.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "kept").unwrap();
        let top = place.path().join("home");
        fs::create_dir_all(top.join("inner")).unwrap();
        std::os::unix::fs::symlink(&precious, top.join("link")).unwrap();
        std::os::unix::fs::symlink(&precious, top.join("inner/link")).unwrap();
        remove_all(&top).unwrap();
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
    }
}
