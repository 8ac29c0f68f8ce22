//! Processes of every nature, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::laws::Laws;
use crate::pool::{Action, Actions, Answer, Force, Input, Limits, LinkEvent, Pool, Seat, Sweep};

/// Ticks that one instant may need: a deadline, no patience, and a kill that is given up at once.
const TICKS_AT_ONCE: u32 = 4;

/// From "its files are being removed" to "they are", in milliseconds: longer than a kill may take.
const FILES_TAKE: u16 = 8000;

/// How a process behaves. Times in milliseconds; `None` = never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub spawn: Fork,
    pub ready: Option<u16>,
    /// Dies by itself, counted from its start.
    pub death: Option<u16>,
    pub job: (u16, Deed),
    /// After its last answer or when asked to quit.
    pub exit: Option<u16>,
    pub term: Term,
    /// After SIGKILL.
    pub kill: Option<u16>,
    pub sweep: Option<(u16, Sweep)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fork {
    After(u16),
    /// Ready is heard before the fork is confirmed.
    Overtaken,
    Fails(u16),
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Answer(Answer),
    AnswerTwice,
    Garbage,
    Hangup,
    Die,
    Hang,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Term {
    Exit(u16),
    Answer(u16, Answer),
    Ignore,
}

/// The pool, its processes, and what is going to happen.
#[derive(Debug)]
pub(super) struct World {
    pub pool: Pool,
    pub laws: Laws,
    pub now: Instant,
    natures: Vec<Nature>,
    next_nature: usize,
    people: BTreeMap<Seat, Person>,
    agenda: BTreeMap<(Instant, u64), Input>,
    next_entry: u64,
    actions: Actions,
    ticks: (Instant, u32),
    served_until_exit: u32,
}

#[derive(Debug)]
struct Person {
    nature: Nature,
    is_dead: bool,
    served: u32,
}

impl World {
    pub(super) fn new(limits: Limits, natures: Vec<Nature>, now: Instant) -> Self {
        Self {
            pool: Pool::new(limits, 0),
            laws: Laws::new(limits),
            now,
            natures,
            next_nature: 0,
            people: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_entry: 0,
            actions: Actions::new(),
            ticks: (now, 0),
            served_until_exit: limits.tasks_per_process,
        }
    }

    /// Something will happen.
    pub(super) fn plan(&mut self, after_ms: u16, input: Input) {
        let then = self.now + Duration::from_millis(after_ms.into());
        self.next_entry += 1;
        self.agenda.insert((then, self.next_entry), input);
    }

    /// Lets the next thing happen, at the latest at `until`. False if there is nothing until then.
    pub(super) fn advance(&mut self, until: Instant) -> bool {
        let wake = self.pool.wake_at().map(|at| at.max(self.now));
        let next = self.agenda.keys().next().copied();
        let then = next.map(|(at, _)| at).into_iter().chain(wake).min();
        let Some(then) = then.filter(|&then| then <= until) else {
            self.now = until;
            return false;
        };
        self.now = then;
        match next {
            // At odd entries the clock wins a draw.
            Some(key) if key.0 == then && (key.1 % 2 == 0 || wake != Some(then)) => {
                let input = self.agenda.remove(&key).unwrap();
                self.happen(input);
            }
            Some(_) | None => self.tick(),
        }
        true
    }

    fn tick(&mut self) {
        self.ticks = match self.ticks {
            (at, count) if at == self.now => (at, count + 1),
            _ => (self.now, 1),
        };
        // A world event at the same instant may make another tick due; the slots bound them.
        let most = TICKS_AT_ONCE * 8;
        assert!(self.ticks.1 <= most, "the pool does not come to rest");
        self.step(Input::Tick);
    }

    fn happen(&mut self, input: Input) {
        if let Input::Link(seat, event) = &input
            && let Some(person) = self.people.get_mut(seat)
        {
            if person.is_dead {
                return;
            }
            if *event == LinkEvent::Exited {
                person.is_dead = true;
            }
        }
        self.step(input);
    }

    /// Something a living or long-gone process should not say.
    pub(super) fn noise(&mut self, seat: Seat, event: LinkEvent) {
        let latest = self
            .people
            .keys()
            .rev()
            .find(|one| one.slot == seat.slot)
            .copied();
        let seat = match latest {
            // Every other lie is told by the process that sits there.
            Some(latest) if seat.generation.is_multiple_of(2) => latest,
            Some(_) | None => seat,
        };
        self.step(Input::Link(seat, event));
    }

    /// One step of the pool under the eyes of the laws, and what the processes make of it.
    pub(super) fn step(&mut self, input: Input) {
        self.laws.input(self.now, &input);
        let mut actions = std::mem::take(&mut self.actions);
        self.pool.step(self.now, input, &mut actions);
        for action in actions.drain() {
            self.laws.action(self.now, action);
            self.perform(action);
        }
        self.actions = actions;
        self.laws.settled(self.now, &self.pool);
        assert!(!self.pool.is_gone() || self.pool.wake_at().is_none());
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn(seat, _) => self.spawn(seat),
            Action::Send(seat, _) => self.work(seat),
            Action::Signal(seat, Force::Term) => self.term(seat),
            Action::Signal(seat, Force::Kill) => {
                if let Some(after) = self.nature(seat).kill {
                    self.plan(after, Input::Link(seat, LinkEvent::Exited));
                }
            }
            Action::Quit(seat) => {
                if let Some(after) = self.nature(seat).exit {
                    self.exit(seat, after);
                }
            }
            Action::Sweep(seat) => {
                if let Some((after, sweep)) = self.nature(seat).sweep {
                    self.plan(after, Input::Swept(seat, sweep));
                    if sweep == Sweep::Files {
                        self.plan(after + FILES_TAKE, Input::Swept(seat, Sweep::Clean));
                    }
                }
            }
            Action::Halt(..) | Action::Finish { .. } | Action::Release(_) | Action::Forget(_) => {}
        }
    }

    fn nature(&self, seat: Seat) -> Nature {
        self.people[&seat].nature
    }

    fn spawn(&mut self, seat: Seat) {
        let nature = self.natures[self.next_nature % self.natures.len()];
        self.next_nature += 1;
        let person = Person {
            nature,
            is_dead: false,
            served: 0,
        };
        self.people.insert(seat, person);
        let start = match nature.spawn {
            Fork::After(after) => {
                self.plan(after, Input::Spawned(seat));
                after
            }
            Fork::Overtaken => {
                self.plan(1, Input::Link(seat, LinkEvent::Ready));
                self.plan(2, Input::Spawned(seat));
                return;
            }
            Fork::Fails(after) => return self.plan(after, Input::SpawnFailed(seat)),
            Fork::Never => return,
        };
        if let Some(after) = nature.ready {
            self.plan(start + after, Input::Link(seat, LinkEvent::Ready));
        }
        if let Some(after) = nature.death {
            self.exit(seat, start + after);
        }
    }

    fn exit(&mut self, seat: Seat, after: u16) {
        self.plan(after, Input::Link(seat, LinkEvent::Hangup));
        self.plan(after + 1, Input::Link(seat, LinkEvent::Exited));
    }

    fn work(&mut self, seat: Seat) {
        let nature = self.nature(seat);
        let (after, deed) = nature.job;
        match deed {
            Deed::Answer(answer) => self.answer(seat, after, answer),
            Deed::AnswerTwice => {
                self.answer(seat, after, Answer::Returned);
                self.plan(after, Input::Link(seat, LinkEvent::Done(Answer::Failed)));
            }
            Deed::Garbage => self.plan(after, Input::Link(seat, LinkEvent::Violation)),
            Deed::Hangup => self.plan(after, Input::Link(seat, LinkEvent::Hangup)),
            Deed::Die => self.exit(seat, after),
            Deed::Hang => {}
        }
    }

    fn answer(&mut self, seat: Seat, after: u16, answer: Answer) {
        self.plan(after, Input::Link(seat, LinkEvent::Done(answer)));
        let person = self.people.get_mut(&seat).unwrap();
        person.served += 1;
        if person.served == self.served_until_exit
            && let Some(exit) = person.nature.exit
        {
            self.exit(seat, after + exit);
        }
    }

    fn term(&mut self, seat: Seat) {
        match self.nature(seat).term {
            Term::Exit(after) => self.exit(seat, after),
            Term::Answer(after, answer) => {
                self.plan(after, Input::Link(seat, LinkEvent::Done(answer)));
                self.exit(seat, after + 1);
            }
            Term::Ignore => {}
        }
    }
}
