//! Which supervisors live, and what they say about themselves.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::answer::{Items, bytes, count, number};
use super::call::Call;
use super::record::name;
use super::script::{ANNOUNCE, FLEET, HELD, LEAVE};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Presence, Selection, SupervisorId};
use crate::fleet::Member;
use crate::name::{QueueName, TaskName};
use crate::time::{Timestamp, millis};

/// A supervisor that has not announced itself for so long does not live: four times the pause
/// between its announcements.
const PRESUMED_ALIVE: Duration = Duration::from_secs(20);

/// Supervisors listed at the most, ...
const LISTED: u64 = 1000;

/// ... and leases of each queue that are looked at to tell who holds them.
const COUNTED: u64 = 10_000;

/// What a supervisor says about itself to people; the script puts in when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    #[serde(default, skip_serializing)]
    seen_ms: u64,
    pub(super) host: String,
    pid: u32,
    queues: Vec<QueueName>,
    #[serde(default)]
    tasks: Vec<TaskName>,
    version: Option<String>,
    slots: Option<u32>,
    started_ms: Option<u64>,
}

impl Store {
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
            for task in &presence.tasks {
                if let Some(most) = task.concurrency {
                    call.arg(task.name.as_str()).number(most.into());
                }
            }
            calls.push(call);
        }
        let about = About {
            seen_ms: 0,
            host: presence.host.clone(),
            pid: presence.pid,
            queues: queues.clone(),
            tasks: presence.selection.tasks.clone(),
            version: Some(presence.version.clone()),
            slots: Some(presence.slots),
            started_ms: Some(presence.started_at.as_millis()),
        };
        let mut call = self.fleet_call("s");
        call.arg(&id)
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
        let mut call = self.fleet_call("g");
        call.arg(&id);
        self.lines.run_again(&[call]).map(drop)
    }

    /// Forgets supervisors that live no more.
    pub(super) fn forget_the_dead(&self, limit: usize) -> Result<usize, BrokerError> {
        let mut call = self.fleet_call("p");
        call.number(u64::try_from(limit).unwrap_or(u64::MAX).min(1000));
        let forgotten = count(&self.on_one(call)?).map_err(|trouble| self.say(&trouble))?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }

    pub(super) fn members(&self) -> Result<Vec<Member>, BrokerError> {
        let held = self.held()?;
        let mut call = self.fleet_call("l");
        call.number(LISTED);
        let mut answers = self.lines.run_again(&[call])?;
        let members = members(answers.swap_remove(0), held.as_ref());
        members.map_err(|trouble| self.say(&trouble))
    }

    /// How many jobs each supervisor holds; `None` if there are too many to look at.
    fn held(&self) -> Result<Option<HashMap<Vec<u8>, u64>>, BrokerError> {
        let queues = self.all_queues()?;
        let answers = self.on_each(&queues, &HELD, |call| {
            call.number(COUNTED);
        })?;
        let mut held = HashMap::new();
        for answer in answers {
            if answer == Value::Nil {
                return Ok(None);
            }
            let mut add = |answer| -> Result<(), Trouble> {
                let mut items = Items::of(answer)?;
                while items.len() > 0 {
                    let owner = bytes(items.next()?)?;
                    *held.entry(owner).or_default() += count(&items.next()?)?;
                }
                Ok(())
            };
            add(answer).map_err(|trouble| self.say(&trouble))?;
        }
        Ok(Some(held))
    }

    fn fleet_call(&self, what: &str) -> Call {
        let mut call = Call::script(&FLEET, &self.common_tag(), &self.clock());
        call.arg(what);
        call
    }
}

/// Those of an answer that are to be listed, oldest first.
fn members(answer: Value, held: Option<&HashMap<Vec<u8>, u64>>) -> Result<Vec<Member>, Trouble> {
    let mut items = Items::of(answer)?;
    let mut members = Vec::new();
    while items.len() > 0 {
        let owner = bytes(items.next()?)?;
        let (life, about) = (number(&items.next()?)?, items.next()?);
        let holds = held.map(|held| held.get(&owner).copied().unwrap_or(0));
        let about = bytes(about).ok();
        let about: Option<About> = about.and_then(|about| serde_json::from_slice(&about).ok());
        let uuid = Uuid::try_parse_ascii(&owner).ok();
        // What has been silent for so long that nothing is known of it is as good as forgotten.
        let Some((about, uuid)) = about.zip(uuid) else {
            continue;
        };
        let has_left = life == 0;
        if !has_left || holds.is_some_and(|holds| holds > 0) {
            members.push(member(SupervisorId(uuid), about, life, holds));
        }
    }
    members.sort_by_key(|member| (member.started_at, member.id.0));
    Ok(members)
}

fn member(id: SupervisorId, about: About, life: i64, held: Option<u64>) -> Member {
    let has_left = life == 0;
    Member {
        id,
        host: Some(about.host),
        pid: Some(about.pid),
        version: about.version,
        slots: about.slots,
        held,
        selection: Selection {
            queues: if has_left { Vec::new() } else { about.queues },
            tasks: if has_left { Vec::new() } else { about.tasks },
        },
        started_at: about.started_ms.map(Timestamp::from_millis),
        seen_at: Timestamp::from_millis(about.seen_ms),
        is_alive: life == 2,
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, numbers and lists can always be written as JSON")
}
