//! What a zygote applies: a sandbox profile resolved against what this host can do. Data only.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The variable that glibc reads its tunables from when a program starts.
pub const TUNABLES: &str = "GLIBC_TUNABLES";

/// What a supervisor adds to them, and a zygote takes away again: restartable sequences
/// (`glibc.pthread.rseq`) have the kernel write to a page of every fork before it runs, which is then copied
/// for it. Without them `sched_getcpu` asks the kernel; programs that tasks execute have them.
pub const TUNABLE: &str = "glibc.pthread.rseq=0";

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
    /// Resource limits that count what one process consumes, and so begin with each task: number,
    /// soft, hard.
    pub own_rlimits: Vec<(u32, u64, u64)>,
    /// Bytes of address space beyond a task's memory, where nothing else limits what processes
    /// share.
    pub addresses: Option<u64>,
    /// What stands between the tasks and the host besides; boxed, as most setups have none.
    pub walls: Option<Box<Walls>>,
}

/// Namespaces, a root of its own, rules about files and system calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Walls {
    /// The supervisor has no privileges: all this is made inside a user namespace.
    pub user_namespace: bool,
    /// What of the network there is.
    pub network: Network,
    /// Each task has a network namespace for itself; else those of a profile share one in which
    /// nothing is up.
    pub own_network: bool,
    /// System V IPC and message queues of its own for each task.
    pub ipc: bool,
    /// A host name of its own.
    pub uts: bool,
    /// A root of its own; else the host's.
    pub root: Option<Root>,
    /// A private `/tmp` for each task, which is also its `HOME`.
    pub tmp: Option<Tmp>,
    /// Where tasks start, in their own root; absolute.
    pub directory: Option<PathBuf>,
    /// Landlock: what may be read and what written. `None` leaves files to their owners.
    pub files: Option<Vec<Access>>,
    /// The filter of system calls that all tasks inherit, as instructions of classic BPF: code,
    /// jumps and operand in the bits of one number, from high to low.
    pub inherited_filter: Vec<u64>,
    /// The filter of what setting up a task needs itself; each enters it last.
    pub own_filter: Vec<u64>,
}

impl Walls {
    /// Whether each task sees mounts of its own.
    #[must_use]
    pub const fn has_mounts(&self) -> bool {
        self.root.is_some() || self.tmp.is_some()
    }
}

/// What a task sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Nothing: no device is up.
    None,
    /// A loopback device of its own.
    Loopback,
    /// What the host has.
    #[default]
    Host,
}

/// A root that holds only what is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Root {
    /// Paths of the host that are seen in it.
    pub binds: Vec<Access>,
    /// Its `/dev/zero` can be mapped. What is shared of it is memory that lasts without being
    /// mapped, so where nothing counts that it can only be read.
    pub maps_zero: bool,
}

/// A path, and what may be done below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Absolute.
    pub path: PathBuf,
    /// Written, too; else only read and executed.
    pub write: bool,
    /// It is an error if there is no such path.
    pub required: bool,
}

/// A private `/tmp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmp {
    /// Bytes in it.
    pub size: u64,
    /// Files and directories in it.
    pub files: u64,
}
