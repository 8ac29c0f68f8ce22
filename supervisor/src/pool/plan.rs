//! Which waiting ticket goes where: one walk over those who wait, oldest first.
//!
//! A ticket takes the first of these that is left: an idle process that fits, a process on its way
//! that will fit, a vacant slot, a slot that is about to be vacant, an idle process that does not
//! fit (which is replaced), a process on its way that will have to be replaced. A ticket for which
//! nothing is left has no hope, and is given back when it has waited long enough: an idle second
//! supervisor may have it.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::event::{Action, Ticket};
use super::slot::{Slot, Turn};
use super::state::{After, Cause, Past, State, Why, later};

/// A ticket that waits, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub ticket: Ticket,
    pub since: Instant,
}

/// What a slot can do for a ticket that waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prospect {
    Vacant,
    /// A process is on its way.
    Starting,
    /// A process waits.
    Idle(Past),
    /// Vacant as soon as a process is gone that has no job any more.
    Soon,
    /// The same, but believed only until then: a job's process should have gone by then.
    SoonUnless(Instant),
    /// Nothing for now.
    None,
}

/// What `slot` can do for a ticket that waits.
pub(super) fn prospect(slot: &Slot, now: Instant, hold: Duration) -> Prospect {
    let after = |after: After, began: Instant| match after {
        After::Settle(..) => soon_unless(later(began, hold), now),
        After::Refill => Prospect::Soon,
        After::Rest => Prospect::None,
    };
    match *slot.state() {
        State::Vacant => Prospect::Vacant,
        State::Forking { .. } | State::Starting { .. } => Prospect::Starting,
        State::Idle { past } => Prospect::Idle(past),
        State::Stopping { cause, .. } => match cause {
            Cause::Answered { at, .. } => soon_unless(later(at, hold), now),
            Cause::Deadline(_) | Cause::Revoked | Cause::Shutdown | Cause::Hangup => Prospect::None,
        },
        State::Sweeping {
            after: then, began, ..
        } => after(then, began),
        State::Quitting {
            why: Why::Asked, ..
        }
        | State::Killing {
            after: After::Refill,
            ..
        } => Prospect::Soon,
        State::Quitting {
            why: Why::Unasked, ..
        }
        | State::Killing {
            after: After::Settle(..) | After::Rest,
            ..
        }
        | State::Overdue
        | State::Unwanted { .. }
        | State::Busy { .. }
        | State::Resting { .. }
        | State::Gone => Prospect::None,
    }
}

fn soon_unless(until: Instant, now: Instant) -> Prospect {
    if until > now {
        Prospect::SoonUnless(until)
    } else {
        Prospect::None
    }
}

/// Whether a slot is between an unasked death and its next process.
fn is_recovering(slot: &Slot) -> bool {
    match slot.state() {
        State::Overdue | State::Resting { .. } => true,
        State::Quitting { why, .. } => matches!(why, Why::Unasked),
        State::Killing { after, .. } | State::Sweeping { after, .. } => {
            matches!(after, After::Rest)
        }
        State::Vacant
        | State::Forking { .. }
        | State::Unwanted { .. }
        | State::Starting { .. }
        | State::Idle { .. }
        | State::Busy { .. }
        | State::Stopping { .. }
        | State::Gone => false,
    }
}

/// Profiles whose last process came as far as a job. The others are tried in one slot at a time: if
/// they never work, the slots are left to those that do.
#[derive(Debug)]
pub(super) struct Proven {
    /// A bit for each profile.
    bits: u64,
    /// Tried in all slots, come what may.
    usual: u16,
}

impl Proven {
    pub(super) const fn new(usual: u16) -> Self {
        Self { bits: 0, usual }
    }

    const fn has(&self, profile: u16) -> bool {
        profile == self.usual || self.bits >> (profile % 64) & 1 == 1
    }

    const fn worked(&mut self, profile: u16) {
        self.bits |= 1 << (profile % 64);
    }

    /// A process of it came to nothing before it had a job.
    pub(super) const fn failed(&mut self, profile: u16) {
        self.bits &= !(1 << (profile % 64));
    }
}

/// What is left for those who wait.
#[derive(Debug, Default)]
struct Left {
    idle: Vec<(usize, u16, Past)>,
    vacant: Vec<usize>,
    /// Profiles of the processes on their way.
    starting: Vec<u16>,
    soon: usize,
    /// Profiles whose last process died unasked before it had a job: no other process is given up for
    /// these, so that a profile that never works takes one slot and not all.
    recovering: Vec<u16>,
    /// Profiles that are being tried: in a slot already, or in one that a ticket of this walk takes.
    tried: Vec<u16>,
    /// When the next hope has to be given up.
    fades: Option<Instant>,
}

/// Where a ticket goes.
enum Place {
    Send(usize, Past),
    Spawn(usize),
    /// Replace this idle process.
    Replace(usize),
    /// As `Replace`, if none of the younger tickets can use an idle process.
    ReplaceLater,
    Wait,
    Hopeless,
}

impl Left {
    fn survey(slots: &[Slot], now: Instant, hold: Duration) -> Self {
        let mut left = Self::default();
        for (index, slot) in slots.iter().enumerate() {
            match prospect(slot, now, hold) {
                Prospect::Vacant => left.vacant.push(index),
                Prospect::Starting => {
                    left.starting.push(slot.profile());
                    left.tried.push(slot.profile());
                }
                Prospect::Idle(past) => left.idle.push((index, slot.profile(), past)),
                Prospect::Soon => left.soon += 1,
                Prospect::SoonUnless(until) => {
                    left.soon += 1;
                    left.fades = earlier(left.fades, until);
                }
                Prospect::None => {}
            }
            // What died after a job has shown that its profile works.
            if is_recovering(slot) && !slot.has_had_job() {
                left.recovering.push(slot.profile());
            }
        }
        left
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.vacant.is_empty() && self.starting.is_empty() && self.soon == 0
    }

    /// Takes the best that is left for `ticket`, which has waited for `waited`.
    fn take(
        &mut self,
        ticket: &Ticket,
        waited: Duration,
        hold: Duration,
        proven: &Proven,
    ) -> Place {
        if let Some((slot, past)) = self.take_idle(ticket) {
            return Place::Send(slot, past);
        }
        let profile = ticket.profile;
        if self.take_starting(|starting| starting == profile) {
            return Place::Wait;
        }
        if proven.has(profile) {
            return self.take_slot(profile, waited, hold);
        }
        if self.recovering.contains(&profile) {
            return Place::Hopeless;
        }
        if self.tried.contains(&profile) {
            return Place::Wait;
        }
        let place = self.take_slot(profile, waited, hold);
        if !matches!(place, Place::Hopeless) {
            self.tried.push(profile);
        }
        place
    }

    /// Takes what can be made a place for a process of `profile`.
    fn take_slot(&mut self, profile: u16, waited: Duration, hold: Duration) -> Place {
        if let Some(slot) = self.vacant.pop() {
            return Place::Spawn(slot);
        }
        if self.soon > 0 {
            self.soon -= 1;
            return Place::Wait;
        }
        if !self.idle.is_empty() && !self.recovering.contains(&profile) {
            // Younger tickets that fit may go first, but not for long.
            return match waited < hold / 2 {
                true => Place::ReplaceLater,
                false => self
                    .idle
                    .pop()
                    .map_or(Place::Hopeless, |(slot, ..)| Place::Replace(slot)),
            };
        }
        if self.take_starting(|_| true) {
            return Place::Wait;
        }
        Place::Hopeless
    }

    /// A process that has served the ticket's kind, else one that has served nothing.
    fn take_idle(&mut self, ticket: &Ticket) -> Option<(usize, Past)> {
        let mut fresh = None;
        for (index, &(slot, profile, past)) in self.idle.iter().enumerate() {
            if profile != ticket.profile {
                continue;
            }
            match past {
                Past::Served { kind, .. } if Some(kind) == ticket.kind => {
                    self.idle.swap_remove(index);
                    return Some((slot, past));
                }
                Past::Served { .. } => {}
                Past::Fresh => fresh = fresh.or(Some((index, slot, past))),
            }
        }
        let (index, slot, past) = fresh?;
        self.idle.swap_remove(index);
        Some((slot, past))
    }

    fn take_starting(&mut self, fits: impl Fn(u16) -> bool) -> bool {
        let found = self.starting.iter().position(|&profile| fits(profile));
        found
            .map(|index| self.starting.swap_remove(index))
            .is_some()
    }
}

/// One walk over those who wait.
#[derive(Debug)]
pub(super) struct Walk<'a, 'b> {
    pub slots: &'a mut [Slot],
    pub generation: &'a mut u64,
    pub proven: &'a mut Proven,
    pub turn: &'a mut Turn<'b>,
}

impl Walk<'_, '_> {
    /// Feeds, spawns and replaces processes for those who wait, and gives back who waits in vain.
    /// Returns when to look again, if nothing happens before.
    pub(super) fn plan(&mut self, waiting: &mut VecDeque<Waiting>) -> Option<Instant> {
        let (now, hold) = (self.turn.now, self.turn.limits.prefetch_hold);
        let mut left = Left::survey(self.slots, now, hold);
        let mut look_at = left.fades;
        let mut postponed = Vec::new();
        let mut index = 0;
        while let Some(&Waiting { ticket, since }) = waiting.get(index) {
            let waited = now.saturating_duration_since(since);
            let is_expired = ticket.expires.is_some_and(|expires| expires <= now);
            if left.is_empty() && waited < hold && !is_expired {
                // All behind this one are younger, and nothing is left for them either.
                look_at = earlier(look_at, later(since, hold));
                break;
            }
            let place = match is_expired {
                true => Place::Hopeless,
                false => left.take(&ticket, waited, hold, self.proven),
            };
            match place {
                Place::ReplaceLater => postponed.push(since),
                Place::Hopeless if is_expired || waited >= hold => {
                    self.turn.out.push(Action::Release(ticket.id));
                    waiting.remove(index);
                    continue;
                }
                Place::Hopeless => look_at = earlier(look_at, later(since, hold)),
                Place::Send(slot, past) => {
                    self.proven.worked(ticket.profile);
                    self.slots[slot].send(past, ticket, self.turn);
                    waiting.remove(index);
                    continue;
                }
                Place::Spawn(slot) => self.spawn(slot, ticket.profile),
                Place::Replace(slot) => self.slots[slot].quit(self.turn),
                Place::Wait => {}
            }
            index += 1;
            look_at = ticket
                .expires
                .map_or(look_at, |expires| earlier(look_at, expires));
        }
        for since in postponed {
            match left.idle.pop() {
                Some((slot, ..)) => self.slots[slot].quit(self.turn),
                None => look_at = earlier(look_at, later(since, hold)),
            }
        }
        look_at.filter(|_| !waiting.is_empty())
    }

    /// Orders a process of `profile` for each of `slots` that is vacant.
    pub(super) fn refill(&mut self, slots: Range<usize>, profile: u16) {
        for slot in slots {
            if matches!(self.slots[slot].state(), State::Vacant) {
                self.spawn(slot, profile);
            }
        }
    }

    fn spawn(&mut self, slot: usize, profile: u16) {
        *self.generation += 1;
        self.slots[slot].spawn(*self.generation, profile, self.turn);
    }
}

/// The earlier of the two.
fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}
