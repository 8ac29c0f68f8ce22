//! What becomes of the firings that are due: (plan, what was decided before, now) -> what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Misfire, On, Overlap, Trigger};
use crate::time::{Timestamp, millis};

/// A firing that is decided within this time is not missed.
pub const ON_TIME: Duration = Duration::from_secs(10);

/// Firings in one move, so that a store's other users get in between.
pub const AT_ONCE: usize = 100;

/// Between looks whether the job that a queued firing waits for has ended.
pub const QUEUED_LOOK: Duration = Duration::from_secs(1);

/// The space of the uuids of firings; it never changes, or firings would come twice.
const FIRINGS: Uuid = Uuid::from_u128(0x6a1c_57b2_3f0e_5d41_9c88_0d5b_7e42_a913);

/// A trigger that was checked, with its policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// When.
    pub trigger: Trigger,
    /// Who runs it.
    pub on: On,
    /// What becomes of missed firings.
    pub misfire: Misfire,
    /// What becomes of firings that would overlap.
    pub overlap: Overlap,
    /// The longest wait of a firing's job.
    pub jitter: Duration,
}

/// What was decided so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// All firings up to this time.
    pub decided: Timestamp,
    /// A firing that waits for the job of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Timestamp>,
    /// The firing that a job was made for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

impl Standing {
    /// Nothing but that firings up to `decided` are none of ours.
    #[must_use]
    pub const fn from(decided: Timestamp) -> Self {
        Self {
            decided,
            queued: None,
            last: None,
        }
    }
}

/// One way it can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The firings to make jobs for.
    pub fire: Vec<Timestamp>,
    /// What is decided then.
    pub standing: Standing,
    /// When to look again; `None` if it never fires any more.
    pub due: Option<Timestamp>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// If the job of the last firing has ended, or does not matter.
    pub free: Course,
    /// If it has not; `None` if it does not matter.
    pub busy: Option<Course>,
}

/// When there is something to decide after `standing`.
#[must_use]
pub fn due(plan: &Plan, standing: &Standing) -> Option<Timestamp> {
    plan.trigger.next_after(standing.decided)
}

/// Decides about all firings that are due.
#[must_use]
pub fn decide(plan: &Plan, standing: &Standing, now: Timestamp) -> Decision {
    let (mut fire, is_cut) = candidates(plan, standing.decided, now);
    // A clock that was set back decides nothing anew.
    let decided = match fire.last() {
        Some(last) if is_cut => *last,
        _ => now.max(standing.decided),
    };
    let next = plan.trigger.next_after(decided);
    let course = |fire: Vec<Timestamp>, queued: Option<Timestamp>| Course {
        standing: Standing {
            decided,
            queued,
            last: fire.last().copied().or(standing.last),
        },
        due: match queued {
            Some(_) => next.into_iter().chain([now.plus(QUEUED_LOOK)]).min(),
            None => next,
        },
        fire,
    };
    match plan.overlap {
        Overlap::Allow => Decision {
            free: course(fire, None),
            busy: None,
        },
        Overlap::Skip => Decision {
            free: course(fire.split_off(fire.len().saturating_sub(1)), None),
            busy: Some(course(Vec::new(), None)),
        },
        Overlap::QueueOne => {
            let mut waiting: Vec<_> = standing.queued.into_iter().chain(fire).collect();
            let mut two = waiting
                .split_off(waiting.len().saturating_sub(2))
                .into_iter();
            let (first, second) = (two.next(), two.next());
            Decision {
                free: course(first.into_iter().collect(), second),
                busy: Some(course(Vec::new(), second.or(first))),
            }
        }
    }
}

/// The firings to be had, in order, and whether there are more.
fn candidates(plan: &Plan, decided: Timestamp, now: Timestamp) -> (Vec<Timestamp>, bool) {
    let Plan { trigger, .. } = plan;
    let limit = now.as_millis().saturating_sub(millis(ON_TIME) + 1);
    let limit = Timestamp::from_millis(limit).max(decided);
    let most = match plan.misfire {
        Misfire::Skip => 0,
        Misfire::One => 1,
        Misfire::All(most) => usize::try_from(most).unwrap_or(usize::MAX),
    };
    let mut fire = trigger.last(most, decided, limit);
    let mut at = limit;
    while let Some(next) = trigger.next_after(at).filter(|next| *next <= now) {
        fire.push(next);
        at = next;
    }
    let is_cut = fire.len() > AT_ONCE;
    fire.truncate(AT_ONCE);
    (fire, is_cut)
}

/// The uuid of a firing's job: the same for whoever makes it. A firing of each supervisor is one
/// for each.
#[must_use]
pub fn uuid_of(namespace: &str, name: &str, at: Timestamp, each: Option<Uuid>) -> Uuid {
    // No name holds a newline.
    let mut text = format!("{namespace}\n{name}\n{}", at.as_millis());
    if let Some(supervisor) = each {
        text.push('\n');
        text.push_str(&supervisor.simple().to_string());
    }
    Uuid::new_v5(&FIRINGS, text.as_bytes())
}

/// When the job of a firing is ready: its time and a part of the jitter that its uuid decides.
#[must_use]
pub fn ready_at(at: Timestamp, uuid: Uuid, jitter: Duration) -> Timestamp {
    let part = uuid.as_u64_pair().1 % (millis(jitter) + 1);
    at.plus(Duration::from_millis(part))
}
