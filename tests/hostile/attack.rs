//! Attacks on the machine, on other processes and on what is left behind.

use std::fs::{self, DirBuilder, File};
use std::io::{Write, stderr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::PathBuf;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::task;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{ForkResult, getppid, pause};

use crate::sys;

fn temporary() -> anyhow::Result<PathBuf> {
    Ok(std::env::var_os("TMPDIR").context("no TMPDIR")?.into())
}

/// Blocks all signals and waits for ever.
#[task]
pub(crate) fn block_signals() -> anyhow::Result<()> {
    SigSet::all().thread_block()?;
    loop {
        pause();
    }
}

/// Nests `depth` directories in TMPDIR, each closed to its owner once the next is made.
#[task]
pub(crate) fn deep_tree(depth: u32) -> anyhow::Result<u32> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here = openat(AT_FDCWD, &temporary()?, flags, Mode::empty())?;
    for _ in 0..depth {
        mkdirat(&here, "d", Mode::S_IRWXU)?;
        let next = openat(&here, "d", flags, Mode::empty())?;
        nix::sys::stat::fchmod(&here, Mode::empty())?;
        here = next;
    }
    Ok(depth)
}

/// Fills TMPDIR: files, names that are no text, links out of it, directories without permissions.
#[task]
pub(crate) fn fill_tmp(files: u32, out: PathBuf) -> anyhow::Result<u32> {
    let top = temporary()?;
    symlink(&out, top.join("out"))?;
    let inner = top.join("inner");
    DirBuilder::new().mode(0o700).create(&inner)?;
    symlink(&out, inner.join("out"))?;
    for n in 0..files {
        File::create(inner.join(n.to_string()))?.write_all(b"left behind")?;
    }
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\n\\");
    File::create(inner.join(odd))?;
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o000))?;
    Ok(files)
}

/// Fills TMPDIR with so many directories of a file, and leaves a process behind.
#[task]
pub(crate) fn litter(directories: u32) -> anyhow::Result<i32> {
    let top = temporary()?;
    for n in 0..directories {
        let inner = top.join(n.to_string());
        DirBuilder::new().create(&inner)?;
        File::create(inner.join("file"))?.write_all(b"left behind")?;
    }
    hold_pipes()
}

/// Forks without end, and so do its children.
#[task]
pub(crate) fn fork_bomb() -> ! {
    loop {
        // Where there is no room for one more, it tries again.
        let _ = sys::fork();
    }
}

/// Returns, and leaves a process in a session of its own that holds every pipe open.
#[task]
pub(crate) fn hold_pipes() -> anyhow::Result<i32> {
    match sys::fork()? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            let _ = nix::unistd::setsid();
            let _ = SigSet::all().thread_block();
            loop {
                pause();
            }
        }
    }
}

/// Says what Rust says when an allocation fails, and aborts.
#[task]
pub(crate) fn impostor() {
    let _ = writeln!(stderr(), "memory allocation of 1073741824 bytes failed");
    std::process::abort()
}

/// Tries to kill whoever started it; what came of it.
#[task]
pub(crate) fn kill_parent() -> String {
    match kill(getppid(), Signal::SIGKILL) {
        Ok(()) => "sent".into(),
        Err(errno) => errno.to_string(),
    }
}

/// Exits while a process that it has started traces it, and stays.
#[task]
pub(crate) fn die_traced() -> anyhow::Result<()> {
    const SEIZE: usize = 0x4206;
    nix::sys::prctl::set_dumpable(true)?;
    sys::raw(
        libc::SYS_prctl,
        [libc::PR_SET_PTRACER as usize, usize::MAX, 0, 0, 0, 0],
    )
    .or_else(|errno| match errno {
        // Without Yama whoever has its user may.
        nix::errno::Errno::EINVAL => Ok(0),
        other => Err(other),
    })?;
    let (reader, writer) = nix::unistd::pipe()?;
    match sys::fork()? {
        ForkResult::Child => {
            let parent = usize::try_from(getppid().as_raw()).unwrap_or(0);
            match sys::raw(libc::SYS_ptrace, [SEIZE, parent, 0, 0, 0, 0]) {
                Ok(_) => {
                    let _ = nix::unistd::write(&writer, b"x");
                    loop {
                        pause();
                    }
                }
                Err(_) => sys::leave_badly(),
            }
        }
        ForkResult::Parent { .. } => {
            drop(writer);
            anyhow::ensure!(nix::unistd::read(&reader, &mut [0])? == 1, "not traced");
            sys::leave_badly()
        }
    }
}

/// Tries to get rid of its limits; the names of those it could raise.
#[task]
pub(crate) fn raise_limits() -> Vec<String> {
    let limits = [
        (Resource::RLIMIT_DATA, "data"),
        (Resource::RLIMIT_NPROC, "processes"),
        (Resource::RLIMIT_NOFILE, "files"),
        (Resource::RLIMIT_CORE, "core"),
    ];
    let could = |(resource, name): (Resource, &str)| {
        let raised = setrlimit(resource, RLIM_INFINITY, RLIM_INFINITY);
        raised.is_ok().then(|| name.to_owned())
    };
    limits.into_iter().filter_map(could).collect()
}

/// Stops itself, with SIGTERM ignored or not.
#[task]
pub(crate) fn stop_itself(deaf: bool) -> anyhow::Result<()> {
    if deaf {
        sys::ignore(Signal::SIGTERM)?;
    }
    loop {
        raise(Signal::SIGSTOP)?;
    }
}
