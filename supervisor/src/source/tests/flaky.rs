//! A broker that fails once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_shared::broker::{
    Amended, Amendment, Bell, Broker, BrokerError, Claim, Claimed, Listen, Note, Overdue, Presence,
    Receipt, Renewal, Revocation, Settled, Settlement, Submission, Submitted, SupervisorId, Turned,
};
use bulkhead_shared::flow::{Complete, Errand, Opening};
use bulkhead_shared::retry::Move;
use bulkhead_shared::{QueueName, Uuid};

/// The calls a supervisor makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Submit,
    Turn,
    Renew,
    Note,
    TakeOver,
    Announce,
    Leave,
    Prune,
    Bell,
}

pub(super) const CALLS: [Call; 9] = [
    Call::Submit,
    Call::Turn,
    Call::Renew,
    Call::Note,
    Call::TakeOver,
    Call::Announce,
    Call::Leave,
    Call::Prune,
    Call::Bell,
];

/// Where a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The store never hears of it.
    Before,
    /// It is done, and nobody hears of that.
    After,
}

/// The `n`-th call of a kind, counted from 1, fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) n: usize,
    pub(super) when: When,
}

#[derive(Debug)]
pub(super) struct Flaky {
    inner: Arc<dyn Broker>,
    fault: Option<Fault>,
    has_failed: AtomicBool,
    counts: Mutex<HashMap<Call, usize>>,
    /// Endings that the store has accepted.
    endings: Mutex<HashMap<Uuid, usize>>,
}

impl Flaky {
    pub(super) fn new(inner: Arc<dyn Broker>, fault: Option<Fault>) -> Self {
        Self {
            inner,
            fault,
            has_failed: AtomicBool::new(false),
            counts: Mutex::default(),
            endings: Mutex::default(),
        }
    }

    pub(super) fn count(&self, call: Call) -> usize {
        self.counts.lock().unwrap().get(&call).copied().unwrap_or(0)
    }

    pub(super) fn endings(&self, job: Uuid) -> usize {
        self.endings.lock().unwrap().get(&job).copied().unwrap_or(0)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    fn call<T>(
        &self,
        call: Call,
        inner: impl FnOnce(&dyn Broker) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let n = {
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(call).or_default();
            *count += 1;
            *count
        };
        let fault = self.fault.filter(|f| f.call == call && f.n == n);
        let Some(fault) = fault else {
            return inner(&*self.inner);
        };
        self.has_failed.store(true, Ordering::SeqCst);
        if fault.when == When::After {
            // Its answer is what gets lost.
            let _ = inner(&*self.inner)?;
        }
        Err(BrokerError::Away {
            reason: "as the test wants it".into(),
        })
    }

    fn count_endings(&self, ended: &[Option<Uuid>], settled: &[Settled]) {
        let mut endings = self.endings.lock().unwrap();
        for (job, settled) in ended.iter().zip(settled) {
            if let (Some(job), Settled::Applied) = (job, settled) {
                *endings.entry(*job).or_default() += 1;
            }
        }
    }
}

/// The job that a settlement ends, if it ends it.
fn ended(settlement: &Settlement) -> Option<Uuid> {
    match settlement.next {
        Move::Succeed { .. } | Move::Bury { .. } | Move::Drop { .. } => {
            Some(settlement.receipt.uuid)
        }
        Move::Retry { .. } | Move::Release | Move::Snooze { .. } => None,
    }
}

impl Broker for Flaky {
    fn submit(&self, batch: &[Submission<'_>]) -> Result<Vec<Submitted>, BrokerError> {
        self.call(Call::Submit, |inner| inner.submit(batch))
    }

    fn turn(
        &self,
        settlements: Vec<Settlement>,
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, BrokerError> {
        let ended: Vec<_> = settlements.iter().map(ended).collect();
        self.call(Call::Turn, |inner| {
            let turned = inner.turn(settlements, claim)?;
            self.count_endings(&ended, &turned.settled);
            Ok(turned)
        })
    }

    fn renew(&self, receipts: &[Receipt], lease: Duration) -> Result<Vec<Renewal>, BrokerError> {
        self.call(Call::Renew, |inner| inner.renew(receipts, lease))
    }

    fn note(&self, notes: &[Note]) -> Result<(), BrokerError> {
        self.call(Call::Note, |inner| inner.note(notes))
    }

    fn take_over(
        &self,
        what: &Overdue<'_>,
        owner: SupervisorId,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, BrokerError> {
        self.call(Call::TakeOver, |inner| {
            inner.take_over(what, owner, limit, lease)
        })
    }

    fn revoke(&self, uuid: Uuid, skip_if_running: bool) -> Result<Revocation, BrokerError> {
        self.inner.revoke(uuid, skip_if_running)
    }

    fn amend(&self, amendment: &Amendment) -> Result<Amended, BrokerError> {
        self.inner.amend(amendment)
    }

    fn remove(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.inner.remove(uuids)
    }

    fn open(&self, opening: &Opening) -> Result<Submitted, BrokerError> {
        self.inner.open(opening)
    }

    fn complete(&self, limit: usize) -> Result<Vec<Complete>, BrokerError> {
        self.inner.complete(limit)
    }

    fn close(&self, group: &Complete, errands: Vec<Errand>) -> Result<bool, BrokerError> {
        self.inner.close(group, errands)
    }

    fn deliver(&self, limit: usize) -> Result<usize, BrokerError> {
        self.inner.deliver(limit)
    }

    fn retry_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.inner.retry_dead(uuids)
    }

    fn drop_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.inner.drop_dead(uuids)
    }

    fn limit_queue(&self, queue: &QueueName, most: Option<u32>) -> Result<(), BrokerError> {
        self.inner.limit_queue(queue, most)
    }

    fn announce(&self, presence: &Presence) -> Result<(), BrokerError> {
        self.call(Call::Announce, |inner| inner.announce(presence))
    }

    fn leave(&self, id: SupervisorId) -> Result<(), BrokerError> {
        self.call(Call::Leave, |inner| inner.leave(id))
    }

    fn prune(&self, limit: usize) -> Result<usize, BrokerError> {
        self.call(Call::Prune, |inner| inner.prune(limit))
    }

    fn bell(&self, listen: Listen<'_>) -> Result<Box<dyn Bell>, BrokerError> {
        self.call(Call::Bell, |inner| inner.bell(listen))
    }
}
