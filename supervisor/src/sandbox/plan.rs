//! A profile resolved against the host: what zygotes are told, and what is missing.

use bulkhead_shared::isolation::{Containment, Setup};

use super::probe::Host;
use crate::config::{RunConfig, Sandbox, Spawn, TaskUser};
use crate::services::May;

/// Processes and threads of one task: enough for any honest one, little enough that a fork bomb
/// is nobody else's business.
const PROCESSES: u64 = 512;

/// Open files of one process.
const FILES: u64 = 4096;

/// How this run isolates its tasks.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub setup: Setup,
    /// Every process has a user of its own.
    pub own_users: bool,
    /// A user all tasks share.
    pub user: Option<String>,
    /// Every process has a private directory.
    pub homes: bool,
    /// Whether a group can be signalled through a pidfd.
    pub pidfd_group: bool,
    /// What its tasks may ask for.
    pub may: May,
    /// For verdicts and people: `process: cgroup, own user, landlock scope`.
    pub description: String,
    /// Guarantees of the profile that this host cannot give, one sentence each.
    pub missing: Vec<String>,
}

impl Plan {
    /// Chooses the first that works of each guarantee.
    pub(crate) fn resolve(config: &RunConfig, host: &Host) -> Self {
        let is_process = matches!(config.sandbox, Sandbox::Process);
        let containment = containment(is_process, host);
        let own_users = is_process && host.is_root && config.task_user == TaskUser::Auto;
        let user = match &config.task_user {
            TaskUser::Name(name) if is_process => Some(name.clone()),
            _ => None,
        };
        let private = own_users || matches!(containment, Containment::PidNamespace { user: true });
        let setup = Setup {
            containment,
            cgroup_kill: host.cgroup_kill,
            landlock_scope: is_process && host.landlock_scope,
            no_new_privileges: is_process,
            rlimits: if is_process { limits() } else { Vec::new() },
            processes: (is_process && private).then_some(PROCESSES),
            clone3: host.clone3,
            tid_address: host.tid_address,
            exec: matches!(config.spawn, Spawn::Exec | Spawn::Launch),
        };
        let mut plan = Self {
            setup,
            own_users,
            user,
            homes: is_process,
            may: May::default(),
            pidfd_group: host.pidfd_group,
            description: String::new(),
            missing: Vec::new(),
        };
        plan.describe(is_process);
        if is_process {
            plan.name_missing(host);
        }
        plan
    }

    fn describe(&mut self, is_process: bool) {
        let mut parts = vec![self.setup.containment.to_string()];
        if self.own_users {
            parts.push("own user".into());
        }
        if let Some(user) = &self.user {
            parts.push(format!("user {user}"));
        }
        if self.setup.landlock_scope {
            parts.push("landlock scope".into());
        }
        let profile = if is_process { "process" } else { "none" };
        self.description = format!("{profile}: {}", parts.join(", "));
    }

    /// The tasks' users could not be had: the plan without them.
    pub(crate) fn without_own_users(&mut self, reason: &str) {
        self.own_users = false;
        if !matches!(
            self.setup.containment,
            Containment::PidNamespace { user: true }
        ) {
            self.setup.processes = None;
        }
        self.missing
            .push(format!("tasks run as this user: {reason}"));
        self.describe(true);
    }

    fn name_missing(&mut self, host: &Host) {
        let mut missing = Vec::new();
        if !host.landlock_scope {
            missing
                .push("tasks can signal processes of their own user (Landlock ABI 6 is missing)");
        }
        if !host.is_root {
            missing.push(
                "tasks can open the files of this user, also the store's (a supervisor that is \
                 root gives each process a user of its own)",
            );
        }
        if host.is_root && !self.own_users && self.user.is_none() {
            missing.push("tasks run as root (--task-user keep)");
        }
        if self.setup.containment == Containment::Subreaper {
            missing.push(
                "a task that kills the init above it can leave processes behind for a moment \
                 (neither cgroups nor namespaces can be made)",
            );
        }
        if self.setup.processes.is_none() {
            missing.push("a fork bomb is stopped only by the limits of this user");
        }
        self.missing.extend(missing.into_iter().map(str::to_owned));
    }
}

fn containment(is_process: bool, host: &Host) -> Containment {
    if host.is_root && host.cgroup.is_some() {
        return Containment::Cgroup;
    }
    // Without a profile a task sees the host as it is, so it gets no namespace.
    if is_process && host.user_namespaces {
        return Containment::PidNamespace {
            user: !host.is_root,
        };
    }
    Containment::Subreaper
}

fn limits() -> Vec<(u32, u64)> {
    vec![
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, FILES),
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
    ]
}
