//! A profile as a user writes it in the configuration file.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bulkhead_shared::isolation::Network;
use bulkhead_shared::units::{Size, duration};
use serde::{Deserialize, Deserializer};

/// A profile as it is written: what is absent is inherited.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Written {
    /// The profile it changes; `process` if it says nothing.
    pub inherits: Option<String>,
    /// Of its own: `pid`, `ipc`, `uts`. (Mounts follow from `root` and `tmp`, the network from
    /// `network`.)
    pub namespaces: Option<BTreeSet<Space>>,
    /// What is seen of the host's files.
    pub root: Option<RootKind>,
    /// Paths that may be read, besides those of the profile it inherits.
    pub read_only: Vec<PathBuf>,
    /// Paths that may be written, besides those of the profile it inherits.
    pub writable: Vec<PathBuf>,
    /// Bytes of a private `/tmp`.
    pub tmp: Option<Most<Size>>,
    /// Files in it.
    pub tmp_files: Option<u64>,
    /// What is seen of the network.
    pub network: Option<Network>,
    /// Bytes of memory: the most that a job may have.
    pub memory: Option<Most<Size>>,
    /// Processes and threads of a task at once.
    pub processes: Option<Most<u64>>,
    /// CPU time of each process.
    pub cpu_time: Option<Most<Length>>,
    /// CPUs at once, in hundredths.
    pub cpu_percent: Option<Most<u32>>,
    /// Bytes of one file.
    pub file_size: Option<Most<Size>>,
    /// Open descriptors of one process.
    pub open_files: Option<u64>,
    /// Bytes kept of each of a job's two outputs.
    #[serde(deserialize_with = "size")]
    pub output: Option<Size>,
    /// Whom tasks run as.
    pub user: Option<User>,
    /// How memory, processes and CPUs are limited.
    pub limits_of: Option<LimitsOf>,
    /// Rules about files and signals.
    pub landlock: Option<Landlock>,
    /// Which system calls there are.
    pub syscalls: Option<Syscalls>,
    /// System calls that are forbidden besides.
    pub deny_syscalls: BTreeSet<String>,
    /// System calls that are allowed after all.
    pub allow_syscalls: BTreeSet<String>,
    /// What becomes of a task that makes a forbidden one.
    pub on_forbidden: Option<OnForbidden>,
    /// Variables that are set besides those of the supervisor's options.
    pub env: BTreeMap<String, String>,
    /// Where tasks start.
    pub cwd: Option<PathBuf>,
    /// A process runs one job only, whatever the supervisor's options say.
    pub single_use: Option<bool>,
    /// What tasks may ask their supervisor for: `progress`, `durable`, `locks(PREFIX)`,
    /// `submit(QUEUE, TASK)`, `read-results`.
    pub may: Option<Vec<String>>,
    /// Asks of an attempt that may wait for their answers at once.
    pub open_asks: Option<u16>,
    /// Asks of an attempt.
    pub all_asks: Option<u32>,
}

/// A namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Space {
    /// Processes.
    Pid,
    /// System V IPC and message queues.
    Ipc,
    /// The host's name.
    Uts,
}

/// What is seen of the host's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootKind {
    /// What is named, and nothing else.
    Minimal,
    /// All.
    Host,
}

/// Whom tasks run as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum User {
    /// One that no other process has, as root; else the supervisor's, in a user namespace.
    Own,
    /// The supervisor's.
    Keep,
    /// This one.
    Name(String),
}

impl TryFrom<String> for User {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "own" => Ok(Self::Own),
            "keep" => Ok(Self::Keep),
            "" | "auto" => Err(format!(
                "`user` is `{text}` (write `own`, `keep` or the name of a user; left out, it is as \
                 --task-user says)"
            )),
            _ => Ok(Self::Name(text)),
        }
    }
}

impl User {
    /// Whether tasks that run as `here` may do what those that run as `there` may not. Without a
    /// word it is as --task-user says.
    pub(crate) fn is_looser(here: Option<&Self>, there: Option<&Self>) -> bool {
        match (here, there) {
            (Some(Self::Own), _) | (_, Some(Self::Keep)) => false,
            (here, there) => here != there,
        }
    }
}

/// By whom limits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LimitsOf {
    /// By a cgroup for all processes of a task together, where one can be had.
    Task,
    /// By the kernel for each process.
    Process,
}

/// How much Landlock keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Landlock {
    /// Signals and abstract sockets, and files and connections by rule.
    Files,
    /// Signals and abstract sockets, where the kernel can.
    Scope,
    /// Nothing.
    Off,
}

/// Which system calls there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Syscalls {
    /// Those that ordinary programs need.
    Allowlist,
    /// All but those that reach for the kernel's depths.
    Denylist,
    /// All.
    All,
}

/// What becomes of a task that makes a forbidden system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnForbidden {
    /// It ends.
    Kill,
    /// The call fails with EPERM.
    Error,
}

/// A limit, or `none` by somebody's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Most<T> {
    /// This.
    At(T),
    /// No limit.
    Unlimited,
}

impl<T: Copy> Most<T> {
    pub(crate) const fn get(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::Unlimited => None,
        }
    }
}

/// A length of time, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self).map_err(|error| error.to_string())
    }
}

/// A size that is always there.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    match Most::deserialize(deserializer)? {
        Most::At(size) => Ok(Some(size)),
        Most::Unlimited => Err(serde::de::Error::custom(
            "`output` has always a limit (write a size, at most 1MiB)",
        )),
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Most<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number or a text, or `none`")]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        if text == "none" {
            return Ok(Self::Unlimited);
        }
        let value = text.parse();
        value.map(Self::At).map_err(serde::de::Error::custom)
    }
}
