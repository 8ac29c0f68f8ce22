//! What one call knows of its job's journal.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_shared::Timestamp;
use bulkhead_shared::ask::Remembered;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::DurableError;
use crate::context::now;

/// Where several threads wait for different signals, none of them can wake the job: it looks again
/// after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The kinds of durable calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Now,
    Sleep,
    Step,
    Wait,
    Random,
    Uuid,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Sleep => "sleep",
            Self::Step => "step",
            Self::Wait => "wait_for",
            Self::Random => "random",
            Self::Uuid => "uuid",
        }
    }
}

/// The body of an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    pub kind: Kind,
    /// What the caller calls it: a step's name, a signal's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a step: how often it was begun.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Of a sleep and a wait: how long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What came of it, which may be `null`; nothing while it goes on.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Box<RawValue>>,
    /// It is over, though nothing came of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A key that is there has a value, also `null`.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

impl Body {
    pub(super) fn new(kind: Kind, name: Option<&str>) -> Self {
        Self {
            kind,
            name: name.map(Into::into),
            tries: 0,
            ms: None,
            value: None,
            late: false,
        }
    }

    fn describe(&self) -> String {
        match &self.name {
            Some(name) => format!("{} `{name}`", self.kind.word()),
            None => self.kind.word().into(),
        }
    }

    /// Whether it is the same call as `other`.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

/// An entry that is known.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub at: Timestamp,
    pub body: Body,
}

/// When a job is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sleep {
    pub until: Timestamp,
    pub signal: Option<String>,
}

/// The journal as far as this call knows it, and where in its sequence it stands.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Everything that was there when the call began has been read.
    is_known: bool,
    entries: HashMap<String, Known>,
    /// What cannot be read: written by something else than this library.
    foreign: HashMap<String, serde_json::Error>,
    /// The next place of each sequence.
    places: HashMap<String, u32>,
    used: HashSet<String>,
    /// The store's time, and when it was told.
    clock: Option<(Timestamp, Instant)>,
    sleep: Option<Sleep>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is under this lock is whole after every single operation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place of a sequence.
    pub(super) fn next_place(&self, scope: &str) -> String {
        let mut state = self.state();
        let place = state.places.entry(scope.into()).or_default();
        *place += 1;
        format!("{scope}{place}")
    }

    /// A sequence begins at its first place, and so do those of its branches.
    pub(super) fn begin_again(&self, scope: &str) {
        let mut state = self.state();
        state.places.retain(|of, _| !of.starts_with(scope));
        state.used.retain(|name| !name.starts_with(scope));
    }

    /// A name that no other call of this run has.
    pub(super) fn name(&self, name: String) -> Result<String, DurableError> {
        match self.state().used.insert(name.clone()) {
            true => Ok(name),
            false => Err(DurableError::NamedTwice { name }),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.state().is_known
    }

    /// Everything has been read.
    pub(super) fn know_all(&self) {
        self.state().is_known = true;
    }

    /// Takes in what the store has.
    pub(super) fn learn(&self, remembered: Vec<Remembered>) {
        let mut state = self.state();
        for Remembered { key, at_ms, body } in remembered {
            let at = Timestamp::from_millis(at_ms);
            match serde_json::from_slice(&body) {
                Ok(body) => drop(state.entries.insert(key, Known { at, body })),
                Err(error) => drop(state.foreign.insert(key, error)),
            }
        }
    }

    pub(super) fn keep(&self, key: &str, at: Timestamp, body: Body) {
        let known = Known { at, body };
        self.state().entries.insert(key.into(), known);
    }

    /// What stands at this place, if it is a call like `wanted`.
    pub(super) fn find(&self, key: &str, wanted: &Body) -> Result<Option<Known>, DurableError> {
        let mut state = self.state();
        if let Some(source) = state.foreign.remove(key) {
            let place = key.into();
            return Err(DurableError::Type { place, source });
        }
        match state.entries.get(key) {
            Some(known) if known.body.is_like(wanted) => Ok(Some(known.clone())),
            Some(known) => Err(DurableError::Diverged {
                place: key.into(),
                before: known.body.describe(),
                now: wanted.describe(),
            }),
            None => Ok(None),
        }
    }

    /// The store has said what time it is.
    pub(super) fn set_clock(&self, at: Timestamp) {
        self.state().clock = Some((at, now()));
    }

    /// The store's time.
    pub(super) fn clock(&self) -> Timestamp {
        let told = self.state().clock;
        told.map_or_else(Timestamp::now, |(at, told)| {
            at.plus(now().saturating_duration_since(told))
        })
    }

    /// Lets time pass without waiting for it: where there is no supervisor.
    pub(super) fn skip(&self, length: Duration) {
        let at = self.clock().plus(length);
        self.set_clock(at);
    }

    /// The job is to sleep; several threads may say so.
    pub(super) fn fall_asleep(&self, sleep: Sleep) {
        let again = self.clock().plus(LOOK_AGAIN);
        let mut state = self.state();
        state.sleep = Some(match state.sleep.take() {
            None => sleep,
            Some(other) => {
                let until = other.until.min(sleep.until);
                match (other.signal, sleep.signal) {
                    (Some(one), Some(two)) if one != two => Sleep {
                        until: until.min(again),
                        signal: Some(one),
                    },
                    (one, two) => Sleep {
                        until,
                        signal: one.or(two),
                    },
                }
            }
        });
    }

    /// When the job is to go on, if it is to sleep.
    pub(crate) fn sleep(&self) -> Option<Sleep> {
        self.state().sleep.clone()
    }
}
