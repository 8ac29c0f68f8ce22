//! Supervisors in a pid namespace, as in a container, and under a limit of processes, so that a
//! fork bomb stays in its box.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

/// Whether this process may make pid namespaces; if not, says so.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "a test that shows less than it might says why"
)]
pub fn can_make_namespaces() -> bool {
    let can = nix::unistd::geteuid().is_root();
    if !can {
        eprintln!("pid namespaces need root: the test runs without one");
    }
    can
}

/// Starts `command` as an ordinary user if there is one, and as process 1 of a pid namespace with a
/// /proc of its own if it is told to.
pub(crate) fn spawn_in(
    command: &mut Command,
    is_pid_1: bool,
    user: Option<u32>,
) -> io::Result<Child> {
    let prepare = move || {
        if is_pid_1 {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            let proc = Some("proc");
            mount(proc, "/proc", proc, MsFlags::empty(), None::<&str>)?;
        }
        // Last: everything before needs root. (`Command::uid` would come first.)
        if let Some(user) = user {
            setgroups(&[])?;
            setgid(Gid::from_raw(user))?;
            setuid(Uid::from_raw(user))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls, with paths short enough for nix
    // to keep them on the stack.
    unsafe { command.pre_exec(prepare) };
    if !is_pid_1 {
        return command.spawn();
    }
    // The namespace is that of this thread's next children only.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWPID)?;
            command.spawn()
        });
        thread.join().expect("it does not panic")
    })
}

/// Starts `command` so that the kernel kills it when this thread ends.
///
/// # Errors
/// If it cannot be started.
pub fn spawn_bound(command: &mut Command) -> io::Result<Child> {
    let bind = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?);
    // SAFETY: it makes one system call.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

/// At most so many processes for all that is started in it; removed when it is dropped.
#[derive(Debug)]
pub struct ProcessLimit(PathBuf);

impl ProcessLimit {
    /// A limit of `most` processes, where cgroups can give one.
    #[must_use]
    pub fn new(most: u32) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bulkhead-test-{}-{number}", std::process::id());
        for parent in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let path = Path::new(parent).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let limit = Self(path);
            if fs::write(limit.0.join("pids.max"), most.to_string()).is_ok() {
                return Some(limit);
            }
        }
        None
    }

    /// Puts what `command` starts under the limit.
    pub fn bind(&self, command: &mut Command) {
        let procs = self.0.join("cgroup.procs");
        let enter = move || {
            // The path was made before the fork; opening and writing are plain system calls.
            use nix::fcntl::{OFlag, open};
            let file = open(&procs, OFlag::O_WRONLY, nix::sys::stat::Mode::empty())?;
            nix::unistd::write(file, b"0")?;
            Ok(())
        };
        // SAFETY: it only makes system calls; the path is short enough for nix's stack buffer.
        unsafe { command.pre_exec(enter) };
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        // Its processes end with the supervisor; the last may still be on their way.
        let gone = || fs::remove_dir(&self.0).is_ok().then_some(());
        if gone().is_none() && !std::thread::panicking() {
            crate::until(
                "the limited processes' end",
                crate::supervise::PATIENCE,
                gone,
            );
        }
    }
}
