//! Which processes run a program, and waiting for states: the only places that look again and
//! again.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

/// Between two looks at something that cannot be waited for.
const LOOK_EVERY: u8 = 5;

/// Waits until `look` finds something and returns it. The one place where tests pause: what they
/// wait for lies in other processes, which tell nobody.
///
/// # Panics
/// If it finds nothing `within` the time given, which is there to end a broken test and says
/// nothing about speed.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = now().saturating_duration_since(start);
        assert!(waited < within, "waited {waited:?} for: {what}");
        // An interrupted pause is a shorter one.
        let _ = poll(&mut [], PollTimeout::from(LOOK_EVERY));
    }
}

fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's patience is measured in real time"
    )]
    Instant::now()
}

/// The living processes of the machine that run the program at `path`, or were forked from one
/// that does. Where the link to a process' program is hidden from us, its command line tells.
///
/// Exact as long as no other test has a program at this path: every supervisor of the harness has
/// a copy of its own.
#[must_use]
pub fn processes_of(path: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| runs(pid, path)).collect()
}

fn runs(pid: i32, path: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let text = |name| fs::read(proc.join(name)).unwrap_or_default();
    match fs::read_link(proc.join("exe")) {
        Ok(exe) => {
            let exe = exe.as_os_str().as_bytes();
            let exe = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
            exe == path.as_os_str().as_bytes() && !is_zombie(&text("stat"))
        }
        // A zombie has no command line.
        Err(_) => text("cmdline")
            .split(|&byte| byte == 0)
            .any(|word| word == path.as_os_str().as_bytes()),
    }
}

fn is_zombie(stat: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stat);
    let state = text
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next());
    matches!(state, Some("Z" | "X") | None)
}

/// Whether a process ignores SIGTERM, as those do that mean to stay.
#[must_use]
pub fn ignores_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 << (libc::SIGTERM - 1) != 0)
}

/// The cgroups of a run of a supervisor, named as its directory is, that are still there.
///
/// # Panics
/// If mounts cannot be read.
#[must_use]
pub fn cgroups_of_run(run: &str) -> Vec<PathBuf> {
    let places = own_cgroups().into_iter();
    let names = [format!("bulkhead-{run}"), format!("bulkhead-{run}.limits")];
    let all = places.flat_map(|place| names.each_ref().map(|name| place.join(name)));
    all.filter(|cgroup| cgroup.exists()).collect()
}

/// Our own cgroup in every hierarchy: supervisors of tests make theirs in it.
fn own_cgroups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    // Such as `4:memory:/jobs`; the unified one is `0::/jobs`.
    let own_in = |controllers: &str| {
        let mut lines = groups.lines().filter_map(|line| line.split_once(':'));
        let own = lines.find_map(|(_, line)| {
            let (names, own) = line.split_once(':')?;
            let is_it = |name: &str| controllers.split(',').any(|one| one == name);
            (names == controllers || names.split(',').any(is_it)).then_some(own)
        })?;
        own.strip_prefix('/')
    };
    let own = mounts.lines().filter_map(|line| {
        let (places, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let own = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => own_in("")?,
            ("cgroup", options) => own_in(options)?,
            _ => return None,
        };
        Some(PathBuf::from(places.split(' ').nth(4)?).join(own))
    });
    own.collect()
}
