//! A profile resolved against the host: what zygotes are told, what is missing, and what the host
//! cannot do.

mod walls;

use std::ffi::OsString;
use std::path::PathBuf;

use bulkhead_shared::isolation::{Containment, Network, Setup};
use bulkhead_shared::limits::Limits;

use super::lowered::Headcount;
use super::probe::Host;
use super::profile::{Landlock, LimitsOf, Profile, RootKind, Space, Syscalls, User};
use super::seccomp::Memory;
use crate::config::{RunConfig, Spawn, TaskUser};
use crate::process::limits::{Amounts, Controller, Version};
use crate::process::zygote::Recipe;
use crate::services::May;
use walls::walls;

/// Where a task with a private `/tmp` has its home.
const INSIDE: &str = "/tmp";

/// Address space that a process may reserve beyond its memory where no cgroup counts what is
/// shared: libraries and stacks of a few dozen threads.
const ADDRESSES: u64 = 1 << 30;

/// From SIGXCPU to SIGKILL, in seconds.
const CPU_PATIENCE: u64 = 2;

/// Something a profile asks for that the host does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    /// What the profile asks for, as it is written.
    pub asked: String,
    /// What the host lacks.
    pub lacks: &'static str,
    pub way_out: &'static str,
}

/// How tasks of one profile are isolated.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The profile's name.
    pub profile: String,
    pub setup: Setup,
    /// Every process has a user of its own.
    pub own_users: bool,
    /// A user all tasks share.
    pub user: Option<String>,
    /// Its number, once it has been looked up.
    pub uid: Option<u32>,
    /// That of its group, likewise; a user of its own has the group of its number.
    pub gid: Option<u32>,
    /// Every process has a private directory of the host.
    pub homes: bool,
    /// Where its home is in its own root.
    pub home_inside: Option<&'static str>,
    /// Whether a group can be signalled through a pidfd.
    pub pidfd_group: bool,
    /// The most memory a job may have by this profile.
    pub memory: Option<u64>,
    /// What cgroups limit; `None` if they limit nothing.
    pub amounts: Option<Amounts>,
    /// All processes of a task have one limit of memory, and no cgroup keeps it.
    pub watches_memory: bool,
    /// What its tasks may ask for.
    pub may: May,
    /// A process runs one job.
    pub single_use: bool,
    /// Bytes kept of each output.
    pub output: u32,
    /// Who counts the processes of a task.
    pub headcount: Headcount,
    /// Limits of one process that a task may come up against.
    pub limits: Limits,
    pub tmp: Option<u64>,
    /// Where zygotes start and what they find there.
    pub environment: Vec<(OsString, OsString)>,
    pub directory: Option<PathBuf>,
    /// For verdicts and people: `process: cgroup, own user, landlock scope`.
    pub description: String,
    /// Guarantees of the profile that this host cannot give, one sentence each.
    pub missing: Vec<String>,
    /// The host can do what is needed for that.
    inits_may_stay: bool,
    /// What the profile asks for and the host does not have.
    pub lacks: Vec<Lack>,
}

impl Plan {
    /// Whether the init above a task of this user may stay for the next: only where no task can do
    /// anything to it, being another user without a right.
    pub(crate) fn has_wardens(&self, uid: Option<u32>) -> bool {
        let walls = self.setup.walls.as_deref();
        self.inits_may_stay
            && self.setup.containment == Containment::PidNamespace { user: false }
            && walls.is_none_or(|walls| !walls.user_namespace)
            && uid.is_some_and(|uid| uid != 0)
    }

    /// Chooses the first that works of each guarantee.
    pub(crate) fn resolve(profile: &Profile, config: &RunConfig, host: &Host) -> Self {
        let is_confined = profile.confined;
        let lacks = lacks(profile, config, host);
        let spaces = Spaces::of(profile, host);
        let containment = match spaces.pid {
            true => Containment::PidNamespace { user: false },
            false => containment(is_confined, host),
        };
        let (has_own, user) = match (&profile.user, &config.task_user) {
            (Some(User::Own), _) | (None, TaskUser::Auto) => (true, None),
            (Some(User::Keep), _) | (None, TaskUser::Keep) => (false, None),
            (Some(User::Name(name)), _) | (None, TaskUser::Name(name)) => (false, Some(name)),
        };
        let own_users = is_confined && host.is_root && has_own;
        let user = user.filter(|_| is_confined).cloned();
        let user_namespace = spaces.any() && !host.is_root;
        let private = own_users
            || user_namespace
            || matches!(containment, Containment::PidNamespace { user: true });
        let amounts = amounts(profile, config, host);
        let headcount = match (profile.limits_of, &host.controllers) {
            (LimitsOf::Task, Some(found)) if found.has(Controller::Processes) => Headcount::Cgroup,
            _ if private => Headcount::User,
            _ => Headcount::Nobody,
        };
        let counts_memory = amounts.is_some_and(|amounts| amounts.memory.is_some());
        let is_for_task = profile.limits_of == LimitsOf::Task;
        let memory = match is_for_task && !counts_memory {
            true => Memory::Supervisor,
            false => Memory::Kernel,
        };
        let walls = walls(profile, config, host, &spaces, memory);
        let setup = Setup {
            containment,
            cgroup_kill: host.cgroup_kill,
            landlock_scope: profile.landlock != Landlock::Off && host.landlock_scope,
            no_new_privileges: is_confined,
            rlimits: limits(profile),
            processes: profile.processes.filter(|_| private),
            clone3: host.clone3,
            tid_address: host.tid_address,
            exec: matches!(config.spawn, Spawn::Exec | Spawn::Launch),
            own_rlimits: own_limits(profile),
            addresses: (is_for_task && !counts_memory).then_some(ADDRESSES),
            walls: walls.map(Box::new),
        };
        let mut environment = config.env.clone();
        for (name, value) in &profile.env {
            environment.retain(|(known, _)| known != name.as_str());
            environment.push((name.into(), value.into()));
        }
        let has_tmp = setup
            .walls
            .as_deref()
            .is_some_and(|walls| walls.tmp.is_some());
        let mut plan = Self {
            profile: profile.name.clone(),
            setup,
            own_users,
            user,
            uid: None,
            gid: None,
            homes: is_confined && !has_tmp,
            home_inside: has_tmp.then_some(INSIDE),
            pidfd_group: host.pidfd_group,
            memory: profile.memory,
            amounts,
            watches_memory: is_for_task && !counts_memory && host.children,
            may: profile.may.clone(),
            single_use: profile.single_use,
            output: profile.output,
            limits: profile.limits(),
            headcount,
            tmp: profile.tmp.filter(|_| has_tmp),
            environment,
            directory: match spaces.root {
                true => None,
                false => profile.cwd.clone().or_else(|| config.cwd.clone()),
            },
            description: String::new(),
            missing: Vec::new(),
            inits_may_stay: host.wardens,
            lacks,
        };
        plan.describe(host);
        if is_confined {
            plan.name_missing(profile, host);
        }
        plan
    }

    /// How its zygote is started.
    pub(crate) fn recipe(&self, config: &RunConfig) -> Recipe {
        Recipe {
            child: config.child.clone(),
            launcher: config.launcher.clone(),
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            setup: self.setup.clone(),
            gid: self.gid.filter(|_| self.gid != self.uid),
        }
    }

    fn describe(&mut self, host: &Host) {
        let mut parts = vec![self.setup.containment.to_string()];
        let walls = self.setup.walls.as_deref();
        if walls.is_some_and(|walls| walls.user_namespace) {
            parts.push("user namespace".into());
        }
        if walls.is_some_and(|walls| walls.root.is_some()) {
            parts.push("own root".into());
        }
        match walls.map(|walls| walls.network) {
            Some(Network::None) => parts.push("no network".into()),
            Some(Network::Loopback) => parts.push("loopback only".into()),
            Some(Network::Host) | None => {}
        }
        if self.own_users {
            parts.push("own user".into());
        }
        if let Some(user) = &self.user {
            parts.push(format!("user {user}"));
        }
        if walls.is_some_and(|walls| walls.files.is_some()) {
            parts.push("landlock files".into());
        } else if self.setup.landlock_scope {
            parts.push("landlock scope".into());
        }
        if walls.is_some_and(|walls| !walls.own_filter.is_empty()) {
            parts.push("seccomp".into());
        }
        if self.amounts.is_some() {
            let version = host.controllers.as_ref().map(|found| found.version);
            parts.push(match version {
                Some(Version::V1) => "limits by cgroup v1".into(),
                _ => "limits by cgroup v2".into(),
            });
        }
        if self.watches_memory {
            parts.push("memory watched".into());
        }
        if !self.lacks.is_empty() {
            let asked: Vec<_> = self.lacks.iter().map(|lack| lack.asked.as_str()).collect();
            parts.push(format!("WITHOUT {}", asked.join(", ")));
        }
        self.description = format!("{}: {}", self.profile, parts.join(", "));
    }

    /// The tasks' users could not be had: the plan without them.
    pub(crate) fn without_own_users(&mut self, host: &Host, reason: &str) {
        self.own_users = false;
        if !matches!(
            self.setup.containment,
            Containment::PidNamespace { user: true }
        ) {
            self.setup.processes = None;
            if self.headcount == Headcount::User {
                self.headcount = Headcount::Nobody;
            }
        }
        self.missing
            .push(format!("tasks run as this user: {reason}"));
        self.describe(host);
    }

    fn name_missing(&mut self, profile: &Profile, host: &Host) {
        let mut missing = Vec::new();
        let walls = self.setup.walls.as_deref();
        let has_root = walls.is_some_and(|walls| walls.root.is_some());
        let has_pids = self.setup.containment == Containment::PidNamespace { user: false };
        if profile.landlock != Landlock::Off && !host.landlock_scope && !has_pids {
            missing
                .push("tasks can signal processes of their own user (Landlock ABI 6 is missing)");
        }
        if !host.is_root && !has_root {
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
        let counts = self
            .amounts
            .is_some_and(|amounts| amounts.processes.is_some());
        if self.setup.processes.is_none() && !counts {
            missing.push("a fork bomb is stopped only by the limits of this user");
        }
        if self.watches_memory {
            missing.push(
                "a task with several processes can have more memory than its limit for some \
                 hundredths of a second (no cgroup with the controller `memory` can be made: run \
                 as root)",
            );
        } else if self.setup.addresses.is_some() {
            missing.push(
                "memory is limited for each process and not for a task (neither can a cgroup with \
                 the controller `memory` be made, nor does the kernel tell the children of a \
                 process: CONFIG_PROC_CHILDREN)",
            );
        }
        self.missing.extend(missing.into_iter().map(str::to_owned));
    }
}

/// Namespaces that a profile gets on a host.
#[derive(Debug, Clone, Copy)]
struct Spaces {
    pid: bool,
    ipc: bool,
    uts: bool,
    root: bool,
    tmp: bool,
    network: Network,
}

impl Spaces {
    fn of(profile: &Profile, host: &Host) -> Self {
        let asks = |space: Space| profile.namespaces.contains(&space);
        let pid = asks(Space::Pid) && host.user_namespaces;
        Self {
            pid,
            ipc: asks(Space::Ipc) && host.ipc_namespaces,
            uts: asks(Space::Uts) && host.ipc_namespaces,
            root: profile.root == RootKind::Minimal && host.mounts && pid,
            tmp: profile.tmp.is_some() && host.mounts,
            network: match host.network_namespaces {
                true => profile.network,
                false => Network::Host,
            },
        }
    }

    fn any(&self) -> bool {
        self.pid || self.ipc || self.uts || self.root || self.tmp || self.network != Network::Host
    }
}

fn lacks(profile: &Profile, config: &RunConfig, host: &Host) -> Vec<Lack> {
    let user = "run the supervisor as root, or let this user make user namespaces \
                (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)";
    let asks = |space: Space| profile.namespaces.contains(&space);
    let spaces = asks(Space::Ipc) || asks(Space::Uts);
    let has_own_user = host.task_users || !host.is_root && Spaces::of(profile, host).any();
    // Behind such walls a task is not to be root, unless somebody has said so.
    let is_auto = profile.user.is_none() && config.task_user == TaskUser::Auto;
    let is_behind_walls = asks(Space::Pid) || profile.root == RootKind::Minimal;
    let asked: [(bool, bool, String, &'static str, &'static str); 7] = [
        (
            profile.user == Some(User::Own) || host.is_root && is_auto && is_behind_walls,
            has_own_user,
            "user = \"own\"".into(),
            "users that nobody else has",
            "run the supervisor as root, where at least 60000 users are mapped and /run/bulkhead can \
             be written; else ask for a namespace or a root of its own, which come with a user \
             namespace, or say by `user` or --task-user whose user tasks are to have",
        ),
        (
            asks(Space::Pid),
            host.user_namespaces,
            "namespaces = [\"pid\"]".into(),
            "pid namespaces",
            user,
        ),
        (
            spaces,
            host.ipc_namespaces,
            "namespaces = [\"ipc\", \"uts\"]".into(),
            "ipc and uts namespaces",
            user,
        ),
        (
            profile.root == RootKind::Minimal || profile.tmp.is_some(),
            host.mounts,
            "root = \"minimal\"".into(),
            "mounts of a task's own, with a /proc",
            "as above; it also takes Linux 5.12, and in a container a /proc that is not masked",
        ),
        (
            profile.network != Network::Host,
            host.network_namespaces,
            format!("network = \"{}\"", network_name(profile.network)),
            "network namespaces",
            user,
        ),
        (
            profile.landlock == Landlock::Files,
            host.landlock_abi >= 1,
            "landlock = \"files\"".into(),
            "Landlock",
            "run Linux 5.13 or later with `landlock` among the security modules (`lsm=` on the \
             kernel's command line)",
        ),
        (
            profile.syscalls != Syscalls::All || !profile.deny_syscalls.is_empty(),
            host.seccomp,
            "syscalls".into(),
            "filters of system calls (seccomp)",
            "run a kernel with CONFIG_SECCOMP_FILTER",
        ),
    ];
    let lacking = asked.into_iter().filter(|(asks, has, ..)| *asks && !*has);
    lacking
        .map(|(_, _, asked, lacks, way_out)| Lack {
            asked,
            lacks,
            way_out,
        })
        .collect()
}

pub(crate) const fn network_name(network: Network) -> &'static str {
    match network {
        Network::None => "none",
        Network::Loopback => "loopback",
        Network::Host => "host",
    }
}

fn amounts(profile: &Profile, config: &RunConfig, host: &Host) -> Option<Amounts> {
    if profile.limits_of != LimitsOf::Task {
        return None;
    }
    let controllers = host.controllers.as_ref()?;
    let memory = match (profile.memory, config.memory) {
        (Some(own), Some(all)) => Some(own.min(all)),
        (own, all) => own.or(all),
    };
    Some(Amounts {
        memory: memory.filter(|_| controllers.has(Controller::Memory)),
        processes: profile
            .processes
            .filter(|_| controllers.has(Controller::Processes)),
        cpu_percent: profile
            .cpu_percent
            .filter(|_| controllers.has(Controller::Cpu)),
    })
}

fn containment(is_confined: bool, host: &Host) -> Containment {
    if host.is_root && host.cgroup.is_some() {
        return Containment::Cgroup;
    }
    // Without a profile a task sees the host as it is, so it gets no namespace.
    if is_confined && host.user_namespaces {
        return Containment::PidNamespace {
            user: !host.is_root,
        };
    }
    Containment::Subreaper
}

fn limits(profile: &Profile) -> Vec<(u32, u64)> {
    if !profile.confined {
        return Vec::new();
    }
    let mut limits = vec![(libc::RLIMIT_CORE, 0)];
    limits.extend(profile.open_files.map(|most| (libc::RLIMIT_NOFILE, most)));
    limits.extend([
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
    ]);
    limits
}

/// Limits of what one process consumes: a zygote lives long, and must not have them.
fn own_limits(profile: &Profile) -> Vec<(u32, u64, u64)> {
    consumption(&profile.limits()).collect()
}

/// What each process may consume for itself.
pub(super) fn consumption(limits: &Limits) -> impl Iterator<Item = (u32, u64, u64)> + use<> {
    let hard = |seconds: u64| seconds.saturating_add(CPU_PATIENCE);
    let cpu = limits.cpu_time_s;
    let cpu = cpu.map(|seconds| (libc::RLIMIT_CPU, seconds, hard(seconds)));
    let size = limits
        .file_size
        .map(|size| (libc::RLIMIT_FSIZE, size, size));
    cpu.into_iter().chain(size)
}
