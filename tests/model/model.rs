//! A store as simple as it can be: a list of jobs and a clock.

use bulkhead_shared::broker::{Renewal, Revocation, Settled, Submitted};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{QueueName, TaskName, Uuid};
use bulkhead_tests::{KEPT, LEASE};

/// A job of the model. All times in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) uuid: Uuid,
    /// Tells it from an earlier job with the same uuid that was forgotten.
    pub(crate) born: usize,
    pub(crate) queue: QueueName,
    pub(crate) task: TaskName,
    pub(crate) priority: u32,
    pub(crate) state: State,
    pub(crate) ready_at: u64,
    pub(crate) ttl: Option<u64>,
    pub(crate) expires_at: Option<u64>,
    pub(crate) fence: u64,
    pub(crate) lease_end: u64,
    pub(crate) is_revoked: bool,
    pub(crate) cause: Option<Cause>,
    pub(crate) purge_at: Option<u64>,
}

/// The store: jobs in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: Vec<Job>,
    born: usize,
    /// Wall clock, as the store must see it: it never goes back.
    pub(crate) now: u64,
    /// Since boot.
    pub(crate) boot: u64,
}

/// What a claim brings: ids and fences, whether there is more, when the next is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) claimed: Vec<(Uuid, u64)>,
    pub(crate) more: bool,
    pub(crate) next_due: Option<u64>,
}

fn kept() -> u64 {
    u64::try_from(KEPT.as_millis()).unwrap()
}

pub(crate) fn lease() -> u64 {
    u64::try_from(LEASE.as_millis()).unwrap()
}

impl Job {
    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Ready | State::Delayed)
    }

    fn has_ended(&self) -> bool {
        !self.is_waiting() && self.state != State::Leased
    }

    fn deadline(&self) -> u64 {
        let waited = self.ttl.map(|ttl| self.ready_at + ttl);
        waited
            .into_iter()
            .chain(self.expires_at)
            .min()
            .unwrap_or(u64::MAX)
    }

    fn end(&mut self, state: State, cause: Option<Cause>, purge_at: Option<u64>) {
        (self.state, self.cause, self.purge_at) = (state, cause, purge_at);
    }

    fn wait(&mut self, at: u64, now: u64) {
        self.ready_at = at.max(now);
        self.state = if at > now {
            State::Delayed
        } else {
            State::Ready
        };
    }

    fn take(&mut self, boot: u64) -> (Uuid, u64) {
        self.state = State::Leased;
        self.fence += 1;
        self.lease_end = boot + lease();
        (self.uuid, self.fence)
    }
}

impl Model {
    pub(crate) fn find(&mut self, uuid: Uuid) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.uuid == uuid)
    }

    /// The job of a receipt, if that is still good.
    fn held(&mut self, (born, fence): (usize, u64)) -> Option<&mut Job> {
        let mut jobs = self.jobs.iter_mut();
        jobs.find(|job| job.born == born && job.fence == fence && job.state == State::Leased)
    }

    pub(crate) fn submit(&mut self, mut job: Job) -> Submitted {
        let now = self.now;
        if let Some(known) = self.find(job.uuid) {
            if !known.has_ended() || known.purge_at.is_none_or(|at| at > now) {
                return Submitted::Duplicate;
            }
            self.jobs.retain(|known| known.uuid != job.uuid);
        }
        self.born += 1;
        job.born = self.born;
        self.jobs.push(job);
        Submitted::Created
    }

    pub(crate) fn claim(
        &mut self,
        queues: &[QueueName],
        tasks: &[TaskName],
        room: usize,
    ) -> Brought {
        let (now, boot) = (self.now, self.boot);
        let mut brought = Brought {
            claimed: Vec::new(),
            more: false,
            next_due: None,
        };
        for job in self
            .jobs
            .iter_mut()
            .filter(|job| queues.contains(&job.queue))
        {
            if job.state == State::Delayed && job.ready_at <= now {
                job.state = State::Ready;
            } else if job.state == State::Delayed {
                let due = job.ready_at - now;
                brought.next_due = Some(brought.next_due.map_or(due, |next| next.min(due)));
            }
        }
        for queue in queues {
            let is_wanted = |job: &&mut Job| {
                let is_known = job.queue == *queue && tasks.contains(&job.task);
                is_known && job.state == State::Ready && job.deadline() > now
            };
            let mut ready: Vec<_> = self.jobs.iter_mut().filter(is_wanted).collect();
            ready.sort_by_key(|job| job.priority);
            let left = room - brought.claimed.len();
            brought.more = ready.len() > left;
            brought
                .claimed
                .extend(ready.into_iter().take(left).map(|job| job.take(boot)));
            if brought.more {
                break;
            }
        }
        brought
    }

    pub(crate) fn settle(&mut self, held: (usize, u64), next: &Move) -> Settled {
        let now = self.now;
        let Some(job) = self.held(held) else {
            return Settled::Stale;
        };
        let purge = match next {
            Move::Succeed { purge_at, .. }
            | Move::Bury { purge_at, .. }
            | Move::Drop { purge_at, .. } => purge_at.map(|at| at.as_millis()),
            Move::Retry { .. } | Move::Release | Move::Snooze { .. } => Some(now + kept()),
        };
        if job.is_revoked {
            job.end(State::Dropped, Some(Cause::Revoked), purge);
            return Settled::Revoked;
        }
        match next {
            Move::Succeed { .. } => job.end(State::Succeeded, None, purge),
            Move::Bury { cause, .. } => job.end(State::Dead, Some(*cause), purge),
            Move::Drop { cause, .. } => job.end(State::Dropped, Some(*cause), purge),
            Move::Retry { at } => job.wait(at.as_millis(), now),
            Move::Release => job.wait(now, now),
            Move::Snooze { until, .. } => job.wait(until.as_millis(), now),
        }
        Settled::Applied
    }

    pub(crate) fn renew(&mut self, held: (usize, u64)) -> Renewal {
        let end = self.boot + lease();
        match self.held(held) {
            Some(job) => {
                job.lease_end = end;
                if job.is_revoked {
                    Renewal::Revoked
                } else {
                    Renewal::Held
                }
            }
            None => Renewal::Lost,
        }
    }

    pub(crate) fn revoke(&mut self, uuid: Uuid, skip: bool) -> Revocation {
        let now = self.now;
        match self.find(uuid) {
            None => Revocation::Unknown,
            Some(job) if job.is_waiting() => {
                job.end(State::Dropped, Some(Cause::Revoked), Some(now + kept()));
                Revocation::Ended
            }
            Some(job) if job.state == State::Leased && skip => {
                let _ = job;
                Revocation::Skipped
            }
            Some(job) if job.state == State::Leased => {
                job.is_revoked = true;
                Revocation::Told
            }
            Some(_) => Revocation::AlreadyEnded,
        }
    }

    pub(crate) fn take_over_leases(&mut self) -> Vec<(Uuid, u64)> {
        let boot = self.boot;
        let lost = |job: &&mut Job| job.state == State::Leased && job.lease_end <= boot;
        self.jobs
            .iter_mut()
            .filter(lost)
            .map(|job| job.take(boot))
            .collect()
    }

    pub(crate) fn take_over_expired(&mut self) -> Vec<(Uuid, u64)> {
        let (now, boot) = (self.now, self.boot);
        let expired = |job: &&mut Job| job.is_waiting() && job.deadline() <= now;
        self.jobs
            .iter_mut()
            .filter(expired)
            .map(|job| job.take(boot))
            .collect()
    }

    pub(crate) fn retry_dead(&mut self, uuid: Uuid) -> usize {
        let now = self.now;
        match self.find(uuid) {
            Some(job) if job.state == State::Dead => {
                job.end(State::Ready, None, None);
                (job.ready_at, job.expires_at) = (now, None);
                job.fence += 1;
                1
            }
            _ => 0,
        }
    }

    pub(crate) fn drop_dead(&mut self, uuid: Uuid) -> usize {
        let before = self.jobs.len();
        self.jobs
            .retain(|job| job.uuid != uuid || job.state != State::Dead);
        before - self.jobs.len()
    }

    pub(crate) fn remove(&mut self, uuid: Uuid) -> usize {
        let before = self.jobs.len();
        self.jobs
            .retain(|job| job.uuid != uuid || job.state == State::Leased);
        before - self.jobs.len()
    }

    pub(crate) fn prune(&mut self) {
        let now = self.now;
        self.jobs
            .retain(|job| !job.has_ended() || job.purge_at.is_none_or(|at| at > now));
    }
}
