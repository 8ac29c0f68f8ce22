//! Several messages at once, and one when all of them have ended.

use std::collections::HashSet;

use uuid::Uuid;

use super::chain::Chain;
use super::errand::{Errand, Opening};
use super::follow::{self, Origin};
use super::plan::{GroupStep, Step, check_steps, each};
use super::{FlowError, MEMBERS_LIMIT, OPENING_LIMIT, OnFailed, check_uuids, write_plan};
use crate::name::{QueueName, TaskName};
use crate::time::Timestamp;

/// Messages that run at once, and a join that runs when the last of them has ended.
///
/// The join's previous result is a JSON array: what the members returned, in their order.
///
/// ```
/// use bulkhead_shared::Message;
/// use bulkhead_shared::flow::{Group, OnFailed};
/// let group = Group::new()
///     .members((1..=3).map(|n| Message::new("add").arg(n).arg(n)))
///     .join(Message::new("echo").arg("done"))
///     .on_failed(OnFailed::Null);
/// assert_eq!(group.build().unwrap().descendants().len(), 4);
/// ```
#[derive(Debug)]
#[must_use = "a group does nothing until it is submitted"]
pub struct Group {
    uuid: Uuid,
    members: Vec<Vec<Step>>,
    join: Chain,
    on_failed: OnFailed,
    depth: usize,
    wrong: Option<FlowError>,
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// One without members: it needs some.
    pub fn new() -> Self {
        Self {
            uuid: Uuid::now_v7(),
            members: Vec::new(),
            join: Chain::new(),
            on_failed: OnFailed::default(),
            depth: 1,
            wrong: None,
        }
    }

    /// Gives it an id.
    pub const fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = uuid;
        self
    }

    /// Adds a member: a message, a chain or a group. A chain's result is that of its last message.
    pub fn member(mut self, member: impl Into<Chain>) -> Self {
        let member = member.into();
        self.depth = self.depth.max(member.depth + 1);
        if self.members.len() == MEMBERS_LIMIT {
            self.refuse(FlowError::TooMany);
            return self;
        }
        match member.into_steps() {
            Ok(steps) => self.members.push(steps.into()),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Adds members.
    pub fn members<T: Into<Chain>>(self, members: impl IntoIterator<Item = T>) -> Self {
        members.into_iter().fold(self, Self::member)
    }

    /// What runs when all members have ended.
    pub fn join(mut self, join: impl Into<Chain>) -> Self {
        self.join.append(join.into());
        self.depth = self.depth.max(self.join.depth + 1);
        self
    }

    /// What comes after the join.
    pub fn callback(self, next: impl Into<Chain>) -> Self {
        self.join(next)
    }

    /// What is done about members that have failed.
    pub const fn on_failed(mut self, on_failed: OnFailed) -> Self {
        self.on_failed = on_failed;
        self
    }

    fn refuse(&mut self, wrong: FlowError) {
        self.wrong.get_or_insert(wrong);
    }

    pub(super) fn into_step(mut self) -> Result<(GroupStep, usize), FlowError> {
        self.wrong = self.wrong.or(self.join.wrong);
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.members.is_empty() {
            return Err(FlowError::Empty);
        }
        let step = GroupStep {
            uuid: self.uuid,
            members: self.members,
            join: self.join.steps.into(),
            on_failed: self.on_failed,
        };
        for member in &step.members {
            check_steps(member)?;
        }
        check_steps(&step.join)?;
        Ok((step, self.depth))
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`FlowError`] with its way out.
    pub fn build(self) -> Result<BuiltGroup, FlowError> {
        let mut steps = Chain::from(self).into_steps()?;
        match steps.pop_front() {
            Some(Step::Group(step)) => BuiltGroup::new(*step),
            _ => Err(FlowError::Empty),
        }
    }
}

/// A group that has been checked.
#[derive(Debug, Clone)]
pub struct BuiltGroup {
    step: GroupStep,
}

impl BuiltGroup {
    pub(super) fn new(step: GroupStep) -> Result<Self, FlowError> {
        let mut steps = [Step::Group(Box::new(step))];
        check_uuids(&steps, &mut HashSet::new())?;
        let mut len = 0;
        each(&mut steps, &mut |job| len += job.payload.len());
        if len > OPENING_LIMIT {
            return Err(FlowError::TooLarge { len });
        }
        let [Step::Group(step)] = steps else {
            return Err(FlowError::Empty);
        };
        write_plan(step.join.iter())?;
        for member in &step.members {
            write_plan(member.iter())?;
        }
        Ok(Self { step: *step })
    }

    /// Its id.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.step.uuid
    }

    /// The ids of its members in their order, and of what follows.
    #[must_use]
    pub fn descendants(&self) -> Vec<Uuid> {
        let mut uuids = Vec::new();
        let mut steps = [Step::Group(Box::new(self.step.clone()))];
        each(&mut steps, &mut |job| uuids.push(job.uuid));
        uuids
    }

    /// The tasks of all messages that name no queue.
    #[must_use]
    pub fn unsettled(&self) -> Vec<TaskName> {
        let mut tasks = Vec::new();
        let mut steps = [Step::Group(Box::new(self.step.clone()))];
        each(&mut steps, &mut |job| {
            if job.queue.is_none() {
                tasks.push(job.task.clone());
            }
        });
        tasks
    }

    /// What opens it at `now`.
    ///
    /// # Errors
    /// [`FlowError::TooLong`].
    pub fn opening(
        &self,
        now: Timestamp,
        queue_of: &dyn Fn(&TaskName) -> QueueName,
    ) -> Result<Opening, FlowError> {
        let mut steps = vec![Step::Group(Box::new(self.step.clone()))];
        each(&mut steps, &mut |job| {
            job.queue.get_or_insert_with(|| queue_of(&job.task));
        });
        let origin = Origin::of_group(self.uuid(), now, queue_of);
        match follow::start(steps, &origin)?.pop() {
            Some(Errand::Open(opening)) => Ok(*opening),
            _ => Err(FlowError::Empty),
        }
    }
}

impl TryFrom<Group> for BuiltGroup {
    type Error = FlowError;
    fn try_from(group: Group) -> Result<Self, FlowError> {
        group.build()
    }
}
