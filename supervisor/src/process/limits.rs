//! Cgroups that limit what all processes of a task consume together: in the unified hierarchy
//! where it has the controllers, else in those of version 1. One per slot and controller, made
//! when the first process needs them, kept for the next.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cgroup::{PREFIX, directory};

/// What may be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Processes,
    Cpu,
}

const ALL: [Controller; 3] = [Controller::Memory, Controller::Processes, Controller::Cpu];

impl Controller {
    /// Its name to the kernel.
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Which kind of hierarchy controllers are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Controllers of this host that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Controllers {
    pub version: Version,
    /// Each with the directory below which cgroups may be made.
    places: Vec<(Controller, PathBuf)>,
}

impl Controllers {
    /// What there is; `None` if it is nothing.
    pub(crate) fn find() -> Option<Self> {
        unified().or_else(version_1)
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.places.iter().any(|(known, _)| *known == controller)
    }

    /// Their directories, each once.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = self.places.iter().map(|(_, path)| path.clone()).collect();
        found.dedup();
        found
    }
}

fn unified() -> Option<Controllers> {
    let own = super::cgroup::own_directory()?;
    let delegated = |own: &Path| fs::read_to_string(own.join("cgroup.subtree_control"));
    let names = ALL.map(|controller| format!("+{}", controller.name()));
    // Refused where processes live beside the cgroups to be made, but at the very top.
    let _ = fs::write(own.join("cgroup.subtree_control"), names.join(" "));
    let given = delegated(&own).ok()?;
    let is_given =
        |controller: &Controller| given.split_whitespace().any(|n| n == controller.name());
    let places: Vec<_> = ALL
        .into_iter()
        .filter(is_given)
        .map(|controller| (controller, own.clone()))
        .collect();
    (!places.is_empty()).then_some(Controllers {
        version: Version::V2,
        places,
    })
}

fn version_1() -> Option<Controllers> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let place = |controller: Controller| {
        let place = place_of(controller.name(), &mounts, &groups)?;
        may_make(&place).then_some((controller, place))
    };
    let places: Vec<_> = ALL.into_iter().filter_map(place).collect();
    (!places.is_empty()).then_some(Controllers {
        version: Version::V1,
        places,
    })
}

/// The directory of this process' own cgroup in the hierarchy of `name`.
fn place_of(name: &str, mounts: &str, groups: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|word| word == name);
    let (root, point) = mounts.lines().find_map(|line| {
        let (places, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let is_it = kind.next()? == "cgroup" && kind.nth(1).is_some_and(has);
        let mut places = places.split(' ');
        is_it.then(|| Some((places.nth(3)?, places.next()?)))?
    })?;
    let own = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        has(parts.next()?).then(|| parts.next())?
    })?;
    // In a container the mount begins at its own cgroup.
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
    let place = Path::new(point).join(below.trim_start_matches('/'));
    (!below.contains("..")).then_some(place)
}

fn may_make(place: &Path) -> bool {
    let trial = place.join(format!("{PREFIX}probe-{}", std::process::id()));
    let is_made = fs::create_dir(&trial).is_ok();
    let _ = fs::remove_dir(&trial);
    is_made
}

/// How much there may be of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amounts {
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Hundredths of one CPU.
    pub cpu_percent: Option<u32>,
}

/// The cgroups of one run.
#[derive(Debug)]
pub(crate) struct Cages {
    controllers: Controllers,
    name: String,
}

/// How a run's directory is called in each hierarchy.
fn name_of(id: &str) -> String {
    format!("{PREFIX}{id}.limits")
}

impl Cages {
    pub(crate) fn new(controllers: Controllers, id: &str) -> io::Result<Self> {
        let name = name_of(id);
        for place in controllers.directories() {
            let own = place.join(&name);
            fs::create_dir(&own)?;
            if controllers.version == Version::V2 {
                let given = controllers.places.iter();
                let names: Vec<_> = given.map(|(one, _)| format!("+{}", one.name())).collect();
                fs::write(own.join("cgroup.subtree_control"), names.join(" "))?;
            }
        }
        Ok(Self { controllers, name })
    }

    /// Makes the cgroups of a slot.
    pub(crate) fn cage(&self, slot: u16) -> io::Result<Cage> {
        let mut cells: Vec<Group> = Vec::new();
        for (controller, place) in &self.controllers.places {
            let path = place.join(&self.name).join(format!("slot-{slot}"));
            match cells.iter_mut().find(|cell| cell.path == path) {
                Some(cell) => cell.controllers.push(*controller),
                None => {
                    match fs::create_dir(&path) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => {}
                    }
                    cells.push(Group {
                        directory: directory(&path)?,
                        path,
                        controllers: vec![*controller],
                    });
                }
            }
        }
        let mut cage = Cage {
            version: self.controllers.version,
            cells,
            amounts: Cell::new(None),
            killed: Cell::default(),
            refused: Cell::default(),
            counters: Counters::default(),
        };
        cage.counters = cage.open();
        cage.begin(Amounts::default())?;
        Ok(cage)
    }

    /// Removes them; nothing lives in them any more.
    pub(crate) fn remove(self) {
        for place in self.controllers.directories() {
            remove_all(&place.join(&self.name));
        }
    }
}

fn remove_all(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    // Busy ones stay; the next start tries again.
    let _ = fs::remove_dir(path);
}

/// Removes those of a run whose supervisor is dead, once its processes are gone.
pub(crate) fn clear_after(controllers: Option<&Controllers>, id: &str) {
    for place in controllers
        .map(Controllers::directories)
        .unwrap_or_default()
    {
        remove_all(&place.join(name_of(id)));
    }
}

/// One cgroup of a slot.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    directory: OwnedFd,
    controllers: Vec<Controller>,
}

/// The cgroups of a slot, one for each hierarchy.
#[derive(Debug)]
pub(crate) struct Cage {
    version: Version,
    cells: Vec<Group>,
    /// What is written there; `None` if that is not known, as after a write that failed.
    amounts: Cell<Option<Amounts>>,
    /// Counted by the kernel before the present process: killed for want of memory.
    killed: Cell<u64>,
    /// Refused for want of processes.
    refused: Cell<u64>,
    /// What is written to and read for each process.
    counters: Counters,
}

/// Files of a cage, held open; those that there are.
#[derive(Debug, Default)]
struct Counters {
    usage: Option<File>,
    peak: Option<File>,
    killed: Option<File>,
    refused: Option<File>,
}

/// What a task came up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bumps {
    /// Processes that were killed for want of memory.
    pub killed: u64,
    /// The most memory that was in use, in bytes.
    pub peak: Option<u64>,
    /// Processes that could not be started.
    pub refused: u64,
}

impl Cage {
    /// The directories that a process enters.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.cells.iter().map(|cell| cell.directory.as_fd())
    }

    fn file(&self, controller: Controller, v1: &str, v2: &str) -> Option<PathBuf> {
        let cell = self
            .cells
            .iter()
            .find(|cell| cell.controllers.contains(&controller))?;
        Some(cell.path.join(match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        }))
    }

    /// Sets the amounts for the next process, and forgets what earlier ones did.
    pub(crate) fn begin(&self, amounts: Amounts) -> io::Result<()> {
        self.set(amounts)?;
        if let Some(peak) = &self.counters.peak {
            // Version 2 resets it for the descriptor that writes only, which is the one that reads it.
            let _ = peak.write_at(b"0", 0);
        }
        self.killed.set(self.count_killed());
        self.refused.set(self.count_refused());
        Ok(())
    }

    /// Lowers the number of processes for the present one, until the next begins.
    pub(crate) fn lower_processes(&self, most: u64) -> io::Result<()> {
        self.set(Amounts {
            processes: Some(most),
            ..self.amounts.get().unwrap_or_default()
        })
    }

    /// Lowers the memory likewise, but not below what is in use: to write less has the kernel reclaim
    /// memory at once, on this thread, and in version 2 kill the task if that does not do.
    pub(crate) fn lower_memory(&self, most: u64) -> io::Result<()> {
        let before = self.amounts.get().unwrap_or_default();
        let most = before.memory.map_or(most, |memory| memory.min(most));
        let least = self.usage().unwrap_or(0);
        if before.memory.is_some_and(|memory| memory <= least) {
            return Ok(());
        }
        self.set(Amounts {
            memory: Some(most.max(least)),
            ..before
        })
    }

    /// Whether earlier processes have left so much that a fresh one is better: what they have left
    /// counts for the next. For when no process is there.
    pub(crate) fn is_used_up(&self) -> bool {
        self.usage().is_some_and(|bytes| bytes > LEFT_MOST)
    }

    /// Removes it; nothing lives in it any more.
    pub(crate) fn remove(self) {
        for cell in self.cells {
            // A busy one stays, and is found again.
            let _ = fs::remove_dir(cell.path);
        }
    }

    fn usage(&self) -> Option<u64> {
        let mut space = [0; COUNTER];
        text(self.counters.usage.as_ref()?, &mut space)
            .trim()
            .parse()
            .ok()
    }

    /// Writes what is not written yet.
    fn set(&self, amounts: Amounts) -> io::Result<()> {
        let before = self.amounts.replace(None);
        if before.map(|before| before.memory) != Some(amounts.memory) {
            // No limit has been there without the one for swap.
            let is_limited = before.is_some_and(|before| before.memory.is_some());
            self.set_memory(amounts.memory, !is_limited)?;
        }
        if before.map(|before| before.processes) != Some(amounts.processes)
            && let Some(path) = self.file(Controller::Processes, "pids.max", "pids.max")
        {
            fs::write(path, word(amounts.processes, "max"))?;
        }
        if before.map(|before| before.cpu_percent) != Some(amounts.cpu_percent) {
            self.set_cpu(amounts)?;
        }
        self.amounts.set(Some(amounts));
        Ok(())
    }

    fn set_cpu(&self, amounts: Amounts) -> io::Result<()> {
        let percent = amounts.cpu_percent.map(u64::from);
        match (
            self.version,
            self.file(Controller::Cpu, "cpu.cfs_quota_us", "cpu.max"),
        ) {
            (Version::V1, Some(path)) if path.exists() => {
                let quota = percent.map(|percent| percent * 1000);
                fs::write(path, word(quota, "-1"))?;
            }
            (Version::V2, Some(path)) => {
                let quota = word(percent.map(|percent| percent * 1000), "max");
                fs::write(path, format!("{quota} 100000"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_memory(&self, most: Option<u64>, with_swap: bool) -> io::Result<()> {
        if let Some(path) = self.file(Controller::Memory, "memory.limit_in_bytes", "memory.max") {
            let none = match self.version {
                Version::V1 => "-1",
                Version::V2 => "max",
            };
            fs::write(path, word(most, none))?;
            // What may be swapped out would be no limit.
            if let (Some(path), Version::V2) = (
                self.file(Controller::Memory, "memory.swappiness", "memory.swap.max"),
                self.version,
            ) && with_swap
                && path.exists()
            {
                fs::write(path, "0")?;
            }
        }
        Ok(())
    }

    /// What has happened since the present process began.
    pub(crate) fn bumps(&self) -> Bumps {
        let mut space = [0; COUNTER];
        let peak = self.counters.peak.as_ref();
        let peak = peak.and_then(|peak| text(peak, &mut space).trim().parse().ok());
        Bumps {
            killed: self.count_killed().saturating_sub(self.killed.get()),
            peak,
            refused: self.count_refused().saturating_sub(self.refused.get()),
        }
    }

    fn open(&self) -> Counters {
        let memory = |v1, v2| self.file(Controller::Memory, v1, v2);
        let mut both = OpenOptions::new();
        both.read(true).write(true);
        let peak = memory("memory.max_usage_in_bytes", "memory.peak");
        let killed = memory("memory.oom_control", "memory.events");
        let refused = self.file(Controller::Processes, "pids.events", "pids.events");
        let read = |path: Option<PathBuf>| path.and_then(|path| File::open(path).ok());
        Counters {
            usage: read(memory("memory.usage_in_bytes", "memory.current")),
            // Before Linux 6.12 nobody can reset it in version 2: it is of the slot then.
            peak: peak.and_then(|path| both.open(&path).or_else(|_| File::open(&path)).ok()),
            killed: read(killed),
            refused: read(refused),
        }
    }

    fn count_killed(&self) -> u64 {
        let killed = self.counters.killed.as_ref();
        killed.map_or(0, |file| counted(file, "oom_kill"))
    }

    fn count_refused(&self) -> u64 {
        let refused = self.counters.refused.as_ref();
        refused.map_or(0, |file| counted(file, "max"))
    }
}

/// A limit as it is written, `none` if there is none.
fn word(value: Option<u64>, none: &str) -> String {
    value.map_or_else(|| none.into(), |value| value.to_string())
}

/// Bytes that earlier processes may leave charged to a cage. A cage that is removed lives on in the
/// kernel while what is charged to it stays in the page cache, so not every little is worth it.
const LEFT_MOST: u64 = 16 << 20;

/// Bytes of a file that counts: a few short lines.
const COUNTER: usize = 512;

/// What a file says now.
fn text<'a>(file: &File, space: &'a mut [u8; COUNTER]) -> &'a str {
    let len = file.read_at(space, 0).unwrap_or(0);
    std::str::from_utf8(&space[..len]).unwrap_or_default()
}

/// The number behind `name` in a file of such lines.
fn counted(file: &File, name: &str) -> u64 {
    let mut space = [0; COUNTER];
    let found = text(file, &mut space).lines().find_map(|line| {
        let (word, number) = line.split_once(' ')?;
        (word == name).then(|| number.parse().ok())?
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests;
