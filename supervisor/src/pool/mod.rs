//! Slots and their lives: which process is started, fed, signalled, killed, and when.
//!
//! Pure: `(state, input, now) -> actions`. No clock, no I/O, no threads, no logging. Runs on the
//! reactor's thread, which performs the actions and reports what came of them.

#![forbid(unsafe_code)]

mod event;

use std::time::Instant;

pub(crate) use event::{
    Action, Actions, Answer, End, Force, How, Input, Limits, LinkEvent, Seat, Snapshot, Sweep,
    Ticket, TicketId,
};

/// All slots, and the tickets that wait for one.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    default_profile: u16,
}

impl Pool {
    /// A pool whose slots are all vacant; the first step, whatever its input, fills them.
    pub(crate) fn new(limits: Limits, default_profile: u16) -> Self {
        Self {
            limits,
            default_profile,
        }
    }

    /// Takes one input and appends what is to be done about it to `out`.
    pub(crate) fn step(&mut self, now: Instant, input: Input, out: &mut Actions) {
        let _ = (now, input, out);
        todo!("the slot machine")
    }

    /// When to send a `Tick`, if nothing else happens before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        todo!("the slot machine")
    }

    /// How many more tickets the pool can use.
    pub(crate) fn room(&self, now: Instant) -> usize {
        let _ = now;
        todo!("the slot machine")
    }

    /// Whether no slot will ever have a process again.
    pub(crate) fn is_gone(&self) -> bool {
        todo!("the slot machine")
    }

    /// Whether the pool has been told to stop.
    pub(crate) fn is_draining(&self) -> bool {
        todo!("the slot machine")
    }

    /// The pool at a glance.
    pub(crate) fn snapshot(&self) -> Snapshot {
        todo!("the slot machine")
    }
}
