//! One group: a process that runs several jobs at once. Its [`Slot`] leads the process from start
//! to sweep and knows of no job; the rides are here.
//!
//! A thread cannot be killed. A ride that is to stop is asked to; its group takes nothing new
//! until it answers. If it has not by the end of its patience, the process is killed: its
//! neighbours, who had that long to finish, are given back uncounted.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::event::{Action, Answer, End, LinkEvent, Seat, Sweep, Ticket, TicketId};
use super::slot::{Refill, Slot, Turn};
use super::state::{After, Cause, Limit, Past, State, later};

/// A job in a group.
#[derive(Debug)]
pub(super) struct Ride {
    pub(super) ticket: Ticket,
    since: Instant,
    deadline: Instant,
    limit: Limit,
    course: Course,
}

#[derive(Debug, Clone, Copy)]
enum Course {
    Runs,
    /// Asked to stop; its process must have been rid of it by then.
    Stops {
        cause: Cause,
        kill_at: Instant,
    },
    /// The lease is lost: its process is killed without patience.
    Lost,
}

/// A place for one process after another, each with several jobs.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slot: Slot,
    pub(super) rides: Vec<Ride>,
    /// How the process went wrong, if nobody killed it: the fault of the one job in it, if there
    /// was one only.
    blame: Option<End>,
    /// Since when nobody rides in it.
    idle_since: Option<Instant>,
    /// Something of the process is left, perhaps for ever.
    is_left: bool,
}

impl Group {
    pub(super) fn new(slot: u16) -> Self {
        Self {
            slot: Slot::new(slot),
            rides: Vec::new(),
            blame: None,
            idle_since: None,
            is_left: false,
        }
    }

    pub(super) const fn seat(&self) -> Seat {
        self.slot.seat()
    }

    /// Whether its process listens, and may still answer.
    const fn is_alive(&self) -> bool {
        matches!(self.slot.state, State::Idle { .. })
    }

    /// Whether it takes jobs now.
    pub(super) fn is_open(&self) -> bool {
        let runs = |ride: &Ride| matches!(ride.course, Course::Runs);
        self.is_alive() && self.rides.iter().all(runs)
    }

    /// Whether it will take jobs soon.
    pub(super) const fn is_coming(&self) -> bool {
        matches!(
            self.slot.state,
            State::Forking { .. } | State::Starting { .. }
        )
    }

    /// Whether who waits for it has reason to: its process is there, or may come soon.
    pub(super) const fn is_able(&self) -> bool {
        !matches!(self.slot.state, State::Overdue | State::Resting { .. })
    }

    pub(super) const fn is_vacant(&self) -> bool {
        matches!(self.slot.state, State::Vacant)
    }

    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.slot.state, State::Gone)
    }

    /// Since when it could be done without.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
            .filter(|_| self.rides.is_empty() && self.is_open())
    }

    pub(super) fn has(&self, id: TicketId) -> bool {
        self.rides.iter().any(|ride| ride.ticket.id == id)
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let rides = self.rides.iter().filter(|_| self.is_alive());
        let due = rides.filter_map(|ride| match ride.course {
            Course::Runs => Some(ride.deadline),
            Course::Stops { kill_at, .. } => Some(kill_at),
            Course::Lost => None,
        });
        due.chain(self.slot.wake_at()).min()
    }

    /// Begins an attempt in a group that is open.
    pub(super) fn send(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        let timeout = turn.after(ticket.timeout);
        let (deadline, limit) = match ticket.expires {
            Some(expires) if expires < timeout => (expires, Limit::Life),
            Some(_) | None => (timeout, Limit::Attempt),
        };
        self.rides.push(Ride {
            ticket,
            since: turn.now,
            deadline,
            limit,
            course: Course::Runs,
        });
        turn.out.push(Action::Send(self.seat(), ticket.id));
    }

    /// Does `what` to the process.
    pub(super) fn lead(
        &mut self,
        turn: &mut Turn<'_>,
        what: impl FnOnce(&mut Slot, &mut Turn<'_>),
    ) {
        what(&mut self.slot, turn);
        match &mut self.slot.state {
            State::Sweeping { after, .. } | State::Killing { after, .. }
                // The jobs' own fault: the next process need not rest.
                if !self.rides.is_empty() =>
            {
                *after = After::Refill;
            }
            State::Idle { .. } if self.rides.is_empty() => {
                self.idle_since.get_or_insert(turn.now);
            }
            State::Vacant
            | State::Forking { .. }
            | State::Overdue
            | State::Unwanted { .. }
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Busy { .. }
            | State::Stopping { .. }
            | State::Quitting { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone => {}
        }
    }

    const fn is_dying(&self) -> bool {
        matches!(
            self.slot.state,
            State::Killing { .. } | State::Sweeping { .. }
        )
    }

    fn settle_if_over(&mut self, turn: &mut Turn<'_>) {
        if matches!(
            self.slot.state,
            State::Vacant | State::Resting { .. } | State::Gone
        ) {
            self.settle(turn);
        }
    }

    /// The process said or did something, but for an answer.
    pub(super) fn link(&mut self, event: LinkEvent, turn: &mut Turn<'_>) {
        let end = match event {
            LinkEvent::Violation => Some(End::Protocol),
            LinkEvent::Hangup | LinkEvent::Exited => Some(End::Crashed),
            // An answer to no call is a lie, which the slot punishes; so is a second Ready.
            LinkEvent::Ready | LinkEvent::Done(_) => None,
        };
        self.blame = self.blame.or(end);
        self.lead(turn, |slot, turn| slot.link(event, turn));
        if let State::Quitting { kill_at, .. } = &mut self.slot.state {
            // It hung up: no job in it may be there longer than if it had not.
            let last = |ride: &Ride| later(ride.deadline, ride.ticket.patience);
            let soonest = self.rides.iter().map(last).min();
            *kill_at = soonest.map_or(*kill_at, |soonest| soonest.min(*kill_at));
        }
    }

    /// A job was answered.
    pub(super) fn answered(&mut self, id: TicketId, answer: Answer, turn: &mut Turn<'_>) {
        let index = self.rides.iter().position(|ride| ride.ticket.id == id);
        let Some(index) = index.filter(|_| self.is_alive()) else {
            return;
        };
        let ride = self.rides.swap_remove(index);
        let end = match (ride.course, answer) {
            (Course::Lost, _) => End::Forgotten,
            (
                Course::Stops {
                    cause: Cause::Revoked,
                    ..
                },
                _,
            ) => End::Revoked,
            (_, Answer::Returned) => End::Returned,
            (Course::Stops { cause, .. }, Answer::Failed) => cause.if_exited(),
            (Course::Runs, Answer::Failed) => End::Failed,
        };
        turn.recent
            .note(turn.now, turn.now.saturating_duration_since(ride.since));
        self.slot.throttle.recovered();
        self.slot.finish(id, end, turn);
        if self.rides.is_empty() {
            self.idle_since = Some(turn.now);
            if turn.refill == Refill::No {
                self.slot.drain(turn);
            }
        }
    }

    pub(super) fn revoke(&mut self, id: TicketId, turn: &mut Turn<'_>) {
        self.stop(|ride| ride.ticket.id == id, |_| Cause::Revoked, turn);
    }

    /// The process goes at once, and with it everybody in it.
    pub(super) fn lose(&mut self, id: TicketId, turn: &mut Turn<'_>) {
        if let Some(ride) = self.rides.iter_mut().find(|ride| ride.ticket.id == id) {
            ride.course = Course::Lost;
            self.kill(turn);
        }
    }

    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        let was_dying = self.is_dying();
        let is_leaving = matches!(self.slot.state, State::Quitting { .. });
        self.lead(turn, |slot, turn| slot.tick(turn));
        if was_dying && self.is_gone() {
            self.is_left = true;
        }
        if is_leaving && self.is_dying() {
            // It hung up and stayed.
            self.blame = Some(End::Protocol);
        }
        self.settle_if_over(turn);
        if !self.is_alive() {
            // What dies before a job's deadline is not to be held against the job.
            return;
        }
        let now = turn.now;
        self.stop(
            |ride| ride.deadline <= now,
            |ride| Cause::Deadline(ride.limit),
            turn,
        );
        let is_spent =
            |ride: &Ride| matches!(ride.course, Course::Stops { kill_at, .. } if kill_at <= now);
        if self.rides.iter().any(is_spent) {
            self.kill(turn);
        }
    }

    /// Nothing new: it goes when the last job has.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>) {
        if self.rides.is_empty() {
            self.lead(turn, Slot::drain);
        }
    }

    /// Nobody may ride on.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        self.drain(turn);
        self.stop(|_| true, |_| Cause::Shutdown, turn);
        self.lead(turn, Slot::close);
    }

    /// Asks those who run and of whom `which` is true to stop. A revocation overrules the others.
    fn stop(
        &mut self,
        which: impl Fn(&Ride) -> bool,
        why: impl Fn(&Ride) -> Cause,
        turn: &mut Turn<'_>,
    ) {
        let seat = self.seat();
        let is_alive = self.is_alive();
        for ride in self.rides.iter_mut().filter(|ride| which(ride)) {
            let cause = why(ride);
            match &mut ride.course {
                Course::Runs => {
                    let kill_at = later(turn.now.min(ride.deadline), ride.ticket.patience);
                    ride.course = Course::Stops { cause, kill_at };
                    if is_alive {
                        turn.out.push(Action::Halt(seat, ride.ticket.id));
                    }
                }
                Course::Stops { cause: first, .. } => {
                    if matches!(cause, Cause::Revoked) {
                        *first = cause;
                    }
                }
                Course::Lost => {}
            }
        }
    }

    fn kill(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.slot.state, State::Idle { .. } | State::Quitting { .. }) {
            self.lead(turn, |slot, turn| {
                slot.state = slot.kill(After::Refill, turn)
            });
        }
    }

    /// Nothing is left of the process, or something for ever: the rides end.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        self.idle_since = None;
        let blame = self.blame.take();
        let is_alone = self.rides.len() == 1;
        let is_left = self.is_left;
        for ride in std::mem::take(&mut self.rides) {
            let end = match (ride.course, blame) {
                (Course::Lost, _) => End::Forgotten,
                _ if is_left => End::Unkillable,
                (Course::Stops { cause, .. }, _) => cause.if_killed(),
                (Course::Runs, Some(end)) if is_alone => end,
                (Course::Runs, _) => End::Displaced,
            };
            self.slot.finish(ride.ticket.id, end, turn);
        }
    }

    /// The sweep has come so far.
    pub(super) fn swept(&mut self, sweep: Sweep, turn: &mut Turn<'_>) {
        self.is_left |= sweep == Sweep::Unkillable && self.is_dying();
        self.lead(turn, |slot, turn| slot.swept(sweep, turn));
        self.settle_if_over(turn);
    }

    /// Orders the next process. For vacant groups.
    pub(super) fn spawn(&mut self, generation: u64, profile: u16, turn: &mut Turn<'_>) {
        self.slot.spawn(generation, profile, turn);
    }

    /// Asks a process that nobody rides in to go.
    pub(super) fn prune(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.slot.state, State::Idle { past: Past::Fresh }) {
            self.slot.quit(turn);
        }
    }
}
