//! Writes down what our child declares. Among the living the definition of the supervisor that
//! started last counts, so that two releases side by side do not undo each other's.

use std::collections::HashMap;

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::schedule::{Body, Origin, Put, Row};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{ScheduleName, Timestamp, Uuid};
use tracing::{info, warn};

use super::Scheduler;

impl Scheduler {
    /// Reads all rows: writes those that our child declares, and finds those of each supervisor.
    pub(super) fn read_all(&mut self) -> Result<(), BrokerError> {
        let Some((_, specs)) = &self.serving else {
            return Ok(());
        };
        let specs = specs.clone();
        let rows = self.setting.backend.schedules.all()?;
        let by_name: HashMap<_, _> = rows.iter().map(|row| (&row.name, row)).collect();
        let mut is_outdated = false;
        for spec in &specs {
            let Some(name) = declared(spec) else {
                let name = ScheduleName::new(spec.name.as_str()).ok();
                let found = name.and_then(|name| by_name.get(&name).copied());
                is_outdated |= found.map_or(Ok(false), |row| self.retract(spec, row))?;
                continue;
            };
            is_outdated |= self.declare(&name, spec, by_name.get(&name).copied())?;
        }
        let rows = if is_outdated {
            self.setting.backend.schedules.all()?
        } else {
            rows
        };
        self.meet_each(&rows);
        Ok(())
    }

    /// Writes one row if it is to be another; whether the rows that were read are not those of now.
    fn declare(
        &self,
        name: &ScheduleName,
        spec: &TaskSpec,
        found: Option<&Row>,
    ) -> Result<bool, BrokerError> {
        let Some(trigger) = spec.trigger.clone() else {
            return Ok(false);
        };
        let origin = Origin::Declared {
            by: self.setting.me.into(),
            since: self.setting.started_at,
        };
        let mut body = Body::new(spec.name.clone(), trigger, origin, Timestamp::now());
        let Ok(plan) = body.plan(name) else {
            // The child refuses it when it starts; this is one of another release.
            warn!(schedule = %name, "the child declares a trigger that makes no sense here");
            return Ok(false);
        };
        let queue = spec.queue.clone().unwrap_or_default();
        let mut version = 0;
        if let Some(row) = found {
            if let Ok(known) = Body::read(row) {
                let is_same = known.trigger == body.trigger && row.queue == queue;
                if is_same || !self.may_replace(&known) {
                    return Ok(false);
                }
                body.paused = known.paused;
                body.standing.last = known.standing.last;
            }
            if row.queue == queue {
                version = row.version;
            } else if !self.setting.backend.schedules.forget(row)? {
                return Ok(true);
            }
        }
        match self
            .setting
            .backend
            .schedules
            .put(&body.row(name, &queue, &plan, version))?
        {
            Put::Written => info!(schedule = %name, trigger = %plan.trigger, "declared"),
            // Somebody else was first. What he wrote counts, also for what fires at our start.
            Put::Stale => {}
            Put::Full => {
                warn!(schedule = %name, "not declared: there are too many schedules (clear some)")
            }
        }
        Ok(true)
    }

    /// Forgets what was declared for a task that has no trigger any more: by us, before we read our
    /// file again, or by a release that is gone. What another one declares that lives stays. Whether
    /// the row is not that of now.
    fn retract(&self, spec: &TaskSpec, row: &Row) -> Result<bool, BrokerError> {
        let is_ours_to = Body::read(row).is_ok_and(|known| match &known.origin {
            Origin::Declared { by, .. } => {
                known.task == spec.name && (by.0 == self.setting.me.0 || !self.lives(by.0))
            }
            _ => false,
        });
        if is_ours_to && self.setting.backend.schedules.forget(row)? {
            info!(schedule = %row.name, "forgotten: its task declares none any more");
        }
        Ok(is_ours_to)
    }

    /// Whether a supervisor lives; so it is if the store does not say.
    fn lives(&self, id: Uuid) -> bool {
        let fleet = self.setting.backend.catalog.fleet();
        fleet.map_or(true, |fleet| {
            fleet.iter().any(|one| one.is_alive && one.id.0 == id)
        })
    }

    /// Whether our definition is newer than the one that is stored.
    fn may_replace(&self, known: &Body) -> bool {
        match &known.origin {
            Origin::Declared { by, since } => {
                if *since < self.setting.started_at {
                    return true;
                }
                by.0 == self.setting.me.0 || !self.lives(by.0)
            }
            // A user's own goes before it.
            _ => false,
        }
    }
}

/// The name of the schedule that a task declares: its own.
fn declared(spec: &TaskSpec) -> Option<ScheduleName> {
    spec.trigger.as_ref()?;
    ScheduleName::new(spec.name.as_str()).ok()
}
