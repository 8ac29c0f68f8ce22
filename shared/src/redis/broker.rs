//! Answers for the trait by running scripts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::bell;
use super::call::Call;
use super::script::LIMIT;
use super::store::Store;
use crate::broker::{
    Amended, Amendment, Bell, Broker, BrokerError, Claim, Claimed, Listen, Note, Overdue, Presence,
    Receipt, Renewal, Revocation, Settlement, Submission, Submitted, SupervisorId, Turned,
};
use crate::flow::{Complete, Errand, Opening};
use crate::name::QueueName;

impl Broker for Store {
    fn submit(&self, batch: &[Submission<'_>]) -> Result<Vec<Submitted>, BrokerError> {
        self.store_all(batch)
    }

    fn turn(
        &self,
        settlements: Vec<Settlement>,
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, BrokerError> {
        self.settle_and_claim(&settlements, claim)
    }

    fn renew(&self, receipts: &[Receipt], lease: Duration) -> Result<Vec<Renewal>, BrokerError> {
        self.extend(receipts, lease)
    }

    fn note(&self, notes: &[Note]) -> Result<(), BrokerError> {
        self.write_notes(notes)
    }

    fn take_over(
        &self,
        what: &Overdue<'_>,
        owner: SupervisorId,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, BrokerError> {
        self.take(what, owner, limit, lease)
    }

    fn revoke(&self, uuid: Uuid, skip_if_running: bool) -> Result<Revocation, BrokerError> {
        self.revoke_everywhere(uuid, skip_if_running)
    }

    fn amend(&self, amendment: &Amendment) -> Result<Amended, BrokerError> {
        self.amend_one(amendment)
    }

    fn remove(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.remove_everywhere(uuids)
    }

    fn open(&self, opening: &Opening) -> Result<Submitted, BrokerError> {
        self.open_group(opening)
    }

    fn complete(&self, limit: usize) -> Result<Vec<Complete>, BrokerError> {
        self.complete_groups(limit)
    }

    fn close(&self, group: &Complete, errands: Vec<Errand>) -> Result<bool, BrokerError> {
        self.close_group(group, &errands)
    }

    fn deliver(&self, limit: usize) -> Result<usize, BrokerError> {
        self.deliver_old(limit)
    }

    fn retry_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.revive_everywhere(uuids)
    }

    fn drop_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        self.drop_dead_everywhere(uuids)
    }

    fn limit_queue(&self, queue: &QueueName, most: Option<u32>) -> Result<(), BrokerError> {
        let mut call = self.script(&LIMIT, queue);
        call.arg(most.map_or_else(String::new, |most| most.to_string()));
        let told: Vec<Call> = self.tell_of(&[queue]).into_iter().chain([call]).collect();
        self.lines.run_again(&told).map(drop)
    }

    fn announce(&self, presence: &Presence) -> Result<(), BrokerError> {
        self.say_alive(presence)
    }

    fn ease(&self) -> u32 {
        5
    }

    fn has_forgotten(&self) -> bool {
        self.has_forgotten.swap(false, Ordering::Relaxed)
    }

    fn leave(&self, id: SupervisorId) -> Result<(), BrokerError> {
        self.say_gone(id)
    }

    fn prune(&self, limit: usize) -> Result<usize, BrokerError> {
        self.forget_the_past(limit)
    }

    fn bell(&self, listen: Listen<'_>) -> Result<Box<dyn Bell>, BrokerError> {
        match listen {
            Listen::Work { owner, selection } => bell::for_work(self, owner, selection),
            Listen::Jobs(uuids) => bell::for_jobs(self, uuids),
            Listen::Lock(lock) => bell::for_lock(self, lock),
            Listen::Streams(streams) => bell::for_streams(self, streams),
        }
    }
}
