//! What the reactor knows about the process in each slot.

use std::time::Instant;

use bulkhead_shared::Timestamp;
use bulkhead_shared::frame::{Declined, Failure, InitReport};
use bulkhead_shared::name::Key;
use bulkhead_shared::pidfd::PidFd;
use bulkhead_shared::time::Now;

use super::events::Progress;
use crate::pool::{Force, TicketId};
use crate::process::cgroup::Leaf;
use crate::process::exit::Exit;
use crate::process::home::Kept;
use crate::process::limits::Cage;
use crate::process::link::Link;
use crate::process::warden::{Idle, Warden};
use crate::services::Asked;
use crate::watch::Exceeded;

/// How a task answered.
#[derive(Debug)]
pub(crate) enum Answered {
    Returned(Vec<u8>),
    Failed(Failure),
    Snoozed(Timestamp, Option<Key>),
}

/// What a reused process said that a job consumed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reported {
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    pub max_rss_kb: Option<u64>,
}

/// The job a process runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub ticket: TicketId,
    pub nonce: u64,
    pub started: Now,
    pub answer: Option<(Answered, Reported)>,
    /// What the task does not want to follow.
    pub declined: Option<Declined>,
    /// Bytes of the allocation that failed, right before the process ends.
    pub failed_allocation: Option<u64>,
    /// The system call that its profile ends it for, right before it does.
    pub forbidden: Option<i32>,
    pub progress: Option<Vec<u8>>,
    /// What it has asked for so far.
    pub asked: Asked,
    /// How far it has come, if it is a processor's.
    pub events: Progress,
    /// A note about it has been written, and nothing has changed since.
    pub is_noted: bool,
}

/// What is known of a process' sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetUp {
    /// It has not said yet.
    Unsaid,
    /// It has not said, and is taken for ready.
    Expected,
    /// It is set up.
    Done,
    /// It has said why that failed.
    Failed,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub generation: u64,
    pub link: Link,
    /// Absent until the zygote has answered, and once its end was heard.
    pub pidfd: Option<PidFd>,
    pub pid: i32,
    pub uid: Option<u32>,
    /// The number of its profile.
    pub profile: u16,
    /// One, or in a group several.
    pub running: Vec<Running>,
    pub is_group: bool,
    pub set_up: SetUp,
    /// What is to be done to it as soon as it is there.
    pub signal: Option<Force>,
    /// It is dead, and could not be reaped yet.
    pub is_traced: bool,
    /// Jobs it has answered.
    pub served: u32,
    /// What it reported for these, in all.
    pub reported: Reported,
    /// How it broke the protocol.
    pub violation: Option<String>,
    /// It had more memory than it might, with all that it had started.
    pub exceeded: Option<Exceeded>,
    pub exit: Option<Exit>,
    /// How its task ended, if an init of ours stood above it.
    pub report: Option<InitReport>,
    /// The init above its task, if that stays; `pidfd` and `pid` are those of it.
    pub warden: Option<Warden>,
    /// SIGKILL has been sent by us.
    pub is_killed: bool,
    pub is_sweeping: bool,
    /// Its home is being removed.
    pub is_clearing: bool,
}

/// A slot.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub process: Option<Process>,
    pub leaf: Option<Leaf>,
    /// The private directory of its processes.
    pub home: Kept,
    /// Made when a process first needs it.
    pub cage: Option<Cage>,
    /// Stayed when its process ended.
    pub idle: Option<Idle>,
}

impl Place {
    /// Children of ours that are there because of this slot: a number of one that was reaped may pass to
    /// a stranger.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        let living = self.process.iter().filter(|one| one.pidfd.is_some());
        let idle = self.idle.iter().map(|idle| idle.pid);
        living.map(|process| process.pid).chain(idle)
    }

    /// The process of this generation, if it is still there.
    pub(crate) fn process(&mut self, generation: u64) -> Option<&mut Process> {
        self.process
            .as_mut()
            .filter(|process| process.generation == generation)
    }
}

impl Process {
    pub(crate) fn new(generation: u64, link: Link, profile: u16) -> Self {
        Self {
            generation,
            link,
            pidfd: None,
            pid: 0,
            uid: None,
            profile,
            running: Vec::new(),
            is_group: false,
            set_up: SetUp::Unsaid,
            signal: None,
            is_traced: false,
            served: 0,
            reported: Reported::default(),
            violation: None,
            exceeded: None,
            exit: None,
            report: None,
            warden: None,
            is_killed: false,
            is_sweeping: false,
            is_clearing: false,
        }
    }
}

/// Which of a process' descriptors an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Exit,
    Result,
    Stdout,
    Stderr,
    Job,
    Cgroup,
    Report,
}

const KINDS: [Kind; 7] = [
    Kind::Exit,
    Kind::Result,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Job,
    Kind::Cgroup,
    Kind::Report,
];

/// Bits of a token: kind, slot, generation. A generation is compared by its low bits; between two
/// that agree in them lie 2^44 processes.
const KIND_BITS: u32 = 3;
const SLOT_BITS: u32 = 16;

/// An event's token.
pub(crate) fn token(slot: u16, generation: u64, kind: Kind) -> u64 {
    let kind = KINDS.iter().position(|&k| k == kind).unwrap_or(0) as u64;
    // Zero in the lowest kind bits would clash with nothing: fixed tokens are counted from the top.
    kind | u64::from(slot) << KIND_BITS | (generation & GENERATION) << (KIND_BITS + SLOT_BITS)
}

const GENERATION: u64 = (1 << (63 - KIND_BITS - SLOT_BITS)) - 1;

/// What a token stands for.
pub(crate) fn untoken(token: u64) -> Option<(u16, u64, Kind)> {
    let kind = *KINDS.get(usize::try_from(token & ((1 << KIND_BITS) - 1)).ok()?)?;
    let slot = u16::try_from(token >> KIND_BITS & u64::from(u16::MAX)).ok()?;
    Some((slot, token >> (KIND_BITS + SLOT_BITS) & GENERATION, kind))
}

/// The earlier of two moments, either of which may never come.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_slot_generation_and_kind() {
        for kind in KINDS {
            assert_eq!(
                untoken(token(65_535, 123_456_789, kind)),
                Some((65_535, 123_456_789, kind))
            );
        }
    }
}
