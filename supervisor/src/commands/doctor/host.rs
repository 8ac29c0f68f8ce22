//! What this machine can do for the isolation of tasks.
//!
//! Guarantees that are missing are named once, as a supervisor names them at its start; what they
//! rest on is listed with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::finding::{Finding, Severity};
use bulkhead_shared::pidfd::PidFd;

use crate::config::RunConfig;
use crate::process::{cgroup, users};
use crate::sandbox::plan::Plan;
use crate::sandbox::probe::{Host, landlock_abi};

/// The first Linux that has all a supervisor cannot do without.
const LEAST_KERNEL: (u32, u32) = (5, 4);

/// A wall clock before this is not set: the day this was written.
const CLOCK_SET: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A process 1 that reaps at all does so within this.
const REAPED_WITHIN: Duration = Duration::from_millis(500);

pub(super) fn examine(config: &RunConfig, host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![kernel(), isolation(plan)];
    findings.extend(plan.missing.iter().map(|missing| {
        Finding::ok("guarantee", missing.clone())
            .because(
                Severity::Warning,
                "the profile `process` promises it where it can be had",
            )
            .way_out("see the findings below for what this host lacks")
    }));
    findings.push(landlock(host, &config.without));
    findings.push(seccomp());
    findings.push(namespaces(host));
    findings.push(cgroups(host));
    findings.push(signals(host));
    findings.push(forks(host));
    findings.extend(task_users(host, plan));
    findings.push(core_pattern());
    findings.push(first_process());
    findings.push(clock());
    findings
}

fn kernel() -> Finding {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_owned());
    let release = release.unwrap_or_default();
    let release = release.to_string_lossy();
    let finding = Finding::ok("kernel", format!("Linux {release}"));
    match version(&release) {
        Some(version) if version < LEAST_KERNEL => finding
            .because(
                Severity::Error,
                "processes are held by descriptors, which it does not have",
            )
            .way_out("run Linux 5.4 or later; 6.12 gives every guarantee"),
        _ => finding,
    }
}

/// Major and minor of `6.12.3-arch1`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn isolation(plan: &Plan) -> Finding {
    Finding::ok("isolation", plan.description.clone())
}

fn landlock(host: &Host, without: &[String]) -> Finding {
    let found = match landlock_abi() {
        _ if without.iter().any(|word| word == "landlock") => "denied by BULKHEAD_WITHOUT".into(),
        abi @ 1.. => format!("ABI {abi}"),
        _ => "not there".into(),
    };
    let finding = Finding::ok("landlock", found);
    if host.landlock_scope {
        return finding;
    }
    finding
        .because(
            Severity::Hint,
            "from ABI 6 on it keeps signals and abstract sockets inside a task",
        )
        .way_out("run Linux 6.12 or later, with `landlock` among the `lsm=` of its command line")
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) => Finding::ok("seccomp", actions.trim()),
        Err(_) => Finding::ok("seccomp", "not there").because(
            Severity::Hint,
            "no profile of this release uses it; one for untrusted code will",
        ),
    }
}

fn namespaces(host: &Host) -> Finding {
    let which = if host.is_root {
        "pid namespaces"
    } else {
        "user and pid namespaces"
    };
    if host.user_namespaces {
        return Finding::ok("namespaces", format!("{which} can be made"));
    }
    let finding = Finding::ok("namespaces", format!("{which} cannot be made")).because(
        Severity::Hint,
        "where there is no cgroup, they hold what a task starts",
    );
    finding.way_out(if host.is_root {
        "give the container CAP_SYS_ADMIN, or a cgroup of its own"
    } else {
        "set kernel.unprivileged_userns_clone and user.max_user_namespaces, or run as root"
    })
}

fn cgroups(host: &Host) -> Finding {
    let own = cgroup::own_directory();
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    if let Some(path) = &host.cgroup {
        // Only cgroups below the first have the file, so its age is asked instead of it.
        let kill = if host.cgroup_kill {
            "killed as a whole where the kernel can"
        } else {
            "killed one by one"
        };
        let controllers = read(path, "cgroup.controllers");
        let controllers = match controllers.trim() {
            "" => "no controllers",
            some => some,
        };
        let found = format!(
            "may be made below {} ({kill}; {controllers})",
            path.display()
        );
        return Finding::ok("cgroup", found);
    }
    let found = match own {
        Some(path) => format!("none may be made below {}", path.display()),
        None => "there is no unified hierarchy here".into(),
    };
    let finding = Finding::ok("cgroup", found).because(
        Severity::Hint,
        "a cgroup for each process is the surest hold on all that a task starts",
    );
    finding.way_out(if host.is_root {
        "mount the container's own cgroup writable (`Delegate=yes` in a unit, `cgroupns=private`)"
    } else {
        "run the supervisor as root; else namespaces or an init of ours take its place"
    })
}

fn signals(host: &Host) -> Finding {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    if let Err(error) = PidFd::open(own) {
        return Finding::ok("pidfd", format!("processes cannot be held: {error}"))
            .because(
                Severity::Error,
                "no task process can be started or ended safely",
            )
            .way_out("run Linux 5.4 or later, and a container that allows `pidfd_open`");
    }
    if host.pidfd_group {
        return Finding::ok("pidfd", "processes and their groups can be signalled");
    }
    Finding::ok(
        "pidfd",
        "processes can be signalled, their groups only by number",
    )
    .because(
        Severity::Hint,
        "a group's number is safe as long as its leader is not reaped, and it is not",
    )
}

fn forks(host: &Host) -> Finding {
    if host.clone3 {
        Finding::ok("clone3", "processes are started by clone3")
    } else {
        let found = "not there: processes are started by clone";
        Finding::ok("clone3", found).because(
            Severity::Hint,
            "a process enters its cgroup after its start instead of at it",
        )
    }
}

/// Only root can give tasks users of their own.
fn task_users(host: &Host, plan: &Plan) -> Option<Finding> {
    if !host.is_root || !plan.own_users {
        return None;
    }
    let (first, count) = match users::range() {
        Ok(range) => range,
        Err(error) => {
            return Some(
                Finding::ok("task-users", error.to_string())
                    .because(Severity::Warning, "tasks run as this user, which is root")
                    .way_out("map at least 60000 users into this container"),
            );
        }
    };
    let range = first..first.saturating_add(count);
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let taken: Vec<_> = accounts
        .lines()
        .filter(|line| {
            let uid = line.split(':').nth(2).and_then(|uid| uid.parse().ok());
            uid.is_some_and(|uid: u32| range.contains(&uid))
        })
        .filter_map(|line| line.split(':').next())
        .collect();
    let finding = Finding::ok(
        "task-users",
        format!("{} to {}", range.start, range.end - 1),
    );
    Some(if taken.is_empty() {
        finding
    } else {
        finding
            .because(
                Severity::Warning,
                format!("these accounts are among them: {}", taken.join(", ")),
            )
            .way_out("give the accounts other numbers: tasks could be them")
    })
}

fn core_pattern() -> Finding {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    let finding = Finding::ok("core-pattern", format!("`{pattern}`"));
    if pattern.starts_with('|') {
        finding
            .because(
                Severity::Warning,
                "the kernel starts this program as root, outside of every sandbox, whenever a \
                 task crashes, and hands it the task's memory; the limit on core files does not \
                 hold it back",
            )
            .way_out("set kernel.core_pattern to a file name, such as `core`")
    } else {
        finding
    }
}

/// The first process must reap what others leave.
fn first_process() -> Finding {
    let name = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let name = name.trim();
    let dead = zombies_of_the_first();
    let left = if dead.is_empty() {
        0
    } else {
        // What is dead in both looks is not just about to be reaped. It never comes, so this
        // waits; a time-out is what is wanted.
        let _ = crossbeam::channel::never::<()>().recv_timeout(REAPED_WITHIN);
        let left = zombies_of_the_first();
        left.iter().filter(|pid| dead.contains(pid)).count()
    };
    let finding = Finding::ok(
        "pid-1",
        format!("`{name}`, dead processes it has not reaped: {left}"),
    );
    if left > 0 {
        finding
            .because(
                Severity::Warning,
                "a process 1 that reaps nobody fills the table of processes",
            )
            .way_out("run the supervisor itself as process 1, or an init (`docker run --init`)")
    } else {
        finding
    }
}

fn zombies_of_the_first() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let is_left = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in brackets may hold anything.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with("Z 1 "))
    };
    pids.filter(is_left).collect()
}

fn clock() -> Finding {
    let now = Timestamp::now();
    let finding = Finding::ok("clock", now.to_string());
    if now < CLOCK_SET {
        finding
            .because(
                Severity::Warning,
                "delays and life times count by this clock; leases do not, and bear its steps",
            )
            .way_out("set it; it need not be exact")
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_its_first_two_numbers() {
        assert_eq!(version("6.12.3-arch1"), Some((6, 12)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert_eq!(version("strange"), None);
    }
}
