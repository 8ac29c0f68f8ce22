//! The zygote's life: started, ready, dead and started again, replaced when the child binary
//! changes. Spawns wait here until it can serve them.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use bulkhead_shared::frame;
use bulkhead_shared::isolation::Containment;

use super::place::Place;
use crate::pool::Seat;
use crate::process::pipes::Theirs;
use crate::process::zygote::{Recipe, Zygote, ZygoteError};
use crate::sandbox::plan::Plan;

/// A child whose `main` does not reach Bulkhead within this is not one.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(10);

/// A zygote that answers nothing for this long is stuck: a fork takes a fraction of a millisecond.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a zygote that was let go may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Requests the zygote has not answered: more would fill its socket.
const UNANSWERED: usize = 32;

/// Between looks whether the child binary has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts in a row that led to nothing, after which a profile that cannot be set up has no jobs: one
/// may fail for want of memory.
const UNFIT_AFTER: u32 = 3;

/// Rests between starts that fail: first and longest.
const REST_FIRST: Duration = Duration::from_millis(200);
const REST_LONGEST: Duration = Duration::from_secs(10);

/// A process that is to be started.
#[derive(Debug)]
pub(super) struct Spawn {
    pub seat: Seat,
    /// All but the home.
    pub fork: frame::Fork<'static>,
    pub home: Option<String>,
    pub theirs: Theirs,
}

impl Spawn {
    /// What a zygote or a warden is asked for, and the descriptors that go with it.
    pub(super) fn request<'a>(
        &'a self,
        place: &'a Place,
        plan: &Plan,
        memory: Option<u64>,
    ) -> (frame::Fork<'a>, Vec<BorrowedFd<'a>>) {
        let fork = frame::Fork {
            home: self.home.as_deref(),
            memory,
            ..self.fork.clone()
        };
        let has_cgroup = plan.setup.containment == Containment::Cgroup;
        let cgroup = place.leaf.as_ref().filter(|_| has_cgroup);
        let cage = place.cage.iter().filter(|_| plan.amounts.is_some());
        let limits = cage.flat_map(|cage| cage.descriptors());
        let cgroup = cgroup.map(|leaf| leaf.as_fd());
        (fork, self.theirs.in_order(cgroup, limits))
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody has asked for a process yet, or for long.
    Dormant,
    Starting {
        zygote: Zygote,
        until: Instant,
    },
    Ready(Zygote),
    Resting {
        until: Instant,
    },
}

/// Where processes come from.
#[derive(Debug)]
pub(super) struct Nursery {
    pub recipe: Recipe,
    pub stage: Stage,
    /// Counts zygotes: of which one a warden is a copy.
    pub number: u64,
    /// Starts in a row that led to nothing.
    failures: u32,
    /// Why the last one could not set up its profile, if that was it.
    unfit: Option<String>,
    pub waiting: VecDeque<Spawn>,
    /// The last process of this zygote of which that is known was ready when it should be.
    is_reliable: bool,
    look_due: Option<Instant>,
    /// Since when the zygote has owed an answer, without giving any.
    owing: Option<Instant>,
    /// When a process was last asked for.
    used: Instant,
    /// Zygotes that were let go and not yet reaped.
    retired: Vec<Child>,
}

impl Nursery {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            stage: Stage::Dormant,
            used: bulkhead_shared::time::Now::read().mono,
            number: 0,
            failures: 0,
            unfit: None,
            waiting: VecDeque::new(),
            is_reliable: false,
            look_due: None,
            owing: None,
            retired: Vec::new(),
        }
    }

    pub(super) fn starting(&mut self, zygote: Zygote, now: Instant) {
        self.number += 1;
        self.is_reliable = false;
        self.stage = Stage::Starting {
            zygote,
            until: now + READY_WITHIN,
        };
    }

    /// The zygote is ready: turns the stage.
    pub(super) fn ready(&mut self, now: Instant) {
        self.failures = 0;
        self.unfit = None;
        self.look_due = Some(now + LOOK_EVERY);
        let resting = Stage::Resting { until: now };
        self.stage = match std::mem::replace(&mut self.stage, resting) {
            Stage::Starting { zygote, .. } | Stage::Ready(zygote) => Stage::Ready(zygote),
            other @ (Stage::Resting { .. } | Stage::Dormant) => other,
        };
    }

    /// The last failure was this one.
    pub(super) fn failed_by(&mut self, error: &ZygoteError) {
        // A start that fails for any other reason may do better the next time.
        let is_unfit = matches!(
            error,
            ZygoteError::Unfit { .. } | ZygoteError::Groupless { .. }
        );
        self.unfit = is_unfit.then(|| error.to_string());
    }

    /// Why no job can run under its profile, until a zygote of it is ready.
    pub(super) fn unfit(&self) -> Option<&str> {
        self.unfit
            .as_deref()
            .filter(|_| self.failures >= UNFIT_AFTER)
    }

    /// Takes the zygote away and rests; what it had been asked for comes back.
    pub(super) fn fail(&mut self, now: Instant) -> Option<Zygote> {
        self.owing = None;
        let rest = REST_FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(REST_LONGEST);
        self.failures += 1;
        let resting = Stage::Resting { until: now + rest };
        match std::mem::replace(&mut self.stage, resting) {
            Stage::Starting { zygote, .. } | Stage::Ready(zygote) => Some(zygote),
            Stage::Resting { .. } | Stage::Dormant => None,
        }
    }

    /// A warden of it was asked for a process.
    pub(super) const fn is_used(&mut self, now: Instant) {
        self.used = now;
    }

    /// The zygote was asked for a process.
    pub(super) fn asked(&mut self, now: Instant) {
        self.used = now;
        self.owing.get_or_insert(now);
    }

    /// It answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.owing = self.has_unanswered().then_some(now);
    }

    pub(super) fn zygote(&mut self) -> Option<&mut Zygote> {
        match &mut self.stage {
            Stage::Starting { zygote, .. } | Stage::Ready(zygote) => Some(zygote),
            Stage::Resting { .. } | Stage::Dormant => None,
        }
    }

    pub(super) const fn is_dormant(&self) -> bool {
        matches!(self.stage, Stage::Dormant)
    }

    pub(super) const fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting { .. })
    }

    pub(super) fn has_unanswered(&self) -> bool {
        match &self.stage {
            Stage::Starting { zygote, .. } | Stage::Ready(zygote) => !zygote.asked.is_empty(),
            Stage::Resting { .. } | Stage::Dormant => false,
        }
    }

    /// Whether a process that it was just asked for can be counted on.
    pub(super) fn is_reliable(&self) -> bool {
        self.is_reliable && self.waiting.is_empty() && matches!(self.stage, Stage::Ready(_))
    }

    /// A process of it was set up, or was not.
    pub(super) const fn relies(&mut self, is_set_up: bool) {
        self.is_reliable = is_set_up;
    }

    /// The next spawn that the zygote can be asked for.
    pub(super) fn next(&mut self) -> Option<Spawn> {
        let Stage::Ready(zygote) = &self.stage else {
            return None;
        };
        if zygote.asked.len() < UNANSWERED {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Since when nobody has wanted a process, if its zygote could be let go.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = matches!(self.stage, Stage::Ready(_))
            && self.waiting.is_empty()
            && !self.has_unanswered();
        is_idle.then_some(self.used)
    }

    /// Lets the zygote go until a process is wanted again. Those it has started live on.
    pub(super) fn rest_for_long(&mut self) {
        if let Stage::Ready(zygote) = std::mem::replace(&mut self.stage, Stage::Dormant) {
            self.retired.push(zygote.retire());
        }
    }

    /// Lets the zygote go if another binary stands where it came from; whether it did.
    pub(super) fn retire_outdated(&mut self, now: Instant) -> bool {
        if self.look_due.is_none_or(|due| due > now) {
            return false;
        }
        self.look_due = Some(now + LOOK_EVERY);
        let Stage::Ready(zygote) = &self.stage else {
            return false;
        };
        if !zygote.is_outdated() || !zygote.asked.is_empty() {
            return false;
        }
        let resting = Stage::Resting { until: now };
        if let Stage::Ready(zygote) = std::mem::replace(&mut self.stage, resting) {
            self.retired.push(zygote.retire());
        }
        true
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Starting { until, .. } | Stage::Resting { until } => Some(*until),
            Stage::Ready(_) => self.owing.map(|since| since + ANSWER_WITHIN),
            Stage::Dormant => None,
        }
    }

    pub(super) fn reap_retired(&mut self) {
        self.retired
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    pub(super) fn pids(&self) -> Vec<i32> {
        let retired = self
            .retired
            .iter()
            .map(|child| i32::try_from(child.id()).unwrap_or(0));
        let current = match &self.stage {
            Stage::Starting { zygote, .. } | Stage::Ready(zygote) => Some(zygote.pid()),
            Stage::Resting { .. } | Stage::Dormant => None,
        };
        retired.chain(current).collect()
    }

    /// Ends the zygote; every process it started is gone.
    pub(super) fn close(&mut self) {
        if let Stage::Starting { zygote, .. } | Stage::Ready(zygote) =
            std::mem::replace(&mut self.stage, Stage::Dormant)
        {
            zygote.end_within(END_WITHIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bulkhead_shared::isolation::Setup;

    use super::*;

    #[test]
    fn a_child_that_cannot_give_its_tasks_their_group_is_no_use_to_its_profile() {
        let path = PathBuf::from("child");
        let mut nursery = Nursery::new(Recipe {
            child: path.clone(),
            launcher: None,
            environment: Vec::new(),
            directory: None,
            setup: Setup {
                containment: Containment::Subreaper,
                cgroup_kill: false,
                landlock_scope: false,
                no_new_privileges: false,
                rlimits: Vec::new(),
                processes: None,
                clone3: false,
                tid_address: false,
                exec: false,
                own_rlimits: Vec::new(),
                addresses: None,
                walls: None,
            },
            gid: Some(7),
        });
        let now = bulkhead_shared::time::Now::read().mono;
        for _ in 0..UNFIT_AFTER {
            assert_eq!(nursery.unfit(), None);
            let path = path.clone();
            nursery.failed_by(&ZygoteError::Groupless { path, gid: 7 });
            let _ = nursery.fail(now);
        }
        assert!(nursery.unfit().is_some());
    }
}
