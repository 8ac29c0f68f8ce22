//! Limits of this machine, against what the asked-for number of tasks needs.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_shared::finding::{Finding, Severity};
use bulkhead_shared::units::Size;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::statfs;

use crate::config::RunConfig;
use crate::process::cgroup;

/// Descriptors of the supervisor for each slot: pipes, pidfd, cgroup and home of a process, and
/// of the next one that waits beside it.
const FILES_PER_SLOT: u64 = 24;

/// Descriptors for everything else: the store, zygotes, threads.
const FILES_BESIDE: u64 = 64;

/// Processes for each slot: the task, an init above it, and the next one.
const PROCESSES_PER_SLOT: u64 = 4;

/// Processes and threads for everything else.
const PROCESSES_BESIDE: u64 = 32;

/// Room for the private directories of tasks that is little.
const LITTLE_SPACE: u64 = 256 << 20;

pub(super) fn examine(config: &RunConfig) -> Vec<Finding> {
    let slots = u64::from(config.processes.get());
    vec![
        open_files(slots),
        processes(slots),
        memory(slots, config.memory),
        directory(&std::env::temp_dir()),
    ]
}

fn open_files(slots: u64) -> Finding {
    let needed = slots * FILES_PER_SLOT + FILES_BESIDE;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => {
            let found = format!("{soft}, {needed} may be needed for {slots} tasks at once");
            let finding = Finding::ok("open-files", found);
            if soft < needed {
                finding
                    .because(
                        Severity::Warning,
                        "without descriptors no process can be started",
                    )
                    .way_out(format!(
                        "raise it: `ulimit -n {needed}`, `LimitNOFILE={needed}`"
                    ))
            } else {
                finding
            }
        }
        Err(error) => Finding::ok("open-files", format!("not known: {error}")),
    }
}

fn processes(slots: u64) -> Finding {
    let needed = slots * PROCESSES_PER_SLOT + PROCESSES_BESIDE;
    let (limit, whose) = process_limit();
    let finding = Finding::ok(
        "processes",
        format!("{limit} ({whose}), {needed} may be needed for {slots} tasks at once"),
    );
    if limit < needed {
        finding
            .because(
                Severity::Warning,
                "without processes no task can be started",
            )
            .way_out("raise it: `--pids-limit` of a container, `TasksMax=` of a unit, `ulimit -u`")
    } else {
        finding
    }
}

/// The lowest limit on processes and threads that holds here, and whose it is.
fn process_limit() -> (u64, String) {
    let mut limits = Vec::new();
    if let (false, Ok((soft, _))) = (
        nix::unistd::geteuid().is_root(),
        getrlimit(Resource::RLIMIT_NPROC),
    ) {
        limits.push((soft, "of this user".to_owned()));
    }
    for name in ["pid_max", "threads-max"] {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        if let Ok(limit) = text.unwrap_or_default().trim().parse() {
            limits.push((limit, format!("kernel.{name}")));
        }
    }
    for file in pids_files() {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Ok(limit) = text.trim().parse() {
            limits.push((limit, file.display().to_string()));
        }
    }
    let lowest = limits.into_iter().min();
    lowest.unwrap_or_else(|| (u64::MAX, "none is known".into()))
}

/// The limits of our cgroup and of those above it, in either hierarchy.
fn pids_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut above = |directory: &Path| {
        let all = directory
            .ancestors()
            .take_while(|path| path.starts_with("/sys/fs/cgroup"));
        files.extend(all.map(|path| path.join("pids.max")));
    };
    if let Some(own) = cgroup::own_directory() {
        above(&own);
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = controllers.split(',').any(|name| name == "pids");
        is_it.then(|| path.trim_start_matches('/'))
    });
    if let Some(own) = own {
        above(&Path::new("/sys/fs/cgroup/pids").join(own));
    }
    files
}

fn memory(slots: u64, limit: Option<u64>) -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()
    });
    let Some(total) = total.map(|kib| kib << 10) else {
        return Finding::ok("memory", "not known");
    };
    let Some(limit) = limit else {
        return Finding::ok("memory", Size(total).to_string());
    };
    let found = format!(
        "{}, {slots} tasks may have {} each",
        Size(total),
        Size(limit)
    );
    let finding = Finding::ok("memory", found);
    if slots.saturating_mul(limit) > total {
        finding
            .because(
                Severity::Hint,
                "if all tasks used all they may, the kernel would have to kill some process",
            )
            .way_out("lower `--memory` or `--processes`, if tasks need that much")
    } else {
        finding
    }
}

/// Where tasks have their private directories.
fn directory(path: &Path) -> Finding {
    let shown = path.display();
    let check = "run-directory";
    let broken = |found: String| {
        Finding::ok(check, found)
            .because(
                Severity::Error,
                "tasks have their private directories there",
            )
            .way_out("set TMPDIR to another place")
    };
    if let Err(error) = nix::unistd::access(path, nix::unistd::AccessFlags::W_OK) {
        return broken(format!("`{shown}`: {error}"));
    }
    match statfs(path) {
        Ok(found) => {
            let block = u64::try_from(found.block_size()).unwrap_or(0);
            let free = found.blocks_available().saturating_mul(block);
            let finding = Finding::ok(check, format!("`{shown}`, {} free", Size(free)));
            if free < LITTLE_SPACE {
                finding
                    .because(Severity::Warning, "tasks write their temporary files there")
                    .way_out("free some space, or set TMPDIR to another place")
            } else {
                finding
            }
        }
        Err(error) => broken(format!("`{shown}`: {error}")),
    }
}
