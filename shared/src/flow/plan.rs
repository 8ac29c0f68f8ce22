//! Steps as they are stored.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{FlowError, OnFailed, PLAN_LIMIT};
use crate::message::{Header, Message};
use crate::name::{QueueName, TaskName};
use crate::time::Timestamp;

/// One step of a plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One message.
    Job(Box<JobStep>),
    /// Several at once, and what follows when all have ended.
    Group(Box<GroupStep>),
}

/// A message that is submitted later. Its delay and its life begin when it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobStep {
    /// Its id, known in advance.
    pub uuid: Uuid,
    /// Its task.
    pub task: TaskName,
    /// Its queue; settled when the first message of the flow is submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Lower runs first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// No earlier than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// No earlier than this after its submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Its whole life, from its submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What the supervisor reads.
    pub header: Header,
    /// Its arguments, JSON.
    #[serde(serialize_with = "raw", deserialize_with = "bytes")]
    pub payload: Vec<u8>,
}

/// A group that is opened later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupStep {
    /// Its id.
    pub uuid: Uuid,
    /// Each a chain of at least one step.
    pub members: Vec<Vec<Step>>,
    /// What follows when all have ended; may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<Step>,
    /// What is done about members that have failed.
    #[serde(default)]
    pub on_failed: OnFailed,
}

impl JobStep {
    /// The message that is submitted at `now`.
    pub(crate) fn into_message(self, now: Timestamp) -> Message {
        let later = |ms: u64| now.plus(Duration::from_millis(ms));
        let mut header = self.header;
        header.expires_at = self.expires_ms.map(later);
        Message {
            uuid: self.uuid,
            task: self.task,
            queue: self.queue,
            priority: self.priority,
            ready_at: self.at.or_else(|| self.delay_ms.map(later)),
            header,
            payload: self.payload,
            on_submit: None,
        }
    }
}

impl From<Message> for JobStep {
    /// The message as it was built: its times stay what they were. What follows it is not part of
    /// its step.
    fn from(message: Message) -> Self {
        let (arguments, _) = message.parts();
        let payload = arguments.to_vec();
        let mut header = message.header;
        let life = header
            .expires_at
            .take()
            .map(|at| at.since(header.created_at));
        header.then = None;
        header.previous_bytes = None;
        Self {
            uuid: message.uuid,
            task: message.task,
            queue: message.queue,
            priority: message.priority,
            at: message.ready_at,
            delay_ms: None,
            expires_ms: life.map(crate::time::millis),
            header,
            payload,
        }
    }
}

/// Writes a plan as it is stored; `None` for an empty one.
pub(crate) fn write<'a>(
    steps: impl ExactSizeIterator<Item = &'a Step>,
) -> Result<Option<Box<RawValue>>, FlowError> {
    if steps.len() == 0 {
        return Ok(None);
    }
    let steps: Vec<&Step> = steps.collect();
    check_steps(steps.iter().copied())?;
    // A reader is as deep in the text as groups are within groups.
    let json = serde_json::value::to_raw_value(&steps).map_err(FlowError::Unreadable)?;
    match json.get().len() {
        len if len > PLAN_LIMIT => Err(FlowError::TooLong { len }),
        _ => Ok(Some(json)),
    }
}

/// A step that is refused where it would be submitted has nobody to tell; and steps are JSON.
pub(super) fn check_steps<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Result<(), FlowError> {
    for step in steps {
        match step {
            Step::Job(job) if job.header.unique.is_some() => {
                let task = job.task.clone();
                return Err(FlowError::Unique { task });
            }
            Step::Job(job) if job.header.encoding.is_some() => {
                let task = job.task.clone();
                return Err(FlowError::Packed { task });
            }
            Step::Job(_) => {}
            Step::Group(group) => {
                for member in &group.members {
                    check_steps(member)?;
                }
                check_steps(&group.join)?;
            }
        }
    }
    Ok(())
}

/// What has the uuid of another is taken for that one where it is to be submitted, and whoever waits for
/// its end waits for ever. `known` has those of what comes before these steps.
pub(crate) fn check_uuids<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    known: &mut HashSet<Uuid>,
) -> Result<(), FlowError> {
    for step in steps {
        let uuid = match step {
            Step::Job(job) => job.uuid,
            Step::Group(group) => group.uuid,
        };
        if !known.insert(uuid) {
            return Err(FlowError::Twice { uuid });
        }
        if let Step::Group(group) = step {
            for member in &group.members {
                check_uuids(member, known)?;
            }
            check_uuids(&group.join, known)?;
        }
    }
    Ok(())
}

/// Reads a plan.
pub(crate) fn read(json: Option<&RawValue>) -> Result<Vec<Step>, FlowError> {
    json.map_or_else(
        || Ok(Vec::new()),
        |json| serde_json::from_str(json.get()).map_err(FlowError::Unreadable),
    )
}

/// Calls `look` with each message of a plan, in order: members before their join.
pub(crate) fn each(steps: &mut [Step], look: &mut dyn FnMut(&mut JobStep)) {
    // As deep as groups are within groups, which is bounded.
    for step in steps {
        match step {
            Step::Job(job) => look(job),
            Step::Group(group) => {
                for member in &mut group.members {
                    each(member, look);
                }
                each(&mut group.join, look);
            }
        }
    }
}

/// How deep groups are within groups.
pub(super) fn depth(steps: &[Step]) -> usize {
    let of = |step: &Step| match step {
        Step::Job(_) => 0,
        Step::Group(group) => {
            let members = group.members.iter().map(|member| depth(member));
            1 + members.max().unwrap_or(0).max(depth(&group.join))
        }
    };
    steps.iter().map(of).max().unwrap_or(0)
}

/// How many messages are submitted at once when a group of these members is opened.
pub(super) fn firsts(members: &[Vec<Step>]) -> usize {
    let of = |step: &Step| match step {
        Step::Job(_) => 1,
        Step::Group(group) => firsts(&group.members),
    };
    members
        .iter()
        .filter_map(|member| member.first())
        .map(of)
        .sum()
}

/// Gives everything in a plan another uuid.
pub(crate) fn renew(steps: &mut [Step]) {
    for step in steps {
        match step {
            Step::Job(job) => job.uuid = Uuid::now_v7(),
            Step::Group(group) => {
                group.uuid = Uuid::now_v7();
                group.members.iter_mut().for_each(|member| renew(member));
                renew(&mut group.join);
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn raw<S: Serializer>(payload: &[u8], s: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_slice(payload).map_err(serde::ser::Error::custom)?;
    raw.serialize(s)
}

fn bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let raw = Box::<RawValue>::deserialize(d)?;
    Ok(Box::<str>::from(raw).into_string().into_bytes())
}
