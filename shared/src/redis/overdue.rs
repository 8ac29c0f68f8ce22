//! Takes over jobs that nobody else will bring to an end, and says which supervisors live.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{bytes, count, number};
use super::call::Call;
use super::record::name;
use super::script::{ANNOUNCE, FLEET, LEAVE, OVERDUE, TAKE_OVER};
use super::store::{Store, list_queues, queue_names, some_of};
use super::turn::claimed;
use crate::broker::{BrokerError, Claimed, Overdue, Presence, SupervisorId};
use crate::name::QueueName;
use crate::time::millis;

/// A supervisor that has not announced itself for so long does not live: four times the pause
/// between its announcements.
const PRESUMED_ALIVE: Duration = Duration::from_secs(20);

/// What a supervisor says about itself to people.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) host: String,
    pub(super) pid: u32,
    queues: Vec<QueueName>,
}

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

    pub(super) fn say_alive(&self, presence: &Presence) -> Result<(), BrokerError> {
        let queues = &presence.selection.queues;
        let untold = self.lines.untold(queues.iter());
        let mut calls: Vec<Call> = self.who_is_it().into();
        calls.extend(self.tell_of(&untold));
        let mut tasks = String::new();
        for task in &presence.selection.tasks {
            tasks.push_str(task.as_str());
            tasks.push('\n');
        }
        let id = name(presence.id.0);
        for queue in queues {
            let mut call = self.script(&ANNOUNCE, queue);
            call.arg(&id).number(millis(PRESUMED_ALIVE)).arg(&tasks);
            calls.push(call);
        }
        let about = About {
            host: presence.host.clone(),
            pid: presence.pid,
            queues: queues.clone(),
        };
        let mut call = self.fleet();
        call.arg("s")
            .arg(&id)
            .number(millis(PRESUMED_ALIVE))
            .arg(json(&about));
        for task in &presence.tasks {
            call.arg(task.name.as_str()).arg(json(task));
        }
        calls.push(call);
        let mut answers = self.lines.run_again(&calls)?;
        let born = bytes(answers.swap_remove(1)).map_err(|trouble| self.say(&trouble))?;
        if self.is_another(born) {
            self.has_forgotten.store(true, Ordering::Relaxed);
            // Of other queues it has to be told anew.
            self.lines.tell_anew();
        }
        self.lines.have_told(&untold);
        *self.specs() = None;
        Ok(())
    }

    pub(super) fn say_gone(&self, id: SupervisorId) -> Result<(), BrokerError> {
        let queues = self.all_queues()?;
        let id = name(id.0);
        self.on_each(&queues, &LEAVE, |call| {
            call.arg(&id);
        })?;
        let mut call = self.fleet();
        call.arg("g").arg(&id);
        self.lines.run_again(&[call]).map(drop)
    }

    /// Forgets supervisors that live no more.
    pub(super) fn forget_the_dead(&self, limit: usize) -> Result<usize, BrokerError> {
        let mut call = self.fleet();
        call.arg("p")
            .number(u64::try_from(limit).unwrap_or(u64::MAX).min(1000));
        let forgotten = count(&self.on_one(call)?).map_err(|trouble| self.say(&trouble))?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }

    fn fleet(&self) -> Call {
        Call::script(&FLEET, &self.common_tag(), &self.clock())
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, numbers and lists can always be written as JSON")
}
