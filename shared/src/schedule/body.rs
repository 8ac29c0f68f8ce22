//! What a schedule's row holds: the trigger, the message, and what was decided so far.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Fire, Row, Step};
use crate::broker::SupervisorId;
use crate::message::{Message, MessageError};
use crate::name::{Namespace, QueueName, ScheduleName, TaskName};
use crate::time::Timestamp;
use crate::trigger::plan::{self, Course, Plan, Standing};
use crate::trigger::{On, TriggerError, TriggerSpec};

/// The layout of [`Body`] that this version writes.
const VERSION: u32 = 1;

/// Why a row cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is no body, or one of a newer version.
    #[error(
        "schedule `{name}` cannot be read: {reason} (clear it, or use the release that wrote it)"
    )]
    Unreadable {
        /// The schedule.
        name: ScheduleName,
        /// Why.
        reason: String,
    },
    /// Its trigger makes no sense.
    #[error("schedule `{name}` has a wrong trigger")]
    Trigger {
        /// The schedule.
        name: ScheduleName,
        #[source]
        /// Why.
        source: TriggerError,
    },
    /// Its message makes no sense.
    #[error("schedule `{name}` makes no message")]
    Message {
        /// The schedule.
        name: ScheduleName,
        #[source]
        /// Why.
        source: MessageError,
    },
}

/// Where a schedule comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// A user has added it.
    Added,
    /// A child declares it; this supervisor said so, which started then.
    Declared {
        /// Who said so.
        by: SupervisorName,
        /// Since when that one runs.
        since: Timestamp,
    },
}

/// A supervisor as rows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SupervisorName(pub Uuid);

impl From<SupervisorId> for SupervisorName {
    fn from(id: SupervisorId) -> Self {
        Self(id.0)
    }
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    v: u32,
    /// The task.
    pub task: TaskName,
    /// When, and with what.
    pub trigger: TriggerSpec,
    /// Lower runs first.
    #[serde(default)]
    pub priority: u32,
    /// Where it comes from.
    pub origin: Origin,
    /// A user has paused it.
    #[serde(default)]
    pub paused: bool,
    /// What was decided so far.
    pub standing: Standing,
}

impl Body {
    /// A new one, whose firings begin after `now`.
    #[must_use]
    pub const fn new(task: TaskName, trigger: TriggerSpec, origin: Origin, now: Timestamp) -> Self {
        Self {
            v: VERSION,
            task,
            trigger,
            priority: 0,
            origin,
            paused: false,
            standing: Standing::from(now),
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`BodyError::Unreadable`].
    pub fn read(row: &Row) -> Result<Self, BodyError> {
        let unreadable = |reason| BodyError::Unreadable {
            name: row.name.clone(),
            reason,
        };
        let body: Self =
            serde_json::from_slice(&row.body).map_err(|error| unreadable(error.to_string()))?;
        if body.v > VERSION {
            return Err(unreadable(format!("it has layout {}", body.v)));
        }
        Ok(body)
    }

    /// The checked trigger.
    ///
    /// # Errors
    /// [`BodyError::Trigger`].
    pub fn plan(&self, name: &ScheduleName) -> Result<Plan, BodyError> {
        self.trigger.check().map_err(|source| BodyError::Trigger {
            name: name.clone(),
            source,
        })
    }

    /// When a row with this body is due: never if it is paused, or each supervisor fires for
    /// itself.
    #[must_use]
    pub fn due(&self, plan: &Plan) -> Option<Timestamp> {
        if self.paused || plan.on == On::Each {
            return None;
        }
        plan::due(plan, &self.standing)
    }

    /// The body as rows hold it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a body holds only text, numbers and JSON")
    }

    /// The row of this body.
    #[must_use]
    pub fn row(&self, name: &ScheduleName, queue: &QueueName, plan: &Plan, version: u64) -> Row {
        Row {
            name: name.clone(),
            queue: queue.clone(),
            version,
            due: self.due(plan),
            body: self.to_json(),
        }
    }

    /// The message of a firing. Its metadata tells the task which firing it is.
    ///
    /// # Errors
    /// [`BodyError::Message`].
    pub fn message(
        &self,
        name: &ScheduleName,
        task: &TaskName,
        uuid: Uuid,
        firing: Timestamp,
        now: Timestamp,
    ) -> Result<Message, BodyError> {
        let mut metadata = Map::new();
        metadata.insert("schedule".into(), Value::from(name.as_str()));
        metadata.insert("firing".into(), Value::from(firing.to_string()));
        let ready = plan::ready_at(
            firing,
            uuid,
            std::time::Duration::from_millis(self.trigger.jitter_ms),
        );
        let message = Message::new(task.as_str())
            .uuid(uuid)
            .priority(self.priority.into())
            .arguments(self.trigger.arguments.clone())
            .metadata(metadata)
            .at(ready);
        message.build_at(now).map_err(|source| BodyError::Message {
            name: name.clone(),
            source,
        })
    }

    /// What is to be done about a row that is due.
    ///
    /// # Errors
    /// [`BodyError`] if the row makes no sense.
    pub fn fire(row: &Row, namespace: &Namespace, now: Timestamp) -> Result<Fire, BodyError> {
        let body = Self::read(row)?;
        let plan = body.plan(&row.name)?;
        let decision = plan::decide(&plan, &body.standing, now);
        let uuid_of = |at| plan::uuid_of(namespace.as_str(), row.name.as_str(), at, None);
        let step = |course: &Course| Step {
            due: course.due,
            body: Self {
                standing: course.standing,
                ..body.clone()
            }
            .to_json(),
        };
        let mut messages = Vec::with_capacity(decision.free.fire.len());
        for &at in &decision.free.fire {
            messages.push(body.message(&row.name, &body.task, uuid_of(at), at, now)?);
        }
        let unless = decision.busy.as_ref().zip(body.standing.last);
        Ok(Fire {
            name: row.name.clone(),
            queue: row.queue.clone(),
            version: row.version,
            messages,
            next: step(&decision.free),
            unless: unless.map(|(busy, last)| (uuid_of(last), step(busy))),
        })
    }
}
