//! Profiles as data: what a user writes, what is built in, and what comes of both. Knows no host.

#![forbid(unsafe_code)]

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::isolation::Network;
use bulkhead_shared::limits::Limits;
use bulkhead_shared::units::Size;

use super::seccomp;
use crate::process::link::TAIL;
use crate::services::May;

pub(crate) use written::{
    Landlock, Length, LimitsOf, Most, OnForbidden, RootKind, Space, Syscalls, User, Written,
};

/// Profiles of one supervisor at the most, those that are built in among them.
pub(crate) const PROFILES: usize = 64;

/// Bytes that can be kept of an output at the most: it stands in every status.
const OUTPUT: u32 = 1 << 20;

/// A chain of profiles that inherit is at most this long.
const CHAIN: usize = 16;

/// The profile of tasks for which nothing says another.
pub(crate) const USUAL: &str = "process";

/// A profile with everything that it inherits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    pub name: String,
    /// Hardened at all; `none` is not.
    pub confined: bool,
    pub namespaces: BTreeSet<Space>,
    pub root: RootKind,
    pub read_only: BTreeSet<PathBuf>,
    pub writable: BTreeSet<PathBuf>,
    /// Those of the two above that must be there: somebody has named them.
    pub required: BTreeSet<PathBuf>,
    pub tmp: Option<u64>,
    pub tmp_files: u64,
    pub network: Network,
    pub memory: Option<u64>,
    pub processes: Option<u64>,
    pub cpu_time: Option<Duration>,
    pub cpu_percent: Option<u32>,
    pub file_size: Option<u64>,
    pub open_files: Option<u64>,
    /// Bytes kept of each of a job's two outputs.
    pub output: u32,
    pub limits_of: LimitsOf,
    pub landlock: Landlock,
    pub syscalls: Syscalls,
    pub deny_syscalls: BTreeSet<String>,
    pub allow_syscalls: BTreeSet<String>,
    pub on_forbidden: OnForbidden,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    pub single_use: bool,
    /// Whom tasks run as; `None` is as --task-user says.
    pub user: Option<User>,
    /// What tasks may ask their supervisor for.
    pub may: May,
}

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile `{profile}`: {reason}")]
pub(crate) struct ProfileError {
    pub profile: String,
    pub reason: String,
}

impl Profile {
    /// A task as it comes: for trusted ones, and to look for mistakes.
    pub(crate) fn none() -> Self {
        Self {
            name: "none".into(),
            confined: false,
            namespaces: BTreeSet::new(),
            root: RootKind::Host,
            read_only: BTreeSet::new(),
            writable: BTreeSet::new(),
            required: BTreeSet::new(),
            tmp: None,
            tmp_files: 4096,
            network: Network::Host,
            memory: None,
            processes: None,
            cpu_time: None,
            cpu_percent: None,
            file_size: None,
            open_files: None,
            output: TAIL,
            limits_of: LimitsOf::Process,
            landlock: Landlock::Off,
            syscalls: Syscalls::All,
            deny_syscalls: BTreeSet::new(),
            allow_syscalls: BTreeSet::new(),
            on_forbidden: OnForbidden::Error,
            env: BTreeMap::new(),
            cwd: None,
            single_use: false,
            user: None,
            may: May::default(),
        }
    }

    /// What a task in need of no privileges does not miss.
    pub(crate) fn process() -> Self {
        Self {
            name: "process".into(),
            confined: true,
            processes: Some(512),
            open_files: Some(4096),
            landlock: Landlock::Scope,
            ..Self::none()
        }
    }

    /// For tasks that nobody trusts.
    pub(crate) fn strict() -> Self {
        let read_only = [
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/etc/alternatives",
            "/etc/ld.so.cache",
            "/etc/localtime",
            "/etc/mime.types",
            "/etc/ssl/certs",
        ];
        Self {
            name: "strict".into(),
            namespaces: BTreeSet::from([Space::Pid, Space::Ipc, Space::Uts]),
            root: RootKind::Minimal,
            read_only: read_only.into_iter().map(PathBuf::from).collect(),
            tmp: Some(64 << 20),
            network: Network::None,
            processes: Some(64),
            file_size: Some(64 << 20),
            open_files: Some(256),
            limits_of: LimitsOf::Task,
            landlock: Landlock::Files,
            syscalls: Syscalls::Denylist,
            single_use: true,
            may: May::untrusted(),
            ..Self::process()
        }
    }

    /// This profile with what `written` says.
    fn changed(mut self, name: &str, written: &Written) -> Result<Self, ProfileError> {
        let wrong = |reason: String| ProfileError {
            profile: name.into(),
            reason,
        };
        self.name = name.into();
        self.confined |= *written
            != Written {
                inherits: written.inherits.clone(),
                ..Written::default()
            };
        for path in written.read_only.iter().chain(&written.writable) {
            if !path.is_absolute() {
                let path = path.display();
                return Err(wrong(format!("the path `{path}` is not absolute")));
            }
        }
        for name in written.deny_syscalls.iter().chain(&written.allow_syscalls) {
            if seccomp::number(name).is_none() {
                return Err(wrong(format!(
                    "there is no system call `{name}` (names are those of `man 2 syscalls`)"
                )));
            }
        }
        let named = |paths: &[PathBuf]| paths.iter().cloned().collect::<BTreeSet<_>>();
        self.read_only.extend(named(&written.read_only));
        self.writable.extend(named(&written.writable));
        self.required.extend(named(&written.read_only));
        self.required.extend(named(&written.writable));
        self.deny_syscalls.extend(written.deny_syscalls.clone());
        self.deny_syscalls
            .retain(|name| !written.allow_syscalls.contains(name));
        self.allow_syscalls.extend(written.allow_syscalls.clone());
        self.allow_syscalls
            .retain(|name| !written.deny_syscalls.contains(name));
        self.env.extend(written.env.clone());
        fn put<T: Clone>(place: &mut T, written: Option<&T>) {
            if let Some(value) = written {
                *place = value.clone();
            }
        }
        put(&mut self.namespaces, written.namespaces.as_ref());
        put(&mut self.root, written.root.as_ref());
        put(&mut self.tmp_files, written.tmp_files.as_ref());
        put(&mut self.network, written.network.as_ref());
        put(&mut self.limits_of, written.limits_of.as_ref());
        put(&mut self.landlock, written.landlock.as_ref());
        put(&mut self.syscalls, written.syscalls.as_ref());
        put(&mut self.on_forbidden, written.on_forbidden.as_ref());
        put(&mut self.single_use, written.single_use.as_ref());
        let size = |most: Most<Size>| most.get().map(|size| size.0);
        put(&mut self.tmp, written.tmp.map(size).as_ref());
        put(&mut self.memory, written.memory.map(size).as_ref());
        put(&mut self.file_size, written.file_size.map(size).as_ref());
        put(
            &mut self.processes,
            written.processes.map(Most::get).as_ref(),
        );
        put(
            &mut self.cpu_percent,
            written.cpu_percent.map(Most::get).as_ref(),
        );
        if let Some(Size(bytes)) = written.output {
            let output = u32::try_from(bytes).ok().filter(|&bytes| bytes <= OUTPUT);
            self.output = output.ok_or_else(|| {
                wrong(format!(
                    "`output` is {}, and of each output at most {} are kept with a job (let the \
                     task return what is larger, or write it to a file)",
                    Size(bytes),
                    Size(OUTPUT.into())
                ))
            })?;
        }
        let length = |most: Most<Length>| most.get().map(|length| length.0);
        put(&mut self.cpu_time, written.cpu_time.map(length).as_ref());
        if let Some(words) = &written.may {
            self.may = May {
                open: self.may.open,
                all: self.may.all,
                ..May::parse(words).map_err(wrong)?
            };
        }
        put(&mut self.may.open, written.open_asks.as_ref());
        put(&mut self.may.all, written.all_asks.as_ref());
        self.open_files = written.open_files.or(self.open_files);
        self.cwd = written.cwd.clone().or(self.cwd);
        self.user = written.user.clone().or(self.user);
        self.check().map_err(wrong)?;
        Ok(self)
    }

    /// Its limits that a message can lower, besides memory.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            processes: self.processes,
            cpu_time_s: self.cpu_time.map(|time| time.as_secs()),
            file_size: self.file_size,
            open_files: self.open_files,
        }
    }

    fn check(&self) -> Result<(), String> {
        let least = |what: &str, found: Option<u64>, least: u64, unit: &str| match found {
            Some(found) if found < least => Err(format!(
                "`{what}` is {found}, and no task gets along with less than {least}{unit}"
            )),
            _ => Ok(()),
        };
        least("memory", self.memory, 16 << 20, " bytes (`16MiB`)")?;
        least("tmp", self.tmp, 64 << 10, " bytes (`64KiB`)")?;
        least("tmp-files", Some(self.tmp_files), 2, "")?;
        least("cpu-percent", self.cpu_percent.map(u64::from), 1, "")?;
        let limits = self.limits().check();
        limits.map_err(|error| error.to_string())?;
        if self.root == RootKind::Minimal && self.tmp.is_none() {
            return Err("a task in a root of its own needs a place to write to \
                        (give `tmp` a size, or use `root = \"host\"`)"
                .into());
        }
        let is_inside = |cwd: &PathBuf| {
            let binds = self.read_only.iter().chain(&self.writable);
            cwd.starts_with("/tmp") || binds.into_iter().any(|bind| cwd.starts_with(bind))
        };
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !cwd.is_absolute()) {
            return Err(format!(
                "`cwd` is `{}`, which is not absolute",
                cwd.display()
            ));
        }
        if self.root == RootKind::Minimal && !self.cwd.as_ref().is_none_or(is_inside) {
            return Err(
                "`cwd` is not in the task's root (name it in `read-only` or `writable`, or \
                        use `/tmp`)"
                    .into(),
            );
        }
        if self.root == RootKind::Minimal && !self.namespaces.contains(&Space::Pid) {
            return Err("a task in a root of its own needs a `/proc` of its own \
                        (add `\"pid\"` to `namespaces`, or use `root = \"host\"`)"
                .into());
        }
        Ok(())
    }

    /// What a task of this profile may do that one of `other` may not; `None` if there is nothing.
    pub(crate) fn looser_than(&self, other: &Self) -> Option<&'static str> {
        fn more<T: Ord>(here: Option<T>, there: Option<T>) -> bool {
            match (here, there) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(here), Some(there)) => here > there,
            }
        }
        let reads = |profile: &Self, path: &PathBuf| {
            profile.root == RootKind::Host && profile.landlock != Landlock::Files
                || [&profile.read_only, &profile.writable]
                    .iter()
                    .any(|paths| paths.iter().any(|known| path.starts_with(known)))
        };
        let writes = |profile: &Self, path: &PathBuf| {
            profile.root == RootKind::Host && profile.landlock != Landlock::Files
                || profile.writable.iter().any(|known| path.starts_with(known))
        };
        let lets = |call: &String| {
            let is_listed = seccomp::is_listed(call) || self.allow_syscalls.contains(call);
            !self.deny_syscalls.contains(call)
                && (self.syscalls != Syscalls::Allowlist || is_listed)
        };
        let differences = [
            (other.confined && !self.confined, "confinement"),
            (
                !self.namespaces.is_superset(&other.namespaces),
                "namespaces",
            ),
            (self.root > other.root, "root"),
            (
                self.read_only.iter().any(|path| !reads(other, path)),
                "read-only",
            ),
            (
                self.writable.iter().any(|path| !writes(other, path)),
                "writable",
            ),
            (more(self.tmp, other.tmp), "tmp"),
            (
                other.tmp.is_some() && self.tmp_files > other.tmp_files,
                "tmp-files",
            ),
            (self.network > other.network, "network"),
            (more(self.memory, other.memory), "memory"),
            (more(self.processes, other.processes), "processes"),
            (more(self.cpu_time, other.cpu_time), "cpu-time"),
            (more(self.cpu_percent, other.cpu_percent), "cpu-percent"),
            (more(self.file_size, other.file_size), "file-size"),
            (more(self.open_files, other.open_files), "open-files"),
            (self.output > other.output, "output"),
            (self.limits_of > other.limits_of, "limits-of"),
            (self.landlock > other.landlock, "landlock"),
            (self.syscalls > other.syscalls, "syscalls"),
            (other.deny_syscalls.iter().any(lets), "deny-syscalls"),
            (
                other.syscalls != Syscalls::All
                    && !self.allow_syscalls.is_subset(&other.allow_syscalls),
                "allow-syscalls",
            ),
            (self.on_forbidden > other.on_forbidden, "on-forbidden"),
            (other.single_use && !self.single_use, "single-use"),
            (
                User::is_looser(self.user.as_ref(), other.user.as_ref()),
                "user",
            ),
            (!self.may.is_within(&other.may), "may"),
        ];
        let found = differences.into_iter().find(|(is_looser, _)| *is_looser);
        found.map(|(_, what)| what)
    }
}

/// All profiles of a supervisor, by their names; the built-in ones come first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profiles(Vec<Profile>);

impl Default for Profiles {
    fn default() -> Self {
        Self(vec![Profile::none(), Profile::process(), Profile::strict()])
    }
}

impl Profiles {
    /// The built-in ones and those that are declared, in any order.
    ///
    /// # Errors
    /// The first that is wrong: an unknown parent, a circle, a value that no task can live with.
    pub(crate) fn declare(declared: &BTreeMap<String, Written>) -> Result<Self, ProfileError> {
        let mut all = Self::default();
        for name in declared.keys() {
            let wrong = |reason: &str| ProfileError {
                profile: name.clone(),
                reason: reason.into(),
            };
            if all.index(name).is_some() {
                return Err(wrong(
                    "this name is built in (take another, and let it inherit from this one)",
                ));
            }
            if !is_name(name) {
                return Err(wrong("a name is made of letters, digits, `-` and `_`"));
            }
            if all.0.len() == PROFILES {
                return Err(wrong("there are more than 64 profiles"));
            }
            let profile = all.resolve(name, declared, 0)?;
            all.0.push(profile);
        }
        Ok(all)
    }

    fn resolve(
        &self,
        name: &str,
        declared: &BTreeMap<String, Written>,
        depth: usize,
    ) -> Result<Profile, ProfileError> {
        if let Some(index) = self.index(name) {
            return Ok(self.0[index].clone());
        }
        let wrong = |reason: String| ProfileError {
            profile: name.into(),
            reason,
        };
        let Some(written) = declared.get(name) else {
            return Err(wrong(format!("there is no such profile (there are {})", {
                let known = self.names().chain(declared.keys().map(String::as_str));
                known
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(", ")
            })));
        };
        if depth == CHAIN {
            return Err(wrong(
                "it inherits in a circle, or over more than 16 steps".into(),
            ));
        }
        let parent = written.inherits.as_deref().unwrap_or(USUAL);
        let parent = self.resolve(parent, declared, depth + 1)?;
        parent.changed(name, written)
    }

    /// Where a profile stands.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|profile| profile.name == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Profile> {
        self.index(name).map(|index| &self.0[index])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|profile| profile.name.as_str())
    }
}

/// Whether a profile can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && name.chars().all(is_fine)
}

#[cfg(test)]
mod tests;
