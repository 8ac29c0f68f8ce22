//! What a slot makes of the words and deeds of its process.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::event::{Action, Answer, End, LinkEvent};
use super::slot::{Refill, Slot, Turn};
use super::state::{After, Cause, Heard, Late, Past, State, Why, Work, later};

impl Slot {
    /// The process said or did something.
    pub(super) fn link(&mut self, event: LinkEvent, turn: &mut Turn<'_>) {
        let state = self.take();
        self.state = match event {
            LinkEvent::Ready => self.ready(state, turn),
            LinkEvent::Done(answer) => self.done(state, answer, turn),
            LinkEvent::Violation => self.violation(state, turn),
            LinkEvent::Hangup => self.hangup(state, turn),
            LinkEvent::Exited => self.exited(state, turn),
        };
    }

    fn ready(&mut self, state: State, turn: &mut Turn<'_>) -> State {
        match state {
            State::Forking { ready_by, heard } => State::Forking {
                ready_by,
                heard: match heard {
                    Heard::Nothing => Heard::Ready,
                    Heard::Ready | Heard::Nonsense => Heard::Nonsense,
                },
            },
            State::Starting { .. } => State::Idle { past: Past::Fresh },
            // It may have been asked to quit before it was ready.
            State::Quitting { .. } => state,
            other => self.violation(other, turn),
        }
    }

    fn done(&mut self, state: State, answer: Answer, turn: &mut Turn<'_>) -> State {
        match state {
            State::Busy { work, deadline, .. } => self.answered(&work, deadline, answer, turn),
            State::Stopping {
                ticket,
                cause,
                kill_at,
            } => match cause.answered(answer, turn.now) {
                Late::Counts(cause) => {
                    // It was told to stop, so it is not used again, whatever its count.
                    turn.out.push(Action::Quit(self.seat));
                    let kill_at = kill_at.min(turn.after(turn.limits.exit_within));
                    State::Stopping {
                        ticket,
                        cause,
                        kill_at,
                    }
                }
                Late::Void => state,
                Late::Nonsense => self.violation(state, turn),
            },
            other => self.violation(other, turn),
        }
    }

    /// The answer came in time.
    fn answered(
        &mut self,
        work: &Work,
        deadline: Instant,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> State {
        let ran = turn.now.saturating_duration_since(work.since);
        turn.recent.note(turn.now, ran);
        self.throttle.recovered();
        let end = match answer {
            Answer::Returned => End::Returned,
            Answer::Failed => End::Failed,
        };
        let count = work.served.saturating_add(1);
        let most = turn.limits.jobs_of(self.profile());
        if most != 0 && count >= most {
            let last = later(deadline, work.ticket.patience);
            return State::Stopping {
                ticket: work.ticket.id,
                cause: Cause::Answered { end, at: turn.now },
                kill_at: turn.after(turn.limits.exit_within).min(last),
            };
        }
        self.finish(work.ticket.id, end, turn);
        match (turn.refill, work.ticket.kind) {
            (Refill::Yes, Some(kind)) => State::Idle {
                past: Past::Served { count, kind },
            },
            _ => self.quitting(turn),
        }
    }

    fn violation(&mut self, state: State, turn: &mut Turn<'_>) -> State {
        match state {
            State::Forking { ready_by, .. } => State::Forking {
                ready_by,
                heard: Heard::Nonsense,
            },
            State::Starting { .. } | State::Idle { .. } | State::Quitting { .. } => {
                self.kill(After::Rest, turn)
            }
            State::Busy { work, .. } => {
                self.kill(After::Settle(work.ticket.id, End::Protocol), turn)
            }
            // It was being stopped anyway: the first cause stands, only the kill comes sooner.
            State::Stopping { ticket, cause, .. } => {
                self.kill(After::Settle(ticket, cause.if_killed()), turn)
            }
            // Nobody listens to these any more.
            other @ (State::Vacant
            | State::Overdue
            | State::Unwanted { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone) => other,
        }
    }

    fn hangup(&mut self, state: State, turn: &mut Turn<'_>) -> State {
        match state {
            State::Forking { ready_by, .. } => State::Forking {
                ready_by,
                heard: Heard::Nonsense,
            },
            State::Starting { .. } | State::Idle { .. } => State::Quitting {
                why: Why::Unasked,
                kill_at: turn.after(turn.limits.exit_within),
            },
            // Most likely it is dying: its exit is awaited, without a signal that would hide why.
            State::Busy { work, deadline, .. } => State::Stopping {
                ticket: work.ticket.id,
                cause: Cause::Hangup,
                kill_at: later(turn.now.min(deadline), work.ticket.patience),
            },
            other @ (State::Vacant
            | State::Overdue
            | State::Unwanted { .. }
            | State::Stopping { .. }
            | State::Quitting { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone) => other,
        }
    }

    fn exited(&mut self, state: State, turn: &mut Turn<'_>) -> State {
        let (after, give_up_at) = match state {
            State::Forking { .. }
            | State::Overdue
            | State::Starting { .. }
            | State::Idle { .. } => (After::Rest, turn.after(turn.limits.kill_within)),
            State::Unwanted { .. } => (After::Refill, turn.after(turn.limits.kill_within)),
            State::Busy { work, .. } => (
                After::Settle(work.ticket.id, End::Crashed),
                turn.after(turn.limits.kill_within),
            ),
            State::Stopping { ticket, cause, .. } => (
                After::Settle(ticket, cause.if_exited()),
                turn.after(turn.limits.kill_within),
            ),
            State::Quitting { why, .. } => (why.after(), turn.after(turn.limits.kill_within)),
            State::Killing { after, give_up_at } => (after, give_up_at),
            other @ (State::Vacant
            | State::Sweeping { .. }
            | State::Resting { .. }
            | State::Gone) => return other,
        };
        turn.out.push(Action::Sweep(self.seat));
        State::Sweeping {
            after,
            began: turn.now,
            give_up_at,
        }
    }
}
