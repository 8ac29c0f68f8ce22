//! Flows: submitted as a whole, and seen as a whole.

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use super::{Client, ClientError, Ticket};
use crate::catalog::{GroupRow, JobRow};
use crate::flow::plan::each;
use crate::flow::{Chain, Flow, GroupRecord, Step, read_plan, write_plan};
use crate::message::{Header, Message};
use crate::name::TaskName;
use crate::outcome::Cause;
use crate::status::{JobStatus, Status};
use crate::time::Timestamp;

/// Jobs asked for at once.
const ASKED_AT_ONCE: usize = 500;

/// How a flow, or a line of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FlowState {
    /// Something of it waits or runs, or is still to come.
    Running,
    /// Its last step has succeeded.
    Succeeded,
    /// A step has failed, and what follows it does not run.
    Failed,
}

/// A flow from its first message or group on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowView {
    /// Its first message, or group.
    pub uuid: Uuid,
    /// How it stands.
    pub state: FlowState,
    /// Its steps in their order.
    pub steps: Vec<FlowStep>,
}

/// One step of a flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowStep {
    /// A message.
    Job {
        /// Its id.
        uuid: Uuid,
        /// Its task, if it is known.
        task: Option<TaskName>,
        /// Its status; UNKNOWN before it is submitted, and once it is forgotten.
        status: Status,
        /// Why it failed.
        cause: Option<Cause>,
    },
    /// A group.
    Group {
        /// Its id.
        uuid: Uuid,
        /// How it stands.
        state: FlowState,
        /// How many of its members have ended.
        ended: u32,
        /// How many of these badly.
        failed: u32,
        /// What follows has been started.
        is_closed: bool,
        /// The steps of each member.
        members: Vec<Vec<Self>>,
    },
}

/// What stores know of a flow's parts.
#[derive(Default)]
struct Known {
    jobs: HashMap<Uuid, JobRow>,
    groups: HashMap<Uuid, GroupRow>,
}

impl Client {
    /// Submits messages and groups in this order, and says of each whether it is new.
    ///
    /// # Errors
    /// [`ClientError`]; those before the one that failed are stored.
    pub fn submit_flows(&self, flows: &[Flow]) -> Result<Vec<Ticket>, ClientError> {
        let mut tickets: Vec<Ticket> = Vec::with_capacity(flows.len());
        let mut messages = Vec::new();
        for flow in flows {
            match flow {
                Flow::Job(message) => messages.push(Message::clone(message)),
                Flow::Group(group) => {
                    tickets.extend(self.submit_many(&std::mem::take(&mut messages))?);
                    let known = self.all_registrations()?;
                    let queue_of = |task: &TaskName| {
                        let registered = known.get(task).cloned().flatten();
                        registered.unwrap_or_default()
                    };
                    let opening = group.opening(Timestamp::now(), &queue_of)?;
                    let submitted = self.backend.broker.open(&opening)?;
                    tickets.push(Ticket {
                        uuid: opening.uuid,
                        queue: opening.home,
                        submitted,
                    });
                }
            }
        }
        tickets.extend(self.submit_many(&messages)?);
        Ok(tickets)
    }

    /// Submits a chain or a group: a tuple, a list, a [`crate::flow::Group`]. Returns the id of
    /// its first message, or of the group that it begins with.
    ///
    /// ```
    /// # fn main() -> Result<(), bulkhead_shared::client::ClientError> {
    /// use bulkhead_shared::Message;
    /// use bulkhead_shared::client::Client;
    /// use bulkhead_shared::flow::Group;
    /// let client = Client::open("sqlite::memory:")?;
    /// let add = || Message::new("add").arg(2).arg(3);
    /// let flow = client.submit_flow((add(), Group::new().members([add(), add()])))?;
    /// assert_eq!(client.flow(flow)?.unwrap().steps.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Flow`], [`ClientError::Known`], [`ClientError::Store`].
    pub fn submit_flow(&self, flow: impl Into<Chain>) -> Result<Uuid, ClientError> {
        let flow = flow.into().build()?;
        match self.submit_flows(std::slice::from_ref(&flow))?.pop() {
            Some(ticket) => ticket.accepted(),
            None => Ok(flow.uuid()),
        }
    }

    /// Messages whose steps name their queues; `None` if nothing is to be changed.
    pub(super) fn settle_steps(
        &self,
        messages: &[Message],
    ) -> Result<Option<Vec<Message>>, ClientError> {
        if messages.iter().all(|message| message.header.then.is_none()) {
            return Ok(None);
        }
        let known = self.all_registrations()?;
        let mut settled = messages.to_vec();
        for message in &mut settled {
            let mut then = read_plan(message.header.then.as_deref())?;
            each(&mut then, &mut |step| {
                let registered = || known.get(&step.task).cloned().flatten();
                step.queue
                    .get_or_insert_with(|| registered().unwrap_or_default());
            });
            message.header.then = write_plan(then.iter())?;
        }
        Ok(Some(settled))
    }

    /// The flow that a message or a group belongs to; `None` if nobody knows it, or it is a message
    /// by itself.
    ///
    /// # Errors
    /// [`ClientError::Store`], [`ClientError::Flow`].
    pub fn flow(&self, uuid: Uuid) -> Result<Option<FlowView>, ClientError> {
        let mut known = Known::default();
        self.learn_about(&mut known, &[uuid])?;
        let root = known.progenitor(uuid).unwrap_or(uuid);
        self.learn_about(&mut known, &[root])?;
        // The first message may have been forgotten already.
        let root = if known.has(root) { root } else { uuid };
        if !known.has(root) {
            return Ok(None);
        }
        let steps = self.line(&mut known, &[root])?.remove(0);
        if let [FlowStep::Job { .. }] = &steps[..]
            && known.progenitor(root).is_none()
        {
            return Ok(None);
        }
        Ok(Some(FlowView {
            uuid: root,
            state: state_of(&steps),
            steps,
        }))
    }

    /// How a message and all that follows it stand.
    pub(super) fn state_from(&self, uuid: Uuid) -> Result<FlowState, ClientError> {
        let lines = self.line(&mut Known::default(), &[uuid])?;
        Ok(state_of(lines.first().map_or(&[][..], |steps| steps)))
    }

    /// What follows each of these, themselves included.
    fn line(&self, known: &mut Known, firsts: &[Uuid]) -> Result<Vec<Vec<FlowStep>>, ClientError> {
        self.learn_about(known, firsts)?;
        let mut lines = Vec::with_capacity(firsts.len());
        for first in firsts {
            let (mut line, then) = if let Some(row) = known.jobs.get(first) {
                let header: Option<Header> = serde_json::from_slice(&row.header).ok();
                let then = header.and_then(|header| header.then);
                (vec![known.job(*first, None)], then)
            } else if let Some(row) = known.groups.get(first) {
                let record = record(row);
                let (members, then) =
                    record.map_or_else(Default::default, |record| (record.members, record.then));
                let members = self.line(known, &members)?;
                (vec![known.group(*first, members)], then)
            } else {
                (vec![known.job(*first, None)], None)
            };
            let then = read_plan(then.as_deref())?;
            let mut uuids = Vec::new();
            collect(&then, &mut uuids);
            self.learn_about(known, &uuids)?;
            line.extend(then.iter().flat_map(|step| known.step(step)));
            lines.push(line);
        }
        Ok(lines)
    }

    fn learn_about(&self, known: &mut Known, uuids: &[Uuid]) -> Result<(), ClientError> {
        let new: Vec<Uuid> = uuids.iter().copied().filter(|u| !known.has(*u)).collect();
        for some in new.chunks(ASKED_AT_ONCE) {
            let rows = self.backend.catalog.jobs_by_id(some)?;
            let rows = rows.into_iter().flatten();
            known.jobs.extend(rows.map(|row| (row.uuid, row)));
            let others: Vec<Uuid> = some.iter().copied().filter(|u| !known.has(*u)).collect();
            if !others.is_empty() {
                let rows = self.backend.catalog.groups(&others)?;
                let rows = rows.into_iter().flatten();
                known.groups.extend(rows.map(|row| (row.uuid, row)));
            }
        }
        Ok(())
    }
}

impl Known {
    fn has(&self, uuid: Uuid) -> bool {
        self.jobs.contains_key(&uuid) || self.groups.contains_key(&uuid)
    }

    fn progenitor(&self, uuid: Uuid) -> Option<Uuid> {
        if let Some(row) = self.jobs.get(&uuid) {
            let header: Option<Header> = serde_json::from_slice(&row.header).ok();
            return header.and_then(|header| header.progenitor_uuid);
        }
        let record = self.groups.get(&uuid).and_then(record);
        record.map(|record| record.progenitor_uuid)
    }

    fn job(&self, uuid: Uuid, task: Option<&TaskName>) -> FlowStep {
        let job = self.jobs.get(&uuid).cloned().map(JobStatus::from);
        let job = job.unwrap_or_else(|| JobStatus::unknown(uuid));
        FlowStep::Job {
            uuid,
            task: job.task.or_else(|| task.cloned()),
            status: job.status,
            cause: job.cause,
        }
    }

    fn group(&self, uuid: Uuid, members: Vec<Vec<FlowStep>>) -> FlowStep {
        let row = self.groups.get(&uuid);
        let is_closed = row.is_some_and(|row| row.closed_at.is_some());
        let all_good = members
            .iter()
            .all(|line| state_of(line) == FlowState::Succeeded);
        FlowStep::Group {
            uuid,
            state: match is_closed {
                false => FlowState::Running,
                true if all_good => FlowState::Succeeded,
                true => FlowState::Failed,
            },
            ended: row.map_or(0, |row| row.ended),
            failed: row.map_or(0, |row| row.failed),
            is_closed,
            members,
        }
    }

    /// A step, and the join that follows it if it is a group.
    fn step(&self, step: &Step) -> Vec<FlowStep> {
        match step {
            Step::Job(job) => vec![self.job(job.uuid, Some(&job.task))],
            Step::Group(group) => {
                let line = |steps: &Vec<Step>| {
                    let steps = steps.iter().flat_map(|step| self.step(step));
                    steps.collect()
                };
                let members = group.members.iter().map(line).collect();
                let mut steps = vec![self.group(group.uuid, members)];
                steps.extend(group.join.iter().flat_map(|step| self.step(step)));
                steps
            }
        }
    }
}

fn record(row: &GroupRow) -> Option<GroupRecord> {
    serde_json::from_slice(&row.record).ok()
}

fn collect(steps: &[Step], uuids: &mut Vec<Uuid>) {
    for step in steps {
        match step {
            Step::Job(job) => uuids.push(job.uuid),
            Step::Group(group) => {
                uuids.push(group.uuid);
                group.members.iter().for_each(|line| collect(line, uuids));
                collect(&group.join, uuids);
            }
        }
    }
}

/// How a line of steps stands: by the last one that has begun.
fn state_of(steps: &[FlowStep]) -> FlowState {
    for (place, step) in steps.iter().enumerate() {
        let is_last = place + 1 == steps.len();
        match step {
            FlowStep::Job { status, .. } => match status {
                Status::Succeeded => {}
                Status::Failed => return FlowState::Failed,
                _ => return FlowState::Running,
            },
            FlowStep::Group {
                state, is_closed, ..
            } => match state {
                // What follows decides whether failed members matter.
                FlowState::Failed if is_last => return FlowState::Failed,
                _ if !is_closed => return FlowState::Running,
                _ => {}
            },
        }
    }
    FlowState::Succeeded
}
