//! Schedules, for those who make and change them.

use uuid::Uuid;

use super::{Client, ClientError};
use crate::message::Message;
use crate::name::{QueueName, ScheduleName, TaskName};
use crate::schedule::{Body, BodyError, Origin, Put, Row};
use crate::time::Timestamp;
use crate::trigger::plan::Standing;
use crate::trigger::{Trigger, TriggerSpec};

/// Times that a change is tried when others change the same schedule at the same moment: it fires
/// once a second at the most, and each try takes far less.
const TRIES: usize = 20;

/// Why a schedule was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Nobody knows it.
    #[error("there is no schedule `{name}` (`supervisor schedule ls` lists them)")]
    Unknown {
        /// The name.
        name: ScheduleName,
    },
    /// There is one of that name.
    #[error("there is a schedule `{name}` already (choose another name, or clear that one first)")]
    Known {
        /// The name.
        name: ScheduleName,
    },
    /// A child declares it, and would again.
    #[error(
        "schedule `{name}` is declared by the child of a supervisor that lives, which would declare it again (pause it, or take the trigger out of `#[task]`)"
    )]
    Declared {
        /// The name.
        name: ScheduleName,
    },
    /// Its only time is over.
    #[error("schedule `{name}` would never fire: {at} lies in the past (name a later time)")]
    Past {
        /// The name.
        name: ScheduleName,
        /// When it would have fired.
        at: Timestamp,
    },
    /// There is no room for more.
    #[error("there are {} schedules already (clear some)", crate::schedule::MOST)]
    Full,
    /// Others change it all the time.
    #[error("schedule `{name}` was changed by others each time (try again)")]
    Contended {
        /// The name.
        name: ScheduleName,
    },
    /// It makes no sense.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// A schedule as it is shown.
#[derive(Debug)]
pub struct Scheduled {
    /// Its name.
    pub name: ScheduleName,
    /// Where its jobs go.
    pub queue: QueueName,
    /// When it is due next.
    pub due: Option<Timestamp>,
    /// What it is; an error if this release cannot read it.
    pub body: Result<Body, BodyError>,
}

impl From<&Row> for Scheduled {
    fn from(row: &Row) -> Self {
        Self {
            name: row.name.clone(),
            queue: row.queue.clone(),
            due: row.due,
            body: Body::read(row),
        }
    }
}

impl Client {
    /// Adds a schedule that starts `task` whenever `trigger` says. Without a queue its jobs go to
    /// that of the task's registration, else to `default`.
    ///
    /// # Errors
    /// [`ClientError::Schedule`], [`ClientError::Store`].
    pub fn add_schedule(
        &self,
        name: &ScheduleName,
        task: &TaskName,
        queue: Option<&QueueName>,
        trigger: TriggerSpec,
    ) -> Result<(), ClientError> {
        let queue = match queue {
            Some(queue) => queue.clone(),
            None => self.queue_of(task)?,
        };
        let schedules = &self.backend.schedules;
        let now = schedules.due(1)?.now;
        let body = Body::new(task.clone(), trigger, Origin::Added, now);
        let plan = body.plan(name).map_err(ScheduleError::from)?;
        if let Trigger::At(at) = plan.trigger
            && at <= now
        {
            let name = name.clone();
            return Err(ScheduleError::Past { name, at }.into());
        }
        // What its message would be: wrong arguments are told now, not when it fires.
        body.message(name, task, Uuid::nil(), now, now)
            .map_err(ScheduleError::from)?;
        match schedules.put(&body.row(name, &queue, &plan, 0))? {
            Put::Written => Ok(()),
            Put::Stale => Err(ScheduleError::Known { name: name.clone() }.into()),
            Put::Full => Err(ScheduleError::Full.into()),
        }
    }

    fn queue_of(&self, task: &TaskName) -> Result<QueueName, ClientError> {
        let stored = self.backend.catalog.tasks()?;
        let stored = stored.into_iter().find(|spec| spec.name == *task);
        let learnt = self.learnt.get(task).cloned().flatten();
        Ok(stored
            .and_then(|spec| spec.queue)
            .or(learnt)
            .unwrap_or_default())
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn schedules(&self) -> Result<Vec<Scheduled>, ClientError> {
        let rows = self.backend.schedules.all()?;
        Ok(rows.iter().map(Scheduled::from).collect())
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`ClientError::Schedule`] if nobody knows it, [`ClientError::Store`].
    pub fn schedule(&self, name: &ScheduleName) -> Result<Scheduled, ClientError> {
        Ok(Scheduled::from(&self.row(name)?))
    }

    fn row(&self, name: &ScheduleName) -> Result<Row, ClientError> {
        let found = self.backend.schedules.find(name)?;
        found.ok_or_else(|| ScheduleError::Unknown { name: name.clone() }.into())
    }

    /// Keeps a schedule from firing until it is resumed. Returns whether it was not paused before.
    ///
    /// # Errors
    /// [`ClientError::Schedule`], [`ClientError::Store`].
    pub fn pause_schedule(&self, name: &ScheduleName) -> Result<bool, ClientError> {
        self.change(name, |body, _| !std::mem::replace(&mut body.paused, true))
    }

    /// Lets a schedule fire again, from now on: what it would have fired meanwhile is gone. Returns
    /// whether it was paused.
    ///
    /// # Errors
    /// [`ClientError::Schedule`], [`ClientError::Store`].
    pub fn resume_schedule(&self, name: &ScheduleName) -> Result<bool, ClientError> {
        self.change(name, |body, now| {
            body.standing = Standing {
                last: body.standing.last,
                ..Standing::from(now)
            };
            std::mem::take(&mut body.paused)
        })
    }

    fn change(
        &self,
        name: &ScheduleName,
        change: impl Fn(&mut Body, Timestamp) -> bool,
    ) -> Result<bool, ClientError> {
        let schedules = &self.backend.schedules;
        for _ in 0..TRIES {
            let row = self.row(name)?;
            let mut body = Body::read(&row).map_err(ScheduleError::from)?;
            let plan = body.plan(name).map_err(ScheduleError::from)?;
            if !change(&mut body, schedules.due(1)?.now) {
                return Ok(false);
            }
            let changed = body.row(name, &row.queue, &plan, row.version);
            if schedules.put(&changed)? == Put::Written {
                return Ok(true);
            }
        }
        Err(ScheduleError::Contended { name: name.clone() }.into())
    }

    /// Removes a schedule. Jobs that it has started go on.
    ///
    /// # Errors
    /// [`ClientError::Schedule`], also if a supervisor that lives declares it;
    /// [`ClientError::Store`].
    pub fn clear_schedule(&self, name: &ScheduleName) -> Result<(), ClientError> {
        for _ in 0..TRIES {
            let row = self.row(name)?;
            if let Ok(body) = Body::read(&row)
                && body.origin != Origin::Added
                && self.is_served(&body.task)?
            {
                return Err(ScheduleError::Declared { name: name.clone() }.into());
            }
            if self.backend.schedules.forget(&row)? {
                return Ok(());
            }
        }
        Err(ScheduleError::Contended { name: name.clone() }.into())
    }

    /// Whether a supervisor that lives serves the task.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn is_served(&self, task: &TaskName) -> Result<bool, ClientError> {
        let fleet = self.backend.catalog.fleet()?;
        let mut alive = fleet.iter().filter(|member| member.is_alive);
        Ok(alive.any(|member| member.selection.tasks.contains(task)))
    }

    /// Submits what a schedule would, at once and on one supervisor, whether it is paused or not.
    /// Its firings stay as they are.
    ///
    /// # Errors
    /// [`ClientError::Schedule`], [`ClientError::Store`].
    pub fn run_schedule_now(&self, name: &ScheduleName) -> Result<Uuid, ClientError> {
        let row = self.row(name)?;
        let mut body = Body::read(&row).map_err(ScheduleError::from)?;
        body.trigger.jitter_ms = 0;
        let now = self.backend.schedules.due(1)?.now;
        let message = body.message(name, &body.task, Uuid::now_v7(), now, now);
        let mut message = message.map_err(ScheduleError::from)?;
        message.queue = Some(row.queue);
        self.submit::<Message>(message)
    }
}
