//! Schedules that each supervisor fires for itself.
//!
//! The jobs lie in a lane of this supervisor alone: their task is `task@id`, which nobody else
//! claims. If it dies, nobody knows that task any more, and they end as such.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_shared::broker::{BrokerError, Submission, SupervisorId};
use bulkhead_shared::catalog::{JobRow, State};
use bulkhead_shared::schedule::{Body, Row};
use bulkhead_shared::trigger::plan::{self, Plan, Standing};
use bulkhead_shared::trigger::{On, Trigger, TriggerSpec};
use bulkhead_shared::{QueueName, ScheduleName, TaskName, Timestamp, Uuid};
use tracing::{info, warn};

use super::Scheduler;
use crate::upkeep;

/// What this supervisor fires for itself.
#[derive(Debug, Default)]
pub(super) struct Each {
    own: BTreeMap<ScheduleName, Own>,
    /// The tasks that upkeep was told of.
    told: Vec<TaskName>,
    /// The rows were read once: what fires at start and comes later is too late.
    has_started: bool,
}

#[derive(Debug)]
struct Own {
    body: Body,
    plan: Plan,
    queue: QueueName,
    task: TaskName,
}

/// The task of jobs that only this supervisor runs.
pub(crate) fn own_task(task: &TaskName, me: SupervisorId) -> Option<TaskName> {
    TaskName::new(&format!("{task}@{}", me.0.simple())).ok()
}

impl Scheduler {
    /// Takes over what the rows say about each supervisor.
    pub(super) fn meet_each(&mut self, rows: &[Row]) {
        let Some((selection, specs)) = &self.serving else {
            return;
        };
        let mut own = BTreeMap::new();
        for row in rows {
            let Ok(body) = Body::read(row) else { continue };
            let Ok(plan) = body.plan(&row.name) else {
                continue;
            };
            let is_ours = specs.iter().any(|spec| spec.name == body.task)
                && selection.queues.contains(&row.queue);
            if plan.on != On::Each || body.paused || !is_ours {
                continue;
            }
            let Some(task) = own_task(&body.task, self.setting.me) else {
                warn!(schedule = %row.name, "the task's name is too long to run on each supervisor (at most 95 bytes)");
                continue;
            };
            let queue = row.queue.clone();
            let mut one = Own {
                body,
                plan,
                queue,
                task,
            };
            let same = |known: &&Own| definition(&known.body) == definition(&one.body);
            one.body.standing = match self.each.own.get(&row.name).filter(same) {
                Some(known) => known.body.standing,
                None => Standing::from(Timestamp::now()),
            };
            own.insert(row.name.clone(), one);
        }
        let mut tasks: Vec<_> = own.values().map(|one| one.body.task.clone()).collect();
        tasks.sort();
        tasks.dedup();
        if tasks != self.each.told {
            let lanes = tasks
                .iter()
                .filter_map(|task| own_task(task, self.setting.me));
            // Upkeep lives longer than this thread.
            let _ = self
                .setting
                .upkeep
                .send(upkeep::Word::Each(lanes.collect()));
            self.each.told = tasks;
        }
        self.each.own = own;
    }

    /// Fires what is due on this supervisor; how long until the next is.
    pub(super) fn fire_each(&mut self) -> Result<Option<Duration>, BrokerError> {
        let is_start = !self.each.has_started;
        let now = Timestamp::now();
        let mut next = None;
        let names: Vec<_> = self.each.own.keys().cloned().collect();
        for name in names {
            let own = &self.each.own[&name];
            if own.plan.trigger == Trigger::Start {
                if is_start {
                    self.submit(&name, own, &[self.setting.started_at], now)?;
                }
                continue;
            }
            let due = plan::due(&own.plan, &own.body.standing);
            let is_due = own.body.standing.queued.is_some() || due.is_some_and(|due| due <= now);
            let mut standing = own.body.standing;
            if is_due {
                let decision = plan::decide(&own.plan, &standing, now);
                let course = match decision.busy {
                    Some(busy) if self.is_busy(&name, standing.last)? => busy,
                    _ => decision.free,
                };
                self.submit(&name, own, &course.fire, now)?;
                standing = course.standing;
                next = [next, course.due.map(|due| due.since(now))]
                    .into_iter()
                    .flatten()
                    .min();
            } else {
                next = [next, due.map(|due| due.since(now))]
                    .into_iter()
                    .flatten()
                    .min();
            }
            if let Some(own) = self.each.own.get_mut(&name) {
                own.body.standing = standing;
            }
        }
        self.each.has_started = true;
        Ok(next)
    }

    fn uuid_of(&self, name: &ScheduleName, at: Timestamp) -> Uuid {
        let namespace = self.setting.backend.namespace.as_str();
        plan::uuid_of(namespace, name.as_str(), at, Some(self.setting.me.0))
    }

    fn is_busy(&self, name: &ScheduleName, last: Option<Timestamp>) -> Result<bool, BrokerError> {
        let Some(last) = last else {
            return Ok(false);
        };
        let rows = self
            .setting
            .backend
            .catalog
            .jobs_by_id(&[self.uuid_of(name, last)])?;
        let waits =
            |row: &JobRow| matches!(row.state, State::Ready | State::Delayed | State::Leased);
        Ok(rows.iter().flatten().any(waits))
    }

    fn submit(
        &self,
        name: &ScheduleName,
        own: &Own,
        firings: &[Timestamp],
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let mut messages = Vec::with_capacity(firings.len());
        for &at in firings {
            match own
                .body
                .message(name, &own.task, self.uuid_of(name, at), at, now)
            {
                Ok(message) => messages.push(message),
                Err(error) => warn!(schedule = %name, %error, "not fired"),
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        let queue = &own.queue;
        let batch: Vec<_> = messages
            .iter()
            .map(|message| Submission { message, queue })
            .collect();
        self.setting.backend.broker.submit(&batch)?;
        info!(schedule = %name, jobs = messages.len(), "fired here");
        Ok(())
    }
}

fn definition(body: &Body) -> (&TaskName, &TriggerSpec) {
    (&body.task, &body.trigger)
}
