//! Groups of every nature and jobs of every deed, in virtual time; what the pool asks for is
//! judged as it asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::pool::{
    Action, Actions, Answer, Force, Input, Lane, Limits, LinkEvent, Pool, Seat, Sweep, Ticket,
    TicketId,
};

/// What a job does in its process. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    /// Answers after that, or at once when it is asked to stop.
    Answers(u16, Answer),
    /// Never answers, whatever it is asked.
    Hangs,
    /// Takes its process down after that.
    Crashes(u16),
    /// Breaks the wire's rules after that.
    Lies(u16),
    /// Closes the pipe of all of them after that; the process stays.
    HangsUp(u16),
}

/// How a process comes to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Birth {
    /// Forked after that, and ready a little later.
    After(u16),
    /// Ready is heard before the fork is confirmed.
    Overtaken,
    Fails(u16),
    /// Dies before it is ready.
    Dies,
    /// Is never ready.
    Mute,
}

/// How it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    Clean,
    /// Its files take that long.
    Files(u16),
    Unkillable,
    /// The sweep never answers.
    Silent,
    /// It does not even die of SIGKILL.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub birth: Birth,
    pub death: Death,
    /// Whether it exits when it is asked to.
    pub quits: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub deed: Deed,
    pub lane: Lane,
    pub is_alone: bool,
    pub timeout_ms: u16,
    pub patience_ms: u16,
    pub expires_ms: Option<u16>,
}

/// A job inside the pool.
#[derive(Debug)]
pub(super) struct Job {
    pub order: Order,
    pub expires: Option<Instant>,
    pub ride: Option<Ride>,
    pub is_revoked: bool,
    pub is_lost: bool,
}

/// A job in a process.
#[derive(Debug)]
pub(super) struct Ride {
    pub seat: Seat,
    pub deadline: Instant,
    /// When it was asked to stop, if it was.
    pub halted: Option<Instant>,
    pub is_revoked: bool,
    pub is_lost: bool,
}

#[derive(Debug)]
pub(super) struct Life {
    pub nature: Nature,
    pub is_there: bool,
    pub is_dead: bool,
    pub is_killed: bool,
    pub is_quit: bool,
    pub is_swept: bool,
    /// It broke a rule of the wire, or hung up.
    pub has_lied: bool,
    pub has_hung_up: bool,
    pub born: Instant,
    /// How many rode in it when it came to its end.
    pub at_end: usize,
}

pub(super) struct World {
    pub pool: Pool,
    pub limits: Limits,
    pub now: Instant,
    pub next: u64,
    /// Jobs that have returned.
    pub returned: usize,
    natures: Vec<Nature>,
    spawned: usize,
    agenda: BTreeMap<(Instant, u64), Input>,
    entry: u64,
    pub lives: BTreeMap<Seat, Life>,
    pub jobs: BTreeMap<TicketId, Job>,
    /// The job whose answer is heard in this step.
    pub answering: Option<(TicketId, Answer)>,
    pub was_stopped: bool,
}

pub(super) const fn ms(ms: u16) -> Duration {
    Duration::from_millis(ms as u64)
}

impl World {
    pub(super) fn new(limits: Limits, natures: Vec<Nature>, now: Instant) -> Self {
        Self {
            pool: Pool::new(limits, 0),
            limits,
            now,
            next: 0,
            returned: 0,
            natures,
            spawned: 0,
            agenda: BTreeMap::new(),
            entry: 0,
            lives: BTreeMap::new(),
            jobs: BTreeMap::new(),
            answering: None,
            was_stopped: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn plan(&mut self, after: u16, input: Input) {
        self.entry += 1;
        self.agenda
            .insert((self.now + ms(after), self.entry), input);
    }

    /// Lets happen what happens until then.
    pub(super) fn advance(&mut self, until: Instant) {
        let mut ticks = 0;
        loop {
            let wake = self.pool.wake_at().map(|at| at.max(self.now));
            let next = self.agenda.keys().next().copied();
            let then = next.map(|(at, _)| at).into_iter().chain(wake).min();
            let Some(then) = then.filter(|then| *then <= until) else {
                self.now = until;
                return;
            };
            ticks = if then == self.now { ticks + 1 } else { 0 };
            assert!(ticks < 500, "the pool does not come to rest");
            self.now = then;
            match next {
                // At odd entries the clock wins a draw.
                Some(key) if key.0 == then && (key.1 % 2 == 0 || wake != Some(then)) => {
                    let input = self.agenda.remove(&key).unwrap();
                    self.step(input);
                }
                _ => self.step(Input::Tick),
            }
        }
    }

    pub(super) fn offer(&mut self, orders: Vec<Order>) {
        let mut tickets = Vec::new();
        for order in orders {
            let id = TicketId(self.next);
            self.next += 1;
            let expires = order.expires_ms.map(|after| self.now + ms(after));
            let job = Job {
                order,
                expires,
                ride: None,
                is_revoked: false,
                is_lost: false,
            };
            self.jobs.insert(id, job);
            tickets.push(Ticket {
                id,
                lane: order.lane,
                is_alone: order.is_alone,
                kind: Some(0),
                profile: 0,
                timeout: ms(order.timeout_ms),
                patience: ms(order.patience_ms),
                expires,
            });
        }
        self.step(Input::Offered(tickets));
    }

    pub(super) fn riding(&self, seat: Seat) -> impl Iterator<Item = (&TicketId, &Job)> {
        let rides = move |job: &&Job| job.ride.as_ref().is_some_and(|ride| ride.seat == seat);
        self.jobs.iter().filter(move |(_, job)| rides(job))
    }

    /// What this input means to those it is about; false if it cannot happen any more.
    fn hear(&mut self, input: &Input) -> bool {
        self.answering = None;
        match *input {
            Input::Spawned(seat) => self.lives.get_mut(&seat).unwrap().is_there = true,
            Input::Link(seat, event) => {
                let riding = self.riding(seat).count();
                let life = self.lives.get_mut(&seat).unwrap();
                if life.is_dead {
                    return false;
                }
                life.is_dead = event == LinkEvent::Exited;
                life.has_lied |= event == LinkEvent::Violation;
                life.has_hung_up |= event == LinkEvent::Hangup;
                if life.at_end == 0 && event != LinkEvent::Ready {
                    life.at_end = riding;
                }
            }
            Input::Answered(seat, id, answer) => {
                let rides = self.riding(seat).any(|(one, _)| *one == id);
                let life = &self.lives[&seat];
                if life.is_dead || life.has_hung_up || !rides {
                    return false;
                }
                self.answering = Some((id, answer));
            }
            Input::Swept(seat, sweep) => {
                self.lives.get_mut(&seat).unwrap().is_swept = sweep == Sweep::Clean;
            }
            Input::Revoked(id) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.is_revoked = true;
                    job.ride.iter_mut().for_each(|ride| ride.is_revoked = true);
                }
            }
            Input::LeaseLost(id) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.is_lost = true;
                    job.ride.iter_mut().for_each(|ride| ride.is_lost = true);
                }
            }
            _ => {}
        }
        true
    }

    pub(super) fn step(&mut self, input: Input) {
        if !self.hear(&input) {
            return;
        }
        self.was_stopped = self.pool.is_draining();
        let mut actions = Actions::new();
        self.pool.step(self.now, input, &mut actions);
        let actions: Vec<_> = actions.drain().collect();
        for action in actions {
            self.perform(action);
        }
        self.check();
    }

    pub(super) fn alive(&mut self, seat: Seat) -> &mut Life {
        let life = self.lives.get_mut(&seat).unwrap();
        assert!(life.is_there && !life.is_dead, "{seat:?} is not alive");
        life
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn(seat, _) => self.spawn(seat),
            Action::Send(seat, id) => self.send(seat, id),
            Action::Halt(seat, id) => self.halt(seat, id),
            Action::Signal(seat, Force::Term) => panic!("{seat:?}: a group is never sent SIGTERM"),
            Action::Signal(seat, Force::Kill) => self.kill(seat),
            Action::Quit(seat) => {
                assert_eq!(
                    self.riding(seat).count(),
                    0,
                    "{seat:?} is let go with jobs inside"
                );
                let life = self.alive(seat);
                life.is_quit = true;
                if life.nature.quits {
                    self.plan(1, Input::Link(seat, LinkEvent::Hangup));
                    self.plan(1, Input::Link(seat, LinkEvent::Exited));
                }
            }
            Action::Sweep(seat) => self.sweep(seat),
            Action::Finish { ticket, seat, end } => self.finish(ticket, seat, end),
            Action::Release(id) => {
                let job = self.jobs.remove(&id).expect("a ticket leaves once");
                assert!(job.ride.is_none(), "{id:?} rides, and is released");
                assert!(!job.is_lost);
            }
            Action::Forget(id) => {
                let job = self.jobs.remove(&id).expect("a ticket leaves once");
                assert!(job.ride.is_none() && job.is_lost);
            }
        }
    }

    fn spawn(&mut self, seat: Seat) {
        assert!(!self.was_stopped);
        let same = |other: &Seat| other.slot == seat.slot;
        let earlier = self.lives.iter().rfind(|(other, _)| same(other));
        assert!(
            earlier.is_none_or(|(_, life)| !life.is_there || life.is_swept),
            "{seat:?}"
        );
        let nature = self.natures[self.spawned % self.natures.len()];
        self.spawned += 1;
        let life = Life {
            nature,
            is_there: false,
            is_dead: false,
            is_killed: false,
            is_quit: false,
            is_swept: false,
            has_lied: false,
            has_hung_up: false,
            born: self.now,
            at_end: 0,
        };
        self.lives.insert(seat, life);
        match nature.birth {
            Birth::After(after) => {
                self.plan(after, Input::Spawned(seat));
                self.plan(after + 1, Input::Link(seat, LinkEvent::Ready));
            }
            Birth::Overtaken => {
                self.plan(1, Input::Link(seat, LinkEvent::Ready));
                self.plan(2, Input::Spawned(seat));
            }
            Birth::Fails(after) => self.plan(after, Input::SpawnFailed(seat)),
            Birth::Dies => {
                self.plan(1, Input::Spawned(seat));
                self.plan(2, Input::Link(seat, LinkEvent::Hangup));
                self.plan(2, Input::Link(seat, LinkEvent::Exited));
            }
            Birth::Mute => self.plan(1, Input::Spawned(seat)),
        }
    }
}
