//! One partition that this supervisor holds for a processor: what was read, given and passed, and who
//! processes it. Pure: no clock, no store; [`super::duty`] does what this says.

mod queue;
mod reading;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bulkhead_shared::stream::keep::{Hold, Pass, Rest, Taken, Trouble};
use bulkhead_shared::stream::{Event, Place};

use super::judge::Then;
use crate::pool::TicketId;
use crate::services::Asker;
use queue::Queue;

/// A process that has had no event for so long is let go: the next event starts another.
const IDLE: Duration = Duration::from_secs(60);

/// A process that has had events for so long makes room, if another partition waits for a process.
const TURN: Duration = Duration::from_secs(1);

/// The rest of a partition whose processor ended without having passed anything; doubles each time.
const FRUITLESS: Duration = Duration::from_millis(100);

/// The longest such rest.
const FRUITLESS_MOST: Duration = Duration::from_secs(10);

/// A partition whose records in the store are damaged is left alone for so long.
const DAMAGED: Duration = Duration::from_secs(10);

/// What a call of a processor wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub asker: Asker,
    pub most: u32,
    pub within_ms: Option<u64>,
    pub as_one: bool,
}

/// Who processes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// Nobody.
    None,
    /// A call that was offered to the pool.
    Going {
        ticket: TicketId,
        since: Instant,
        /// The last event it was given, or its beginning.
        busy_at: Instant,
        /// What it had passed when it began.
        from: Place,
        /// It was told that there is no more for it.
        is_over: bool,
    },
}

/// Why nobody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Until(Instant),
    /// Until somebody releases it.
    Halted,
}

/// It is to be given back.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// Who processes it then is stopped.
    by: Instant,
    is_told: bool,
}

/// What a call failed at, of what it had in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// All of it: a batch is passed as one.
    All,
    /// The first event, which cannot even be read.
    First,
}

/// Something to be done.
#[derive(Debug)]
pub(super) enum Deed {
    /// A process is wanted.
    Offer,
    /// These are for the asker; none means that there is no more.
    Give(Asker, Vec<Event>),
    /// This is to be stopped.
    Stop(TicketId),
    /// This is to be killed: the partition is somebody else's.
    Kill(TicketId),
}

/// What may be done now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Events may be given: the processor is not paused, and its leases are sure.
    pub deliver: bool,
    /// There is a process to be had.
    pub offer: bool,
    /// Somebody else waits for a process.
    pub crowded: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    pub hold: Hold,
    /// What the store knows to be passed.
    stored: Place,
    /// What is passed.
    passed: Place,
    /// What the store is to know of a failure.
    say: Option<Pass>,
    /// Read and not passed.
    events: Queue,
    /// When there was something to give, after there was nothing.
    ahead_since: Instant,
    read_to: Place,
    /// The last reading found no more.
    is_dry: bool,
    prefetch: u32,
    trouble: Option<Trouble>,
    run: Run,
    /// What its call wants, each since when.
    wants: VecDeque<(Want, Instant)>,
    pause: Option<Pause>,
    /// Runs in a row that passed nothing.
    fruitless: u32,
    leaving: Option<Leaving>,
    is_lost: bool,
    /// Its records in the store cannot be read; it is left alone until then.
    pub damaged_until: Option<Instant>,
}

impl Partition {
    pub(super) fn new(taken: Taken, prefetch: u32, now: Instant) -> Self {
        Self {
            hold: taken.hold,
            stored: taken.passed,
            passed: taken.passed,
            say: None,
            events: Queue::default(),
            ahead_since: now,
            read_to: taken.passed,
            is_dry: false,
            prefetch,
            trouble: taken.trouble,
            run: Run::None,
            wants: VecDeque::new(),
            pause: None,
            fruitless: 0,
            leaving: None,
            is_lost: false,
            damaged_until: None,
        }
    }

    pub(super) const fn ticket(&self) -> Option<TicketId> {
        match self.run {
            Run::Going { ticket, .. } => Some(ticket),
            Run::None => None,
        }
    }

    pub(super) const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether it is to be given back or was lost.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some() || self.is_lost
    }

    /// Nothing of it is left here, and it was lost.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_lost && matches!(self.run, Run::None)
    }

    /// Nobody processes it, and all is stored: it can be given back.
    pub(super) const fn can_go(&self) -> bool {
        let is_clear = self.say.is_none() && self.passed.position == self.stored.position;
        self.leaving.is_some() && !self.is_lost && is_clear && matches!(self.run, Run::None)
    }

    /// Whether it waits for a process.
    pub(super) fn is_hungry(&self) -> bool {
        let is_idle = matches!(self.run, Run::None) && self.pause.is_none() && !self.is_leaving();
        is_idle && self.say.is_none() && self.events.ahead() > 0
    }

    /// It is to be given back, at the latest `grace` from now.
    pub(super) fn leave(&mut self, by: Instant) {
        self.leaving.get_or_insert(Leaving { by, is_told: false });
    }

    /// Somebody else has it, or may have.
    pub(super) fn lose(&mut self) -> Option<TicketId> {
        self.is_lost = true;
        self.ticket()
    }

    /// There may be more to read up to here.
    pub(super) const fn more_to(&mut self, position: u64) {
        if position > self.read_to.position {
            self.is_dry = false;
        }
    }

    /// Something was sent, perhaps to this partition.
    pub(super) const fn look_again(&mut self) {
        self.is_dry = false;
    }

    /// What the store keeps of its trouble: an operator may have ended its rest.
    pub(super) fn told(&mut self, trouble: Option<&Trouble>) {
        let rests = trouble.is_some_and(|trouble| trouble.rest.is_some());
        if self.pause == Some(Pause::Halted) && self.say.is_none() && !rests {
            self.pause = None;
            self.trouble = None;
        }
    }

    pub(super) fn wants(&mut self, want: Want, now: Instant) {
        self.wants.push_back((want, now));
    }

    /// The call has passed what it was given up to here.
    pub(super) fn pass(&mut self, position: u64) {
        if let Some(place) = self.events.pass(position) {
            self.passed = place;
        }
        if self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.place.position <= position)
        {
            self.trouble = None;
        }
    }

    /// The call makes two of what it was given as one: what lies up to here, and the rest.
    pub(super) fn part(&mut self, position: u64) {
        self.events.part(position);
    }

    /// The process for it was offered.
    pub(super) const fn began(&mut self, ticket: TicketId, now: Instant) {
        self.run = Run::Going {
            ticket,
            since: now,
            busy_at: now,
            from: self.passed,
            is_over: false,
        };
    }

    /// The call is over; what it had not passed is to be given again. Says whether it had a reason to end.
    pub(super) fn over(&mut self) -> bool {
        let has_reason = match self.run {
            Run::Going { from, is_over, .. } => is_over || from != self.passed,
            Run::None => true,
        };
        self.run = Run::None;
        self.wants.clear();
        self.events.take_back();
        has_reason
    }

    /// What the store has of it cannot be read.
    pub(super) fn is_damaged(&mut self, now: Instant) {
        self.is_dry = true;
        self.damaged_until = Some(now + DAMAGED);
    }

    /// Whether the store is asked about it.
    pub(super) fn is_asked_about(&self, now: Instant) -> bool {
        self.damaged_until.is_none_or(|until| until <= now)
    }

    /// It ended without having passed anything, and without being told to. Returns how long it rests.
    pub(super) fn rest(&mut self, now: Instant) -> Duration {
        let rest = FRUITLESS
            .saturating_mul(1 << self.fruitless.min(20))
            .min(FRUITLESS_MOST);
        self.fruitless += 1;
        self.pause = Some(Pause::Until(now + rest));
        rest
    }

    /// The event that a call that fails now has in hand, or the first of those.
    pub(super) fn in_hand(&self) -> Option<&Event> {
        self.events.first_given()
    }

    /// The call failed at what it had in hand, or at the first of that alone; to be called before
    /// [`Self::over`].
    pub(super) fn failed(&mut self, trouble: Trouble, then: Then, at: At, now: Instant) {
        let count = match at {
            At::All => self.events.in_hand(),
            At::First => 1,
        };
        self.trouble = Some(trouble.clone());
        match then {
            Then::Again(wait) => {
                self.say = Some(Pass::Failed(trouble));
                self.pause = Some(Pause::Until(now + wait));
            }
            Then::Rest(rest) => {
                self.say = Some(Pass::Failed(trouble));
                self.pause = Some(Pause::Halted);
                if rest == Rest::Quarantined {
                    self.leave(now);
                }
            }
            Then::Pass => {
                self.trouble = None;
                if let Some(last) = self.events.take(count).last() {
                    self.passed = last.place;
                }
            }
            Then::Bury => {
                self.trouble = None;
                let events = self.events.take(count);
                if let Some(last) = events.last() {
                    self.passed = last.place;
                    self.say = Some(Pass::Buried {
                        to: last.place,
                        events,
                        trouble,
                    });
                }
            }
        }
    }

    /// There is something that the store is to be told.
    pub(super) fn has_news(&self) -> bool {
        let is_new = self.say.is_some() || self.passed.position > self.stored.position;
        is_new && !self.is_lost
    }

    /// And at once: it is more than that a call goes on, or is to go to somebody else.
    pub(super) fn is_pressing(&self) -> bool {
        let goes_on = self.say.is_none() && matches!(self.run, Run::Going { .. });
        self.has_news() && (!goes_on || self.leaving.is_some())
    }

    /// What the store is to be told, in this order.
    pub(super) fn unsaid(&self) -> Vec<Pass> {
        if self.is_lost {
            return Vec::new();
        }
        // Who buries passes all before, too.
        let is_burial = matches!(self.say, Some(Pass::Buried { .. }));
        let is_new = self.passed.position > self.stored.position;
        let to = (is_new && !is_burial).then_some(Pass::To(self.passed));
        to.into_iter().chain(self.say.clone()).collect()
    }

    /// The store was told all of it.
    pub(super) fn said(&mut self, passed: Place) {
        self.stored = passed;
        self.say = None;
    }

    pub(super) const fn passed(&self) -> Place {
        self.passed
    }

    /// What is to be done now.
    pub(super) fn advance(&mut self, now: Instant, allowed: Allowed) -> Option<Deed> {
        if let Some(Pause::Until(until)) = self.pause
            && until <= now
        {
            self.pause = None;
        }
        match self.run {
            Run::None => {
                (self.is_hungry() && allowed.deliver && allowed.offer).then_some(Deed::Offer)
            }
            Run::Going { ticket, .. } if self.is_lost => Some(Deed::Kill(ticket)),
            Run::Going { ticket, .. } => match &mut self.leaving {
                Some(_) if !self.wants.is_empty() => self.end(),
                Some(leaving) if leaving.by <= now && !leaving.is_told => {
                    leaving.is_told = true;
                    Some(Deed::Stop(ticket))
                }
                Some(_) => None,
                None => self.serve(now, allowed),
            },
        }
    }

    /// Tells the call that there is no more for it.
    fn end(&mut self) -> Option<Deed> {
        let (want, _) = self.wants.pop_front()?;
        if let Run::Going { is_over, .. } = &mut self.run {
            *is_over = true;
        }
        Some(Deed::Give(want.asker, Vec::new()))
    }

    fn serve(&mut self, now: Instant, allowed: Allowed) -> Option<Deed> {
        let &(want, asked) = self.wants.front()?;
        let Run::Going {
            since,
            busy_at,
            is_over,
            ..
        } = self.run
        else {
            return None;
        };
        if is_over {
            return self.end();
        }
        let is_ready = self.is_ready(want, asked, now);
        let has_nothing = self.events.ahead() == 0 && self.events.first_given().is_none();
        let is_idle = has_nothing && busy_at + IDLE <= now;
        let has_had = has_nothing || since + TURN <= now;
        if is_idle || (allowed.crowded && has_had) {
            return self.end();
        }
        if !is_ready || !allowed.deliver {
            return None;
        }
        let events = self.events.give(want.most.max(1), want.as_one);
        self.wants.pop_front();
        self.ahead_since = now;
        self.fruitless = 0;
        if let Run::Going { busy_at, .. } = &mut self.run {
            *busy_at = now;
        }
        Some(Deed::Give(want.asker, events))
    }

    fn is_ready(&self, want: Want, asked: Instant, now: Instant) -> bool {
        // Where there is no room for more, what there is has to do.
        let is_all = self.events.is_full() && self.events.first_given().is_none();
        let is_full = self.events.ahead() >= want.most || is_all;
        match want.within_ms {
            _ if self.events.ahead() == 0 => false,
            None => true,
            Some(_) if is_full => true,
            Some(ms) => self.waits_until(asked, ms) <= now,
        }
    }

    /// For so long a batch is waited for.
    fn waits_until(&self, asked: Instant, ms: u64) -> Instant {
        self.ahead_since.max(asked) + Duration::from_millis(ms).min(IDLE)
    }

    /// When to look again, if nothing happens; `deliver` as in [`Allowed`].
    pub(super) fn due(&self, deliver: bool) -> Option<Instant> {
        let pause = match self.pause {
            Some(Pause::Until(until)) => Some(until),
            Some(Pause::Halted) | None => None,
        };
        let grace = self.leaving.filter(|leaving| !leaving.is_told);
        let grace = grace.map(|leaving| leaving.by);
        let want = self.wants.front().filter(|_| deliver);
        let want = want.and_then(|&(want, asked)| {
            let Run::Going { busy_at, .. } = self.run else {
                return None;
            };
            let batch = want.within_ms.filter(|_| self.events.ahead() > 0);
            match batch {
                Some(ms) => Some(self.waits_until(asked, ms)),
                None => (self.events.first_given().is_none()).then(|| busy_at + IDLE),
            }
        });
        let running = self.ticket().is_some();
        [pause, grace.filter(|_| running), want]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests;
