//! Which errands an ending brings. Pure: no clock, no I/O.
//!
//! | ending | errand |
//! |---|---|
//! | succeeded, something follows | its first step is submitted or opened, with the rest |
//! | succeeded, nothing follows or the task declined it | counted in its group, if it has one |
//! | failed for good, revoked, removed | counted as failed |
//! | tried again, released | none |

use std::fmt;

use serde_json::json;
use uuid::Uuid;

use super::errand::{Complete, Count, Errand, Errands, GroupRecord, MemberEnd, Opening};
use super::plan::{GroupStep, JobStep, Step, firsts};
use super::{FlowError, Member, OPENING_LIMIT, OnFailed, Refusal, read_plan, write_plan};
use crate::message::{Header, PAYLOAD_LIMIT};
use crate::name::{QueueName, TaskName};
use crate::outcome::{Cause, ErrorDetails};
use crate::retry::Move;
use crate::time::Timestamp;
use serde_json::value::RawValue;

/// Bytes of a failed member's text that its group keeps.
const TEXT_LIMIT: usize = 1 << 10;

/// A job's part in a flow.
#[derive(Debug, Clone)]
pub struct Thread {
    uuid: Uuid,
    then: Option<Box<RawValue>>,
    member: Option<Box<Member>>,
    progenitor: Option<Uuid>,
}

impl Thread {
    /// The part of the job `uuid`; `None` if nothing hangs on its end.
    #[must_use]
    pub fn of(uuid: Uuid, header: &Header) -> Option<Self> {
        (header.then.is_some() || header.member.is_some()).then(|| Self {
            uuid,
            then: header.then.clone(),
            member: header.member.clone(),
            progenitor: header.progenitor_uuid,
        })
    }

    /// What a move to `next` brings, and what a revocation would bring instead. `result` is what
    /// the task returned, whether it is to be kept or not; `error` what is known about a failure.
    ///
    /// # Errors
    /// [`FlowError`] if what follows cannot be read.
    pub fn follow(
        &self,
        next: &Move,
        result: &[u8],
        error: Option<&ErrorDetails>,
        about: &About<'_>,
    ) -> Result<Errands, FlowError> {
        let applied = match next {
            Move::Retry { .. } | Move::Release | Move::Snooze { .. } => Vec::new(),
            Move::Bury { cause, .. } | Move::Drop { cause, .. } => self.failed(*cause, error),
            Move::Succeed { .. } => {
                let wanted = self.then.as_deref().filter(|_| about.wants_callback);
                let steps = read_plan(wanted)?;
                let origin = Origin {
                    previous: Some(self.uuid),
                    progenitor: self.progenitor.unwrap_or(self.uuid),
                    member: self.member.as_deref(),
                    result: Some(result),
                    refusal: None,
                    now: about.now,
                    queue_of: about.queue_of,
                };
                go_on(steps, self.uuid, &origin)?
            }
        };
        Ok(Errands {
            applied,
            revoked: self.failed(Cause::Revoked, None),
        })
    }

    /// What an end without a result brings.
    #[must_use]
    pub fn failed(&self, cause: Cause, error: Option<&ErrorDetails>) -> Vec<Errand> {
        let name = error.map_or_else(|| cause.as_str(), |error| error.name.as_str());
        let mut text = error.map_or("", |error| error.text.as_str());
        text = &text[..text.floor_char_boundary(TEXT_LIMIT)];
        self.ended(json!({"uuid": self.uuid, "cause": cause, "name": name, "text": text}))
    }

    /// What a user's removal of the job while it waits brings.
    #[must_use]
    pub fn removed(&self) -> Vec<Errand> {
        let text = "the job was removed while it waited";
        let cause = Cause::Revoked;
        self.ended(json!({"uuid": self.uuid, "cause": cause, "name": "removed", "text": text}))
    }

    fn ended(&self, error: serde_json::Value) -> Vec<Errand> {
        let end = MemberEnd {
            uuid: self.uuid,
            is_failed: true,
            body: error.to_string().into_bytes(),
        };
        count(self.member.as_deref(), end)
    }
}

/// What [`Thread::follow`] rests on, apart from the ending.
pub struct About<'a> {
    /// The task's own word on whether what follows is to follow.
    pub wants_callback: bool,
    /// When the attempt ended: delays of what follows count from here.
    pub now: Timestamp,
    /// The queue of a message that names none.
    pub queue_of: &'a dyn Fn(&TaskName) -> QueueName,
}

impl fmt::Debug for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("About").field(&self.now).finish()
    }
}

/// Where steps come from.
pub(super) struct Origin<'a> {
    previous: Option<Uuid>,
    progenitor: Uuid,
    member: Option<&'a Member>,
    result: Option<&'a [u8]>,
    refusal: Option<Refusal>,
    now: Timestamp,
    queue_of: &'a dyn Fn(&TaskName) -> QueueName,
}

impl<'a> Origin<'a> {
    /// A group that follows nothing.
    pub(super) fn of_group(
        uuid: Uuid,
        now: Timestamp,
        queue_of: &'a dyn Fn(&TaskName) -> QueueName,
    ) -> Self {
        Self {
            previous: None,
            progenitor: uuid,
            member: None,
            result: None,
            refusal: None,
            now,
            queue_of,
        }
    }

    fn queue(&self, step: &JobStep) -> QueueName {
        let settled = step.queue.clone();
        settled.unwrap_or_else(|| (self.queue_of)(&step.task))
    }
}

/// What closes a group whose members have all ended.
///
/// # Errors
/// [`FlowError::Unreadable`] if its record cannot be read.
pub fn complete(group: &Complete, about: &About<'_>) -> Result<Vec<Errand>, FlowError> {
    let record: GroupRecord =
        serde_json::from_slice(&group.record).map_err(FlowError::Unreadable)?;
    let steps = read_plan(record.then.as_deref())?;
    let joined = joined(group, record.on_failed);
    let (result, refusal) = match joined {
        Ok(result) => (Some(result), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let origin = Origin {
        previous: Some(group.uuid),
        progenitor: record.progenitor_uuid,
        member: record.member.as_deref(),
        result: result.as_deref(),
        refusal,
        now: about.now,
        queue_of: about.queue_of,
    };
    go_on(steps, group.uuid, &origin)
}

/// The results of a group as one, or why there is none.
fn joined(group: &Complete, on_failed: OnFailed) -> Result<Vec<u8>, Refusal> {
    let failed = group.ends.iter().filter(|end| end.is_failed).count();
    if let (OnFailed::Stop, Some(first)) = (on_failed, group.ends.iter().find(|end| end.is_failed))
    {
        let body = String::from_utf8_lossy(&first.body);
        let all = group.ends.len();
        let text = format!(
            "{failed} of {all} members of group {} failed, the first is {body} (mend what failed \
             and submit the flow again, or let the join run with `on_failed` as `null` or `error`)",
            group.uuid
        );
        return Err(Refusal {
            name: "member-failed".into(),
            text,
        });
    }
    let around = 2 + 12 * group.ends.len();
    let len = usize::try_from(group.bytes).unwrap_or(usize::MAX);
    if len.saturating_add(around) > PAYLOAD_LIMIT {
        let text = format!(
            "the results of the members of group {} have {len} bytes together, more than \
             {PAYLOAD_LIMIT} (return paths or keys instead of data)",
            group.uuid
        );
        return Err(Refusal {
            name: "results-too-large".into(),
            text,
        });
    }
    let mut joined = Vec::with_capacity(len + around);
    joined.push(b'[');
    for (place, end) in group.ends.iter().enumerate() {
        if place > 0 {
            joined.push(b',');
        }
        // What is no JSON has no place in an array.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&end.body).is_ok();
        match (end.is_failed, on_failed) {
            (true, OnFailed::Error) if is_json => {
                joined.extend_from_slice(b"{\"error\":");
                joined.extend_from_slice(&end.body);
                joined.push(b'}');
            }
            (false, _) if is_json => joined.extend_from_slice(&end.body),
            _ => joined.extend_from_slice(b"null"),
        }
    }
    joined.push(b']');
    Ok(joined)
}

/// Starts what follows; if nothing does, the flow ends here, which its group counts.
fn go_on(steps: Vec<Step>, ended: Uuid, origin: &Origin<'_>) -> Result<Vec<Errand>, FlowError> {
    if !steps.is_empty() {
        return start(steps, origin);
    }
    let body = match &origin.refusal {
        None => origin.result.unwrap_or(b"null").to_vec(),
        Some(Refusal { name, text }) => {
            let text = &text[..text.floor_char_boundary(TEXT_LIMIT)];
            let cause = Cause::Error;
            json!({"uuid": ended, "cause": cause, "name": name, "text": text})
                .to_string()
                .into_bytes()
        }
    };
    let end = MemberEnd {
        uuid: ended,
        is_failed: origin.refusal.is_some(),
        body,
    };
    Ok(count(origin.member, end))
}

/// Starts the first of these steps, with the others as what follows it.
pub(super) fn start(mut steps: Vec<Step>, origin: &Origin<'_>) -> Result<Vec<Errand>, FlowError> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let errand = match steps.remove(0) {
        Step::Job(job) => submit(*job, &steps, origin)?,
        Step::Group(group) => open(*group, steps, origin)?,
    };
    Ok(vec![errand])
}

fn submit(step: JobStep, rest: &[Step], origin: &Origin<'_>) -> Result<Errand, FlowError> {
    let queue = origin.queue(&step);
    let mut message = step.into_message(origin.now);
    let header = &mut message.header;
    header.then = write_plan(rest.iter())?;
    header.member = origin.member.cloned().map(Box::new);
    header.progenitor_uuid = Some(origin.progenitor);
    header.previous_message_uuid = origin.previous;
    header.refusal = origin.refusal.clone().map(Box::new);
    if let Some(result) = origin.result {
        header.previous_bytes = u64::try_from(result.len()).ok();
        message.payload.extend_from_slice(result);
    }
    Ok(Errand::Submit {
        queue,
        message: Box::new(message),
    })
}

fn open(group: GroupStep, rest: Vec<Step>, origin: &Origin<'_>) -> Result<Errand, FlowError> {
    let GroupStep {
        uuid,
        members,
        join: mut then,
        on_failed,
    } = group;
    then.extend(rest);
    let first = |steps: &[Step]| home(steps, origin);
    let home = first(&then)
        .or_else(|| members.first().and_then(|member| first(member)))
        .ok_or(FlowError::Empty)?;
    let record = GroupRecord {
        members: members
            .iter()
            .filter_map(|member| member.first())
            .map(|step| match step {
                Step::Job(job) => job.uuid,
                Step::Group(group) => group.uuid,
            })
            .collect(),
        on_failed,
        then: write_plan(then.iter())?,
        member: origin.member.cloned().map(Box::new),
        progenitor_uuid: origin.progenitor,
    };
    let mut refusal = origin.refusal.clone();
    // With those of the groups within this one: all of them are written in one move.
    let firsts = firsts(&members);
    let copies = origin.result.map_or(0, <[u8]>::len).saturating_mul(firsts);
    if copies > OPENING_LIMIT {
        let text = format!(
            "{firsts} copies of the previous result have {copies} bytes, more than \
             {OPENING_LIMIT} (return a path or a key instead of data)"
        );
        let name = "previous-result".into();
        refusal.get_or_insert(Refusal { name, text });
    }
    let mut started = Vec::with_capacity(members.len());
    for (member, index) in members.into_iter().zip(0..) {
        let place = Member {
            group: uuid,
            home: home.clone(),
            index,
        };
        let origin = Origin {
            member: Some(&place),
            result: origin.result.filter(|_| refusal.is_none()),
            refusal: refusal.clone(),
            ..*origin
        };
        started.extend(start(member, &origin)?);
    }
    Ok(Errand::Open(Box::new(Opening {
        uuid,
        home,
        record,
        members: started,
    })))
}

/// The queue of the first message of a chain.
fn home(steps: &[Step], origin: &Origin<'_>) -> Option<QueueName> {
    match steps.first()? {
        Step::Job(job) => Some(origin.queue(job)),
        Step::Group(group) => home(&group.join, origin).or_else(|| {
            group
                .members
                .first()
                .and_then(|member| home(member, origin))
        }),
    }
}

/// Counts a step of a member that cannot be submitted, or opened, because its uuid is known.
#[must_use]
pub fn known(uuid: Uuid, member: &Member) -> Count {
    // The words of `errands.lua`.
    let text = "the store knows this uuid already (leave it out, or give each submission its own)";
    let body = json!({"uuid": uuid, "cause": Cause::Error, "name": "known", "text": text});
    Count {
        member: member.clone(),
        end: MemberEnd {
            uuid,
            is_failed: true,
            body: body.to_string().into_bytes(),
        },
    }
}

fn count(member: Option<&Member>, end: MemberEnd) -> Vec<Errand> {
    let count = member.map(|member| {
        Errand::Count(Box::new(Count {
            member: member.clone(),
            end,
        }))
    });
    count.into_iter().collect()
}
