//! What users do to jobs from outside, and what is forgotten in time.

use redis::Value;
use uuid::Uuid;

use super::answer::count;
use super::record::{Record, name};
use super::script::{DROP_DEAD, PRUNE, REVIVE};
use super::store::Store;
use crate::broker::BrokerError;
use crate::history::with_fresh_budgets;

impl Store {
    pub(super) fn revive_everywhere(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let mut calls = Vec::new();
        let queues = self.all_queues()?;
        for (queue, uuid, found) in self.find(&queues, uuids)? {
            let record = Record::new(&found.record).map_err(|trouble| self.say(&trouble))?;
            if record.state() == b'D' {
                let mut call = self.script(&REVIVE, queue);
                call.arg(name(uuid))
                    .arg(record.key())
                    .arg(with_fresh_budgets(record.history().to_vec()));
                calls.push(call);
            }
        }
        let answers = self.lines.run(&calls)?;
        self.sum(&answers)
    }

    pub(super) fn drop_dead_everywhere(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let queues = self.all_queues()?;
        let answers = self.on_each(&queues, &DROP_DEAD, |call| {
            for uuid in uuids {
                call.arg(name(*uuid));
            }
        })?;
        self.sum(&answers)
    }

    pub(super) fn forget_the_past(&self, limit: usize) -> Result<usize, BrokerError> {
        let mut forgotten = 0;
        for queue in self.next_queues(&self.rounds.prune)? {
            if forgotten == limit {
                return Ok(forgotten);
            }
            let mut call = self.script(&PRUNE, &queue);
            call.number(u64::try_from(limit - forgotten).unwrap_or(u64::MAX));
            forgotten += self.sum(&[self.on_one(call)?])?;
        }
        if forgotten < limit {
            forgotten += self.forget_the_dead(limit - forgotten)?;
        }
        if forgotten < limit {
            forgotten += self.forget_locks(limit - forgotten)?;
        }
        Ok(forgotten)
    }

    fn sum(&self, answers: &[Value]) -> Result<usize, BrokerError> {
        let mut sum = 0;
        for answer in answers {
            let one = count(answer).map_err(|trouble| self.say(&trouble))?;
            sum += usize::try_from(one).unwrap_or(usize::MAX);
        }
        Ok(sum)
    }
}
