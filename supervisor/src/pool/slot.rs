//! One slot: a place for one process after another. All transitions are here.

#![forbid(unsafe_code)]

use std::mem;
use std::time::{Duration, Instant};

use super::event::{Action, Actions, End, Force, Limits, Seat, Sweep, Ticket, TicketId};
use super::rest::Throttle;
use super::room::Recent;
use super::state::{After, Cause, Heard, Limit, Past, State, Why, Work, later};

/// What a slot may know and touch during one step.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub now: Instant,
    pub limits: &'a Limits,
    /// Whether vacant slots get new processes.
    pub refill: Refill,
    pub recent: &'a mut Recent,
    pub out: &'a mut Actions,
}

impl Turn<'_> {
    pub(super) fn after(&self, length: Duration) -> Instant {
        later(self.now, length)
    }
}

/// Whether vacant slots get new processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refill {
    Yes,
    /// The pool stops.
    No,
}

/// Which comes first: the end of the attempt's time, or of the job's life.
fn limited(timeout: Instant, ticket: &Ticket) -> (Instant, Limit) {
    match ticket.expires {
        Some(expires) if expires < timeout => (expires, Limit::Life),
        Some(_) | None => (timeout, Limit::Attempt),
    }
}

/// A place for one process.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seat: Seat,
    profile: u16,
    /// Whether its process came as far as a job.
    has_had_job: bool,
    pub(super) throttle: Throttle,
    pub(super) state: State,
}

impl Slot {
    pub(super) fn new(slot: u16) -> Self {
        Self {
            seat: Seat {
                slot,
                generation: 0,
            },
            profile: 0,
            has_had_job: false,
            throttle: Throttle::default(),
            state: State::Vacant,
        }
    }

    pub(super) const fn seat(&self) -> Seat {
        self.seat
    }

    pub(super) const fn profile(&self) -> u16 {
        self.profile
    }

    pub(super) const fn has_had_job(&self) -> bool {
        self.has_had_job
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    pub(super) const fn is_troubled(&self) -> bool {
        self.throttle.is_troubled()
    }

    /// The job that has not left this slot yet.
    pub(super) const fn ticket(&self) -> Option<TicketId> {
        match &self.state {
            State::Busy { work, .. } => Some(work.ticket.id),
            State::Stopping { ticket, .. } => Some(*ticket),
            State::Killing { after, .. } | State::Sweeping { after, .. } => after.ticket(),
            State::Vacant
            | State::Forking { .. }
            | State::Overdue
            | State::Unwanted { .. }
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Quitting { .. }
            | State::Resting { .. }
            | State::Gone => None,
        }
    }

    /// When this slot needs a tick.
    pub(super) const fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Vacant | State::Overdue | State::Idle { .. } | State::Gone => None,
            State::Forking { ready_by, .. } | State::Starting { ready_by } => Some(ready_by),
            State::Busy { deadline, .. } => Some(deadline),
            State::Stopping { kill_at, .. } | State::Quitting { kill_at, .. } => Some(kill_at),
            State::Unwanted { give_up_at }
            | State::Killing { give_up_at, .. }
            | State::Sweeping { give_up_at, .. } => Some(give_up_at),
            State::Resting { until } => Some(until),
        }
    }

    /// Orders the next process. For vacant slots.
    pub(super) fn spawn(&mut self, generation: u64, profile: u16, turn: &mut Turn<'_>) {
        self.seat.generation = generation;
        self.profile = profile;
        self.has_had_job = false;
        self.state = State::Forking {
            ready_by: turn.after(turn.limits.ready_within),
            heard: Heard::Nothing,
        };
        turn.out.push(Action::Spawn(self.seat, profile));
    }

    /// Begins an attempt in a process that waits, and has run `past`.
    pub(super) fn send(&mut self, past: Past, ticket: Ticket, turn: &mut Turn<'_>) {
        let (deadline, limit) = limited(turn.after(ticket.timeout), &ticket);
        let work = Work {
            ticket,
            since: turn.now,
            served: past.count(),
        };
        self.has_had_job = true;
        self.state = State::Busy {
            work,
            deadline,
            limit,
        };
        turn.out.push(Action::Send(self.seat, ticket.id));
    }

    /// Asks a process without a job to exit. For processes that are there.
    pub(super) fn quit(&mut self, turn: &mut Turn<'_>) {
        self.state = self.quitting(turn);
    }

    /// The process is there.
    pub(super) fn spawned(&mut self, turn: &mut Turn<'_>) {
        self.state = match self.take() {
            State::Forking { ready_by, heard } => match heard {
                Heard::Nothing => State::Starting { ready_by },
                Heard::Ready => State::Idle { past: Past::Fresh },
                Heard::Nonsense => self.kill(After::Rest, turn),
            },
            State::Overdue => self.kill(After::Rest, turn),
            State::Unwanted { .. } => self.quitting(turn),
            // A confirmation that comes twice, or after the exit, tells nothing new. One that comes
            // after a stopping pool gave up is too late: the supervisor's own end ends the process.
            other @ (State::Vacant
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Busy { .. }
            | State::Stopping { .. }
            | State::Quitting { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone) => other,
        };
    }

    /// There will be no process for this seat.
    pub(super) fn spawn_failed(&mut self, turn: &mut Turn<'_>) {
        self.state = match self.take() {
            State::Forking { .. } | State::Overdue => self.vacate(After::Rest, turn),
            State::Unwanted { .. } => State::Gone,
            other @ (State::Vacant
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Busy { .. }
            | State::Stopping { .. }
            | State::Quitting { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone) => other,
        };
    }

    /// The sweep has come so far.
    pub(super) fn swept(&mut self, sweep: Sweep, turn: &mut Turn<'_>) {
        if let State::Sweeping { after, began, .. } = self.state {
            self.state = match sweep {
                Sweep::Files => State::Sweeping {
                    after,
                    began,
                    give_up_at: turn.after(turn.limits.clear_within),
                },
                Sweep::Clean => self.vacate(after, turn),
                Sweep::Unkillable => self.retire(after, turn),
            };
        }
    }

    /// A user revoked the job in this slot.
    pub(super) fn revoked(&mut self, turn: &mut Turn<'_>) {
        match &mut self.state {
            State::Busy { work, deadline, .. } => {
                let (work, deadline) = (*work, *deadline);
                self.state = self.stop(work, deadline, Cause::Revoked, turn);
            }
            State::Stopping { cause, .. } => *cause = Cause::Revoked,
            State::Killing { after, .. } | State::Sweeping { after, .. } => after.revoke(),
            State::Vacant
            | State::Forking { .. }
            | State::Overdue
            | State::Unwanted { .. }
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Quitting { .. }
            | State::Resting { .. }
            | State::Gone => {}
        }
    }

    /// The job in this slot has so long from now on, whatever it had before; but no longer than it lives.
    pub(super) fn timed(&mut self, left: Option<Duration>, turn: &Turn<'_>) {
        if let State::Busy {
            work,
            deadline,
            limit,
        } = &mut self.state
        {
            let timeout = turn.after(left.unwrap_or(Duration::MAX));
            (*deadline, *limit) = limited(timeout, &work.ticket);
        }
    }

    /// The right to the job in this slot is gone. An ending that is already known is left for the
    /// store to accept or refuse.
    pub(super) fn lease_lost(&mut self, turn: &mut Turn<'_>) {
        match &mut self.state {
            State::Busy { work, .. } => {
                let after = After::Settle(work.ticket.id, End::Forgotten);
                self.state = self.kill(after, turn);
            }
            State::Stopping { ticket, cause, .. } => {
                let end = match cause {
                    // Also what it left running must not meet the next attempt.
                    Cause::Answered { .. } => cause.if_killed(),
                    Cause::Deadline(_) | Cause::Revoked | Cause::Shutdown | Cause::Hangup => {
                        End::Forgotten
                    }
                };
                let after = After::Settle(*ticket, end);
                self.state = self.kill(after, turn);
            }
            State::Killing { after, .. } => after.forget(),
            State::Vacant
            | State::Forking { .. }
            | State::Overdue
            | State::Unwanted { .. }
            | State::Starting { .. }
            | State::Idle { .. }
            | State::Quitting { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone => {}
        }
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.wake_at().is_none_or(|due| due > turn.now) {
            return;
        }
        self.state = match self.take() {
            State::Forking { .. } => State::Overdue,
            State::Starting { .. } => self.kill(After::Rest, turn),
            State::Busy {
                work,
                deadline,
                limit,
            } => self.stop(work, deadline, Cause::Deadline(limit), turn),
            State::Stopping { ticket, cause, .. } => {
                self.kill(After::Settle(ticket, cause.if_killed()), turn)
            }
            State::Quitting { why, .. } => self.kill(why.after(), turn),
            State::Killing { after, .. } | State::Sweeping { after, .. } => {
                self.retire(after, turn)
            }
            State::Unwanted { .. } => State::Gone,
            State::Resting { .. } => State::Vacant,
            other @ (State::Vacant | State::Overdue | State::Idle { .. } | State::Gone) => other,
        };
    }

    /// The pool takes nothing new: only a job may keep a process.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>) {
        self.state = match self.take() {
            State::Vacant | State::Resting { .. } | State::Gone => State::Gone,
            State::Forking { .. } | State::Overdue => State::Unwanted {
                give_up_at: turn.after(turn.limits.kill_within),
            },
            State::Starting { .. } | State::Idle { .. } => self.quitting(turn),
            other @ (State::Unwanted { .. }
            | State::Busy { .. }
            | State::Stopping { .. }
            | State::Quitting { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }) => other,
        };
    }

    /// The pool stops now: no job may keep a process either.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        let soon = turn.after(turn.limits.kill_within);
        if let State::Busy { work, deadline, .. } = &self.state {
            self.state = self.stop(*work, *deadline, Cause::Shutdown, turn);
        } else if let State::Sweeping { give_up_at, .. } = &mut self.state {
            *give_up_at = soon.min(*give_up_at);
        }
    }

    /// SIGTERM now, SIGKILL after the patience; never later than deadline and patience.
    fn stop(&self, work: Work, deadline: Instant, cause: Cause, turn: &mut Turn<'_>) -> State {
        turn.out.push(Action::Signal(self.seat, Force::Term));
        State::Stopping {
            ticket: work.ticket.id,
            cause,
            kill_at: later(turn.now.min(deadline), work.ticket.patience),
        }
    }

    pub(super) fn quitting(&self, turn: &mut Turn<'_>) -> State {
        turn.out.push(Action::Quit(self.seat));
        State::Quitting {
            why: Why::Asked,
            kill_at: turn.after(turn.limits.exit_within),
        }
    }

    pub(super) fn kill(&self, after: After, turn: &mut Turn<'_>) -> State {
        turn.out.push(Action::Signal(self.seat, Force::Kill));
        State::Killing {
            after,
            give_up_at: turn.after(turn.limits.kill_within),
        }
    }

    /// Nothing is left of the process.
    fn vacate(&mut self, after: After, turn: &mut Turn<'_>) -> State {
        match after {
            After::Settle(ticket, end) => self.finish(ticket, end, turn),
            After::Refill => {}
            After::Rest => {
                let rest = self.throttle.died(turn.limits);
                if turn.refill == Refill::Yes {
                    return State::Resting {
                        until: turn.after(rest),
                    };
                }
            }
        }
        match turn.refill {
            Refill::Yes => State::Vacant,
            Refill::No => State::Gone,
        }
    }

    /// Something of the process is left, perhaps for ever: the slot is not used again.
    fn retire(&self, after: After, turn: &mut Turn<'_>) -> State {
        match after {
            After::Settle(ticket, End::Forgotten) => self.finish(ticket, End::Forgotten, turn),
            After::Settle(ticket, _) => self.finish(ticket, End::Unkillable, turn),
            After::Refill | After::Rest => {}
        }
        State::Gone
    }

    pub(super) fn finish(&self, ticket: TicketId, end: End, turn: &mut Turn<'_>) {
        let seat = self.seat;
        turn.out.push(Action::Finish { ticket, seat, end });
    }

    /// The state, to be replaced within the same step.
    pub(super) fn take(&mut self) -> State {
        mem::replace(&mut self.state, State::Gone)
    }
}
