//! Slots and their lives: which process is started, fed, signalled, killed, and when.
//!
//! Pure: `(state, input, now) -> actions`. No clock, no I/O, no threads, no logging. Runs on the
//! reactor's thread, which performs the actions in order and reports what came of them. `now` must
//! not go backwards. Inputs of an old generation are ignored.
//!
//! `Vacant -> Forking -> Starting -> Idle -> Busy -> Stopping -> Killing -> Sweeping -> Vacant`, and
//! `Resting` after a process that died unasked, `Gone` when drained or retired. A job's ending is
//! said after the sweep of its process, or at once if the process goes on to another job.

#![forbid(unsafe_code)]

mod event;
mod group;
mod groups;
mod link;
mod plan;
mod pools;
mod rest;
mod room;
mod slot;
mod state;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) use event::{
    Action, Actions, Answer, End, Force, How, Input, Lane, Limits, LinkEvent, Seat, Snapshot,
    Sweep, Ticket, TicketId,
};
use groups::{Groups, Step};
use plan::{Prospect, Proven, Waiting, Walk, prospect};
pub(crate) use pools::Pools;
use room::Recent;
use slot::{Refill, Slot, Turn};
use state::{State, later};

/// All slots, and the tickets that wait for one.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    default_profile: u16,
    /// As many as the limits say, for ever.
    slots: Vec<Slot>,
    /// The number of the first one.
    first: u16,
    /// When processes are started.
    start: Start,
    /// Oldest first. As many as were offered: [`Pool::room`] keeps that bounded.
    waiting: VecDeque<Waiting>,
    recent: Recent,
    proven: Proven,
    groups: Groups,
    phase: Phase,
    /// The newest process's.
    generation: u64,
    /// When those who wait have to be looked at again.
    look_at: Option<Instant>,
}

/// When processes are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Before there is a job, so that none waits for one.
    Ahead,
    /// When there is a job: a process that waits is memory that is not used.
    OnDemand,
}

/// Processes that are started on demand count from here, so that no two pools have a process of the
/// same generation.
const ON_DEMAND: u64 = 1 << 43;

/// How far the pool has stopped. It only goes forward.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Open,
    /// Jobs may run on until then.
    Draining {
        until: Instant,
    },
    Closing,
}

impl Pool {
    /// A pool whose slots are all vacant. The first `Tick` fills them.
    pub(crate) fn new(limits: Limits, default_profile: u16) -> Self {
        Self {
            limits,
            default_profile,
            slots: (0..limits.slots).map(Slot::new).collect(),
            first: 0,
            start: Start::Ahead,
            waiting: VecDeque::new(),
            recent: Recent::new(&limits),
            proven: Proven::new(default_profile),
            groups: Groups::new(&limits, default_profile),
            phase: Phase::Open,
            generation: 0,
            look_at: None,
        }
    }

    /// A pool without groups whose slots are numbered from `first`, and whose processes are started
    /// when there is a job for them.
    pub(crate) fn on_demand(limits: Limits, default_profile: u16, first: u16) -> Self {
        let limits = Limits {
            groups: 0,
            ..limits
        };
        Self {
            slots: (first..first + limits.slots).map(Slot::new).collect(),
            first,
            start: Start::OnDemand,
            generation: ON_DEMAND,
            ..Self::new(limits, default_profile)
        }
    }

    /// Changes how long a drain and a process that was asked to exit may take, from now on.
    pub(crate) const fn adjust(&mut self, grace: Duration, exit_within: Duration) {
        self.limits.grace = grace;
        self.limits.exit_within = exit_within;
    }

    /// Takes one input and appends what is to be done about it to `out`.
    pub(crate) fn step(&mut self, now: Instant, input: Input, out: &mut Actions) {
        if self.is_of_groups(&input) {
            self.step_groups(now, &input, out);
        } else {
            self.step_slots(now, input, out);
        }
        let is_spent = self.slots_are_gone() || self.groups.are_spent();
        if self.limits.groups > 0 && !self.is_draining() && is_spent {
            // As without groups: nothing new, and the end when those who run have ended.
            self.stop(How::Drain, now, out);
        }
    }

    fn step_slots(&mut self, now: Instant, input: Input, out: &mut Actions) {
        match input {
            Input::Offered(tickets) => {
                for ticket in tickets {
                    match ticket.lane {
                        Lane::Process => self.waiting.push_back(Waiting { ticket, since: now }),
                        Lane::Thread | Lane::Async | Lane::Main => self.groups.offer(ticket, now),
                    }
                }
                self.step_groups(now, &Input::Offered(Vec::new()), out);
            }
            // Slots have one job each, and hear of its end as a link's.
            Input::Answered(..) => {}
            Input::Spawned(seat) => return self.at(seat, now, out, Slot::spawned),
            Input::SpawnFailed(seat) => return self.at(seat, now, out, Slot::spawn_failed),
            Input::Link(seat, event) => {
                return self.at(seat, now, out, |slot, turn| slot.link(event, turn));
            }
            Input::Swept(seat, sweep) => {
                return self.at(seat, now, out, |slot, turn| slot.swept(sweep, turn));
            }
            Input::Revoked(id) => match self.take_waiting(id) {
                // The store turns the release of a revoked job into its ending.
                Some(_) => out.push(Action::Release(id)),
                None => self.at_ticket(id, now, out, Slot::revoked),
            },
            Input::LeaseLost(id) => match self.take_waiting(id) {
                Some(_) => out.push(Action::Forget(id)),
                None => self.at_ticket(id, now, out, Slot::lease_lost),
            },
            Input::Timed(id, left) => {
                self.at_ticket(id, now, out, |slot, turn| slot.timed(left, turn));
            }
            Input::Stop(how) => self.stop(how, now, out),
            Input::Tick => {
                self.tick(now, out);
                self.step_groups(now, &Input::Tick, out);
            }
        }
        self.plan(now, out);
    }

    fn is_of_groups(&self, input: &Input) -> bool {
        match input {
            Input::Spawned(seat)
            | Input::SpawnFailed(seat)
            | Input::Link(seat, _)
            | Input::Answered(seat, ..)
            | Input::Swept(seat, _) => self.limits.groups > 0 && seat.slot >= self.limits.slots,
            Input::Revoked(id) | Input::LeaseLost(id) => self.groups.has(*id),
            // What is given one thing after another has a process of its own.
            Input::Timed(..) | Input::Offered(_) | Input::Stop(_) | Input::Tick => false,
        }
    }

    fn step_groups(&mut self, now: Instant, input: &Input, out: &mut Actions) {
        let refill = self.refill();
        let limits = &self.limits;
        let generation = &mut self.generation;
        self.groups
            .step(input, refill, generation, Step { now, limits, out });
    }

    /// How many more tickets of a group's lane the pool can use; see [`Pool::room`].
    pub(crate) fn room_in_groups(&self, lane: Lane, now: Instant) -> usize {
        match self.phase {
            Phase::Open => self.groups.room(lane, &self.limits, now),
            Phase::Draining { .. } | Phase::Closing => 0,
        }
    }

    /// When to send a `Tick`, if nothing else happens before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let grace = match self.phase {
            Phase::Draining { until } if !self.is_gone() => Some(until),
            Phase::Draining { .. } | Phase::Open | Phase::Closing => None,
        };
        let slots = self.slots.iter().filter_map(Slot::wake_at).min();
        [grace, slots, self.look_at, self.groups.wake_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// How many more tickets the pool can use.
    ///
    /// That is one for each slot with an idle process, or with one on its way, or whose process is
    /// just leaving; none for a slot whose process died unasked until the next one is ready; then
    /// as many as short jobs ended just now; less those that wait already.
    pub(crate) fn room(&self, now: Instant) -> usize {
        match self.phase {
            Phase::Open => {}
            Phase::Draining { .. } | Phase::Closing => return 0,
        }
        let hold = self.limits.prefetch_hold;
        let is_free = |slot: &&Slot| match prospect(slot, now, hold) {
            Prospect::Vacant | Prospect::Starting => !slot.is_troubled(),
            Prospect::Idle(_) | Prospect::Soon | Prospect::SoonUnless(_) => true,
            Prospect::None => false,
        };
        let free = self.slots.iter().filter(is_free).count();
        let (ahead, waiting) = (self.recent.prefetch(now), self.waiting.len());
        // In batches: while most of those ahead are still there, the next can wait.
        if waiting > free + ahead - ahead / 4 {
            return 0;
        }
        (free + ahead).saturating_sub(waiting)
    }

    /// Whether no slot and no group will ever have a process again.
    pub(crate) fn is_gone(&self) -> bool {
        self.slots_are_gone() && self.groups.is_gone()
    }

    fn slots_are_gone(&self) -> bool {
        let is_gone = |slot: &Slot| matches!(slot.state(), State::Gone);
        self.slots.iter().all(is_gone)
    }

    /// Whether the pool has been told to stop.
    pub(crate) const fn is_draining(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Draining { .. } | Phase::Closing => true,
        }
    }

    /// The pool at a glance.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut counts = Snapshot {
            waiting: self.waiting.len(),
            ..Snapshot::default()
        };
        for slot in &self.slots {
            *match slot.state() {
                State::Vacant | State::Forking { .. } | State::Overdue | State::Starting { .. } => {
                    &mut counts.starting
                }
                State::Idle { .. } => &mut counts.idle,
                State::Busy { .. } | State::Stopping { .. } => &mut counts.busy,
                State::Killing { .. } | State::Sweeping { .. } if slot.ticket().is_some() => {
                    &mut counts.busy
                }
                State::Killing { .. }
                | State::Sweeping { .. }
                | State::Quitting { .. }
                | State::Unwanted { .. } => &mut counts.leaving,
                State::Resting { .. } => &mut counts.resting,
                State::Gone => &mut counts.gone,
            } += 1;
        }
        self.groups.count(&mut counts);
        counts
    }

    /// Does `what` in the slot of `seat`, unless another process sits there by now.
    fn at(
        &mut self,
        seat: Seat,
        now: Instant,
        out: &mut Actions,
        what: impl FnOnce(&mut Slot, &mut Turn<'_>),
    ) {
        let Some(index) = seat.slot.checked_sub(self.first).map(usize::from) else {
            return;
        };
        let (slots, mut turn) = self.turn(now, out);
        let Some(slot) = slots.get_mut(index).filter(|slot| slot.seat() == seat) else {
            return;
        };
        what(slot, &mut turn);
        // One that died after a job tells nothing about its profile.
        let is_failed = matches!(slot.state(), State::Resting { .. }) && !slot.has_had_job();
        let profile = slot.profile();
        if is_failed {
            self.proven.failed(profile);
        }
        self.plan_at(index, now, out);
    }

    fn at_ticket(
        &mut self,
        id: TicketId,
        now: Instant,
        out: &mut Actions,
        what: impl FnOnce(&mut Slot, &mut Turn<'_>),
    ) {
        let (slots, mut turn) = self.turn(now, out);
        if let Some(slot) = slots.iter_mut().find(|slot| slot.ticket() == Some(id)) {
            what(slot, &mut turn);
        }
    }

    fn take_waiting(&mut self, id: TicketId) -> Option<Waiting> {
        let index = self.waiting.iter().position(|one| one.ticket.id == id)?;
        self.waiting.remove(index)
    }

    fn stop(&mut self, how: How, now: Instant, out: &mut Actions) {
        match (self.phase, how) {
            (Phase::Open, How::Drain) => {
                let until = later(now, self.limits.grace);
                self.phase = Phase::Draining { until };
                self.each(now, out, Slot::drain);
                let limits = &self.limits;
                self.groups.drain(Step { now, limits, out });
                self.step_groups(now, &Input::Offered(Vec::new()), out);
            }
            (Phase::Open, How::Now) | (Phase::Draining { .. }, How::Drain | How::Now) => {
                self.close(now, out);
            }
            (Phase::Closing, How::Drain | How::Now) => {}
        }
    }

    fn close(&mut self, now: Instant, out: &mut Actions) {
        self.phase = Phase::Closing;
        self.each(now, out, |slot, turn| {
            slot.drain(turn);
            slot.close(turn);
        });
        let limits = &self.limits;
        self.groups.close(Step { now, limits, out });
        self.step_groups(now, &Input::Offered(Vec::new()), out);
    }

    fn tick(&mut self, now: Instant, out: &mut Actions) {
        self.each(now, out, Slot::tick);
        if let Phase::Draining { until } = self.phase
            && until <= now
        {
            self.close(now, out);
        }
    }

    fn each(&mut self, now: Instant, out: &mut Actions, what: impl Fn(&mut Slot, &mut Turn<'_>)) {
        let (slots, mut turn) = self.turn(now, out);
        for slot in slots {
            what(slot, &mut turn);
        }
    }

    /// After something in one slot: as [`Pool::plan`], but quick when nobody waits.
    fn plan_at(&mut self, index: usize, now: Instant, out: &mut Actions) {
        if self.waiting.is_empty() {
            self.look_at = None;
            if self.start == Start::Ahead {
                self.walk(now, out, |walk, _, profile| {
                    walk.refill(index..index + 1, profile);
                });
            }
        } else {
            self.plan(now, out);
        }
    }

    /// Serves those who wait, then fills what is still vacant.
    fn plan(&mut self, now: Instant, out: &mut Actions) {
        if self.is_draining() || self.slots_are_gone() {
            self.look_at = None;
            let ids = self.waiting.drain(..).map(|one| one.ticket.id);
            ids.for_each(|id| out.push(Action::Release(id)));
            return;
        }
        let start = self.start;
        self.look_at = self.walk(now, out, |walk, waiting, profile| {
            let look_at = match waiting.is_empty() {
                true => None,
                false => walk.plan(waiting),
            };
            if start == Start::Ahead {
                walk.refill(0..walk.slots.len(), profile);
            }
            look_at
        });
    }

    fn walk<T>(
        &mut self,
        now: Instant,
        out: &mut Actions,
        what: impl FnOnce(&mut Walk<'_, '_>, &mut VecDeque<Waiting>, u16) -> T,
    ) -> T {
        let refill = self.refill();
        let mut turn = Turn {
            now,
            limits: &self.limits,
            refill,
            recent: &mut self.recent,
            out,
        };
        let mut walk = Walk {
            slots: &mut self.slots,
            generation: &mut self.generation,
            proven: &mut self.proven,
            turn: &mut turn,
        };
        what(&mut walk, &mut self.waiting, self.default_profile)
    }

    fn turn<'a>(&'a mut self, now: Instant, out: &'a mut Actions) -> (&'a mut [Slot], Turn<'a>) {
        let refill = self.refill();
        let turn = Turn {
            now,
            limits: &self.limits,
            refill,
            recent: &mut self.recent,
            out,
        };
        (&mut self.slots, turn)
    }

    const fn refill(&self) -> Refill {
        match self.is_draining() {
            true => Refill::No,
            false => Refill::Yes,
        }
    }
}
