//! Locks that jobs hold while they run. A lock lies in another slot than its job, so a job is claimed
//! first and takes its lock then. One that finds it held by another waits a while and tries again;
//! of those in a queue that want the same lock only the first does so, the others are parked.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::store::Store;
use crate::broker::{BrokerError, Claimed, Receipt, Settled, Settlement, Turned};
use crate::flow::Errands;
use crate::lock::{Acquisition, Locks, Right, Tenure};
use crate::message::{Header, LinkedLock};
use crate::name::LockName;
use crate::retry::Move;

/// Between two looks at a lock that somebody else holds.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Attempts with a lock that are remembered; beyond it their locks fall when others ask for them.
const REMEMBERED: usize = 65_536;

/// Which locks the attempts that this process holds have.
pub(super) type Linked = HashMap<(Uuid, u64), LinkedLock>;

impl Store {
    fn linked(&self) -> MutexGuard<'_, Linked> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the locks of the jobs that were claimed, and gives back those that must wait.
    pub(super) fn take_locks(&self, turned: &mut Turned) {
        let mut waiting = Vec::new();
        turned.claimed.retain(|job| {
            let Some(lock) = lock_of(&job.header) else {
                return true;
            };
            let has_it = self.take_lock(&job.receipt, &lock).unwrap_or_else(|error| {
                tracing::warn!(job = %job.receipt.uuid, %error, "a job's lock cannot be taken");
                false
            });
            if has_it {
                self.remember(&job.receipt, lock);
            } else {
                waiting.push(job.clone());
            }
            has_it
        });
        if !waiting.is_empty()
            && let Err(error) = self.give_back(waiting)
        {
            // Nobody runs them: they come back when their leases end.
            tracing::warn!(%error, "jobs whose locks are held cannot be given back");
        }
    }

    fn take_lock(&self, receipt: &Receipt, lock: &LinkedLock) -> Result<bool, BrokerError> {
        let (job, name) = (receipt.uuid, &lock.name);
        let tenure = match lock.fence {
            None => Tenure::Attempt {
                job,
                fence: receipt.fence,
            },
            Some(fence) => {
                let of_job = Tenure::Job(job);
                if self.pass_on(name, fence, &of_job.owner())? {
                    return Ok(true);
                }
                of_job
            }
        };
        let got = self.acquire(name, &tenure.owner(), None)?;
        Ok(!matches!(got, Acquisition::Held(_)))
    }

    fn give_back(&self, waiting: Vec<Claimed>) -> Result<(), BrokerError> {
        let at = self.now();
        let pause = |job: Claimed| Settlement {
            receipt: job.receipt,
            next: Move::Retry {
                at: at.plus(LOOK_AGAIN),
            },
            history: job.history,
            at,
            errands: Errands::default(),
        };
        let settlements: Vec<_> = waiting.into_iter().map(pause).collect();
        self.pause(&settlements)
    }

    /// Remembers the locks of attempts that were taken over: they are freed with them.
    pub(super) fn remember_locks(&self, taken: &[Claimed]) {
        for job in taken {
            if let Some(lock) = lock_of(&job.header) {
                self.remember(&job.receipt, lock);
            }
        }
    }

    fn remember(&self, receipt: &Receipt, lock: LinkedLock) {
        let mut linked = self.linked();
        if linked.len() == REMEMBERED {
            linked.clear();
        }
        linked.insert((receipt.uuid, receipt.fence), lock);
    }

    /// Frees what attempts held that are about to be settled: nothing of them is left by now, and
    /// whoever is woken by the settlement is to find the lock free.
    pub(super) fn free_attempts(&self, settlements: &[Settlement]) {
        for Settlement { receipt, .. } in settlements {
            let lock = self.linked().get(&(receipt.uuid, receipt.fence)).cloned();
            if let Some(LinkedLock { name, fence: None }) = lock {
                let (job, fence) = (receipt.uuid, receipt.fence);
                self.let_go(&name, Tenure::Attempt { job, fence });
            }
        }
    }

    /// Frees what jobs held that have ended.
    pub(super) fn free_jobs(&self, settlements: &[Settlement], settled: &[Settled]) {
        for (Settlement { receipt, next, .. }, became) in settlements.iter().zip(settled) {
            let lock = self.linked().remove(&(receipt.uuid, receipt.fence));
            let Some(LinkedLock {
                name,
                fence: Some(_),
            }) = lock
            else {
                continue;
            };
            let has_ended = match became {
                Settled::Applied => !matches!(
                    next,
                    Move::Retry { .. } | Move::Release | Move::Snooze { .. }
                ),
                Settled::Revoked => true,
                Settled::Stale => false,
            };
            if has_ended {
                self.let_go(&name, Tenure::Job(receipt.uuid));
            }
        }
    }

    fn let_go(&self, name: &LockName, of: Tenure) {
        if let Err(error) = self.release(name, Right::Owner(&of.owner())) {
            // It falls when another asks for it: the holder is over.
            tracing::debug!(lock = %name, %error, "a lock could not be released");
        }
    }
}

/// The lock of a message.
fn lock_of(header: &[u8]) -> Option<LinkedLock> {
    // Nearly all have none, and are not read for it.
    let key = br#""lock":{"#;
    header
        .windows(key.len())
        .any(|part| part == key)
        .then_some(())?;
    let header: Header = serde_json::from_slice(header).ok()?;
    header.lock
}
