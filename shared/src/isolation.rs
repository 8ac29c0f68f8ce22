//! What a zygote applies: a sandbox profile resolved against what this host can do. Data only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How everything that a task starts is found and killed at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Containment {
    /// A cgroup of its own, killed as a whole.
    Cgroup,
    /// A pid namespace of its own, below an init of ours.
    PidNamespace {
        /// Inside a user namespace, for a supervisor without privileges.
        user: bool,
    },
    /// An init of ours that adopts and kills its descendants.
    Subreaper,
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "cgroup",
            Self::PidNamespace { user: false } => "pid-namespace",
            Self::PidNamespace { user: true } => "user+pid-namespace",
            Self::Subreaper => "subreaper",
        })
    }
}

impl Containment {
    /// Whether an init of ours stands between the supervisor and the task.
    #[must_use]
    pub const fn has_init(self) -> bool {
        !matches!(self, Self::Cgroup)
    }
}

/// What all processes of one zygote have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// How its processes are contained.
    pub containment: Containment,
    /// `cgroup.kill` may be used; else processes are killed one by one.
    pub cgroup_kill: bool,
    /// Keep signals and abstract sockets inside the task (Landlock scope).
    pub landlock_scope: bool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Resource limits: number as in `setrlimit`, value for soft and hard.
    pub rlimits: Vec<(u32, u64)>,
    /// RLIMIT_NPROC, set after the task has its own user or user namespace.
    pub processes: Option<u64>,
    /// Use `clone3`; else `clone`.
    pub clone3: bool,
    /// Keep glibc's thread id right by `PR_GET_TID_ADDRESS`.
    pub tid_address: bool,
    /// Start each process afresh by fork and exec.
    pub exec: bool,
}
