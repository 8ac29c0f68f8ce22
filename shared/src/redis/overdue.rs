//! Takes over jobs that nobody else will bring to an end.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::answer::number;
use super::call::Call;
use super::record::name;
use super::script::{OVERDUE, TAKE_OVER};
use super::store::{Store, list_queues, queue_names, some_of};
use super::turn::claimed;
use crate::broker::{BrokerError, Claimed, Overdue, SupervisorId};
use crate::name::QueueName;
use crate::time::millis;

impl Store {
    pub(super) fn take(
        &self,
        what: &Overdue<'_>,
        owner: SupervisorId,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, BrokerError> {
        let (kind, queues, after) = match what {
            Overdue::Lease => ("l", self.overdue("l", &self.rounds.leases)?, Duration::ZERO),
            Overdue::Expired => (
                "x",
                self.overdue("x", &self.rounds.expired)?,
                Duration::ZERO,
            ),
            Overdue::UnknownTask { queues, after } => ("k", queues.to_vec(), *after),
        };
        let with = |call: &mut Call, left: usize| {
            call.arg(kind)
                .number(u64::try_from(left).unwrap_or(u64::MAX))
                .number(millis(lease))
                .arg(name(owner.0))
                .number(millis(after));
        };
        let mut taken: Vec<Claimed> = Vec::new();
        for queue in &queues {
            let left = limit.saturating_sub(taken.len());
            if left == 0 {
                break;
            }
            let mut call = self.script(&TAKE_OVER, queue);
            with(&mut call, left);
            match self.on_one(call) {
                Ok(answer) => {
                    taken.extend(claimed(answer, queue).map_err(|trouble| self.say(&trouble))?);
                }
                // What was taken before is held already.
                Err(_) if !taken.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        self.remember_locks(&taken);
        Ok(taken)
    }

    /// Queues that have something overdue, in one round trip unless there are new ones.
    fn overdue(&self, kind: &str, round: &AtomicUsize) -> Result<Vec<QueueName>, BrokerError> {
        let look = |queue: &QueueName| {
            let mut call = self.script(&OVERDUE, queue);
            call.arg(kind);
            call
        };
        let known = self.known_queues().clone();
        let mut queues = some_of(known.clone(), round);
        let mut calls: Vec<Call> = queues.iter().map(look).collect();
        calls.push(list_queues(&self.common_tag()));
        let mut looks = self.lines.run_again(&calls)?;
        let all = queue_names(looks.pop().unwrap_or_default());
        let all = all.map_err(|trouble| self.say(&trouble))?;
        if all != known {
            self.known_queues().clone_from(&all);
            queues = some_of(all, round);
            calls = queues.iter().map(look).collect();
            looks = self.lines.run_again(&calls)?;
        }
        let mut looks = looks.iter().map(|found| number(found).is_ok_and(|n| n > 0));
        queues.retain(|_| looks.next().unwrap_or(false));
        Ok(queues)
    }
}
