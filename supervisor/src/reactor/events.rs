//! Processors and their events: what a process has been given, what it has passed, and how long it has
//! for the next.

use bulkhead_shared::ask::{Ask, Denied, Reply};
use bulkhead_shared::stream::Event;
use bulkhead_shared::time::Now;

use super::Reactor;
use super::hear::call;
use crate::pool::{Input, Seat, TicketId};
use crate::services::Asker;
use crate::streams::{Want, Word};

/// How far a call of a processor has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The position of the last event that it was given.
    given: u64,
    /// The position of the last one that it has passed.
    passed: u64,
    /// The position of the last one that it has made the end of a batch.
    parted: u64,
    /// It has asked for so much more.
    asks: u8,
}

/// Asks for events that may be open at once: who works off whole batches has some on their way
/// while it does.
const ASKS_MOST: u8 = 16;

impl Progress {
    /// It has nothing in hand: its time does not run while it waits for events.
    const fn waits(&self) -> bool {
        self.asks > 0 && self.passed >= self.given
    }
}

impl Reactor {
    /// Hands a processor's wish for events on.
    pub(super) fn take_wish_for_events(
        &mut self,
        seat: Seat,
        (nonce, id): (u64, u32),
        ask: &Ask,
        now: Now,
    ) {
        let &Ask::Events {
            most,
            within_ms,
            as_one,
        } = ask
        else {
            return;
        };
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return;
        };
        let running = match call(&mut process.running, nonce) {
            Ok(running) => running,
            Err(violation) => return self.violate(seat, violation.into(), now),
        };
        let ticket = running.ticket;
        if !ticket.is_of_stream() {
            let text = "only a processor is given events (declare it with `#[processor]`)";
            return self.reply(seat, (nonce, id), Reply::denied(Denied::Invalid, text), now);
        }
        if running.events.asks == ASKS_MOST {
            let how = format!("asks for events while {ASKS_MOST} such asks are open");
            return self.violate(seat, how, now);
        }
        running.events.asks += 1;
        if running.events.waits() {
            self.tell(now, Input::Timed(ticket, None));
        }
        self.streams.send(Word::Wants(
            ticket,
            Want {
                asker: Asker { seat, nonce, id },
                most,
                within_ms,
                as_one,
            },
        ));
    }

    /// Gives a processor what it asked for; nothing if there will be no more. If it has nothing else
    /// in hand, it has its timeout for the first of them.
    pub(super) fn give_events(&mut self, asker: Asker, events: Vec<Event>, now: Now) {
        let Asker { seat, nonce, id } = asker;
        let Some(process) = self.process(seat) else {
            return;
        };
        let mut running = process.running.iter_mut();
        let Some(running) = running.find(|one| one.nonce == nonce && one.answer.is_none()) else {
            return;
        };
        let ticket = running.ticket;
        let waited = running.events.waits();
        running.events.asks = running.events.asks.saturating_sub(1);
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            if running.events.given == 0 {
                // What lies before them is none of this call's business.
                running.events.passed = first.place.position.saturating_sub(1);
            }
            running.events.given = last.place.position;
        }
        let reply = Reply::Events(events);
        self.reply(seat, (nonce, id), reply, now);
        if waited {
            self.restart(ticket, now);
        }
    }

    /// A processor has come further.
    pub(super) fn pass_events(&mut self, seat: Seat, nonce: u64, position: u64, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        let running = match call(&mut process.running, nonce) {
            Ok(running) => running,
            Err(violation) => return self.violate(seat, violation.into(), now),
        };
        let ticket = running.ticket;
        let events = &mut running.events;
        if position <= events.passed || position > events.given {
            return self.violate(seat, "passed events that it was not given".into(), now);
        }
        events.passed = position;
        let waits = events.waits();
        self.streams.send(Word::Passed(ticket, position));
        match waits {
            true => self.tell(now, Input::Timed(ticket, None)),
            false => self.restart(ticket, now),
        }
    }

    /// A processor makes two of a batch.
    pub(super) fn part_events(&mut self, seat: Seat, nonce: u64, position: u64, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        let running = match call(&mut process.running, nonce) {
            Ok(running) => running,
            Err(violation) => return self.violate(seat, violation.into(), now),
        };
        let (ticket, events) = (running.ticket, &mut running.events);
        let first = events.parted.max(events.passed);
        if position <= first || position > events.given {
            return self.violate(seat, "parted events that it was not given".into(), now);
        }
        events.parted = position;
        self.streams.send(Word::Parted(ticket, position));
    }

    /// The time of one event begins.
    fn restart(&mut self, ticket: TicketId, now: Now) {
        if let Some(job) = self.jobs.get(&ticket) {
            let timeout = job.policy.timeout;
            self.tell(now, Input::Timed(ticket, Some(timeout)));
        }
    }
}
