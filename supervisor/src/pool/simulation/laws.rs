//! What must hold of every pool, whatever happens: it watches inputs and actions and knows no
//! state of the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::pool::{
    Action, Answer, End, Force, Input, Limits, LinkEvent, Pool, Seat, Sweep, Ticket, TicketId,
};

/// Longer than any world lives.
const LONG: Duration = Duration::from_hours(24);

/// One process as it looks from outside.
#[derive(Debug, Default)]
struct Life {
    profile: u16,
    is_there: bool,
    is_ready: bool,
    has_hung_up: bool,
    is_asked_to_quit: bool,
    termed: bool,
    killed: Option<Instant>,
    exited: Option<Instant>,
    sweep: Option<Instant>,
    swept: Option<Sweep>,
    has_failed: bool,
    served: u32,
    kind: Option<Option<u32>>,
    job: Option<Job>,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    id: TicketId,
    deadline: Instant,
    last: Instant,
    answer: Option<Answer>,
}

impl Life {
    fn is_over(&self) -> bool {
        self.has_failed || self.swept == Some(Sweep::Clean)
    }
}

#[derive(Debug)]
struct Fare {
    ticket: Ticket,
    since: Instant,
    revoked: bool,
    lost: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bench {
    deaths: u32,
    not_before: Option<Instant>,
}

/// The watcher.
#[derive(Debug)]
pub(super) struct Laws {
    limits: Limits,
    lives: BTreeMap<Seat, Life>,
    inside: BTreeMap<TicketId, Fare>,
    seen: BTreeSet<TicketId>,
    benches: BTreeMap<u16, Bench>,
    generations: BTreeSet<u64>,
    has_stopped: bool,
    pub(super) ends: Vec<End>,
}

impl Laws {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lives: BTreeMap::new(),
            inside: BTreeMap::new(),
            seen: BTreeSet::new(),
            benches: BTreeMap::new(),
            generations: BTreeSet::new(),
            has_stopped: false,
            ends: Vec::new(),
        }
    }

    /// Before a step.
    pub(super) fn input(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Offered(tickets) => {
                for &ticket in tickets {
                    let fare = Fare {
                        ticket,
                        since: now,
                        revoked: false,
                        lost: false,
                    };
                    assert!(
                        self.seen.insert(ticket.id),
                        "the world offers a ticket twice"
                    );
                    self.inside.insert(ticket.id, fare);
                }
            }
            Input::Spawned(seat) => self.life(*seat, |life| life.is_there = true),
            Input::SpawnFailed(seat) => {
                self.life(*seat, |life| life.has_failed = true);
                self.died(*seat, now);
            }
            Input::Link(seat, event) => self.link(now, *seat, *event),
            Input::Answered(..) => {}
            Input::Swept(seat, sweep) => self.life(*seat, |life| life.swept = Some(*sweep)),
            Input::Revoked(id) => {
                self.inside
                    .entry(*id)
                    .and_modify(|fare| fare.revoked = true);
            }
            Input::LeaseLost(id) => {
                self.inside.entry(*id).and_modify(|fare| fare.lost = true);
            }
            Input::Timed(id, left) => self.timed(*id, *left, now),
            Input::Stop(_) => self.has_stopped = true,
            Input::Tick => {}
        }
    }

    /// A job that runs has another deadline, unless it is being stopped.
    fn timed(&mut self, id: TicketId, left: Option<Duration>, now: Instant) {
        let Some(expires) = self.inside.get(&id).map(|fare| fare.ticket.expires) else {
            return;
        };
        let is_it = |life: &&mut Life| life.job.is_some_and(|job| job.id == id);
        let life = self.lives.values_mut().find(is_it);
        let Some(life) = life.filter(|life| {
            let is_left_alone = !life.termed && life.killed.is_none();
            is_left_alone && life.exited.is_none() && !life.has_hung_up
        }) else {
            return;
        };
        if let Some(job) = life.job.as_mut().filter(|job| job.answer.is_none()) {
            let patience = job.last - job.deadline;
            let deadline = now + left.unwrap_or(LONG);
            job.deadline = expires.map_or(deadline, |expires| expires.min(deadline));
            job.last = job.deadline + patience;
        }
    }

    fn life(&mut self, seat: Seat, what: impl FnOnce(&mut Life)) {
        if let Some(life) = self.lives.get_mut(&seat) {
            what(life);
        }
    }

    fn link(&mut self, now: Instant, seat: Seat, event: LinkEvent) {
        let Some(life) = self.lives.get_mut(&seat) else {
            return;
        };
        if life.exited.is_some() {
            return;
        }
        match event {
            LinkEvent::Ready => life.is_ready = true,
            LinkEvent::Hangup => life.has_hung_up = true,
            LinkEvent::Violation => {}
            LinkEvent::Done(answer) => {
                let is_free = !life.termed && life.killed.is_none() && !life.has_hung_up;
                if let Some(job) = &mut life.job
                    && job.answer.is_none()
                    && life.killed.is_none()
                {
                    job.answer = Some(answer);
                    life.served += 1;
                    if is_free {
                        self.benches.entry(seat.slot).or_default().deaths = 0;
                    }
                }
            }
            LinkEvent::Exited => {
                life.exited = Some(now);
                if life.job.is_none() && !life.is_asked_to_quit {
                    self.died(seat, now);
                }
            }
        }
    }

    /// Unasked: the next process may come only after a rest.
    fn died(&mut self, seat: Seat, now: Instant) {
        let bench = self.benches.entry(seat.slot).or_default();
        let rest = self.limits.rest_first * 2_u32.pow(bench.deaths.min(20));
        bench.deaths += 1;
        bench.not_before = Some(now + rest.min(self.limits.rest_longest));
    }

    /// After a step, for each of its actions in order.
    pub(super) fn action(&mut self, now: Instant, action: Action) {
        match action {
            Action::Spawn(seat, profile) => self.spawn(now, seat, profile),
            Action::Send(seat, id) => self.send(now, seat, id),
            Action::Signal(seat, force) => self.signal(now, seat, force),
            Action::Halt(..) => panic!("there is no group"),
            Action::Quit(seat) => {
                let life = self.living(seat);
                life.is_asked_to_quit = true;
            }
            Action::Sweep(seat) => {
                let life = self.lives.get_mut(&seat).unwrap();
                assert!(life.exited.is_some(), "{seat:?} is swept while it lives");
                assert!(life.sweep.replace(now).is_none(), "{seat:?} is swept twice");
            }
            Action::Finish { ticket, seat, end } => self.finish(now, ticket, seat, end),
            Action::Release(id) => self.release(now, id),
            Action::Forget(id) => {
                let fare = self.leave(id);
                assert!(fare.lost, "{id:?} is forgotten under a good lease");
                self.assert_unsent(id);
            }
        }
    }

    fn spawn(&mut self, now: Instant, seat: Seat, profile: u16) {
        assert!(!self.has_stopped, "{seat:?} is spawned after a stop");
        assert!(seat.slot < self.limits.slots);
        assert!(
            self.generations.insert(seat.generation),
            "{seat:?} is used twice"
        );
        let bench = self.benches.entry(seat.slot).or_default();
        let rested = bench.not_before.is_none_or(|then| then <= now);
        assert!(rested, "{seat:?} comes before the rest is over");
        let mut before = self.lives.iter().filter(|(one, _)| one.slot == seat.slot);
        let alone = before.all(|(_, life)| life.is_over());
        assert!(alone, "{seat:?} sits down where another still sits");
        let life = Life {
            profile,
            ..Life::default()
        };
        self.lives.insert(seat, life);
    }

    fn living(&mut self, seat: Seat) -> &mut Life {
        let life = self.lives.get_mut(&seat).unwrap();
        assert!(life.is_there, "{seat:?} is not there yet");
        assert!(life.exited.is_none(), "{seat:?} is dead already");
        life
    }

    fn send(&mut self, now: Instant, seat: Seat, id: TicketId) {
        assert!(!self.has_stopped, "{id:?} is sent after a stop");
        let most = self.limits.tasks_per_process;
        let ticket = self.inside[&id].ticket;
        self.assert_unsent(id);
        let life = self.living(seat);
        assert!(life.is_ready && !life.has_hung_up && !life.is_asked_to_quit);
        assert!(!life.termed && life.killed.is_none());
        assert!(life.job.is_none(), "{seat:?} has a job already");
        assert_eq!(life.profile, ticket.profile);
        let is_same = |kind: Option<u32>| kind.is_some() && kind == ticket.kind;
        assert!(life.kind.is_none_or(is_same));
        assert!(
            most == 0 || life.served < most,
            "{seat:?} has served enough"
        );
        assert!(
            ticket.expires.is_none_or(|end| end > now),
            "{id:?} has expired"
        );
        let deadline = (now + ticket.timeout).min(ticket.expires.unwrap_or(now + ticket.timeout));
        life.kind = Some(ticket.kind);
        life.job = Some(Job {
            id,
            deadline,
            last: deadline + ticket.patience,
            answer: None,
        });
    }

    fn signal(&mut self, now: Instant, seat: Seat, force: Force) {
        let life = self.living(seat);
        match force {
            Force::Term => {
                assert!(life.killed.is_none() && !life.termed);
                assert!(life.job.is_some(), "{seat:?} has no job to stop");
                life.termed = true;
            }
            Force::Kill => {
                assert!(
                    life.killed.replace(now).is_none(),
                    "{seat:?} is killed twice"
                );
            }
        }
    }

    fn finish(&mut self, now: Instant, id: TicketId, seat: Seat, end: End) {
        let fare = self.leave(id);
        let kill_within = self.limits.kill_within;
        let life = self.lives.get_mut(&seat).unwrap();
        let job = life
            .job
            .take()
            .expect("only a job that was sent can finish");
        assert_eq!(job.id, id);
        let is_reused = life.exited.is_none() && life.killed.is_none() && job.answer.is_some();
        let is_swept = life.swept == Some(Sweep::Clean);
        let began = life.killed.or(life.sweep);
        let waited = began.map_or(Duration::ZERO, |began| now - began);
        let has_given_up = life.swept == Some(Sweep::Unkillable) || waited >= kill_within;
        assert!(
            is_reused || is_swept || has_given_up,
            "{id:?} ends before the sweep"
        );
        assert!(is_swept || is_reused || matches!(end, End::Unkillable | End::Forgotten));
        match end {
            End::Returned => assert_eq!(job.answer, Some(Answer::Returned)),
            End::Failed => assert_eq!(job.answer, Some(Answer::Failed)),
            End::TimedOut | End::Expired => assert!(now >= job.deadline),
            End::Crashed => assert!(life.killed.is_none() && job.answer.is_none()),
            End::Protocol => assert!(life.killed.is_some()),
            End::Revoked => assert!(fare.revoked),
            End::Displaced => panic!("{id:?} has no neighbours"),
            End::Released => assert!(self.has_stopped),
            End::Forgotten => assert!(fare.lost),
            End::Unkillable => assert!(has_given_up),
        }
        let voided = matches!(end, End::Revoked | End::Unkillable | End::Forgotten);
        assert!(
            !fare.revoked || voided,
            "{id:?} was revoked and ends as {end:?}"
        );
        self.ends.push(end);
    }

    fn release(&mut self, now: Instant, id: TicketId) {
        let fare = self.leave(id);
        let is_expired = fare.ticket.expires.is_some_and(|end| end <= now);
        let is_held = now - fare.since >= self.limits.prefetch_hold;
        let all_gone = (0..self.limits.slots).all(|slot| {
            let mut lives = self.lives.iter().filter(|(seat, _)| seat.slot == slot);
            lives.next_back().is_some_and(|(_, life)| !life.is_over())
        });
        let is_due = self.has_stopped || fare.revoked || is_expired || is_held || all_gone;
        assert!(is_due, "{id:?} is given back too soon");
        self.assert_unsent(id);
    }

    fn leave(&mut self, id: TicketId) -> Fare {
        let fare = self.inside.remove(&id);
        fare.expect("a ticket leaves once")
    }

    fn assert_unsent(&self, id: TicketId) {
        let mut jobs = self.lives.values().filter_map(|life| life.job);
        assert!(jobs.all(|job| job.id != id), "{id:?} was sent");
    }

    /// After a step and all its actions.
    pub(super) fn settled(&self, now: Instant, pool: &Pool) {
        for (seat, life) in &self.lives {
            let Some(job) = life.job else { continue };
            let is_stopped = life.killed.is_some() || life.exited.is_some();
            assert!(
                is_stopped || now <= job.last,
                "{seat:?} outlives its patience"
            );
        }
        let running = self
            .lives
            .values()
            .filter(|life| life.job.is_some())
            .count();
        let counts = pool.snapshot();
        assert_eq!(counts.waiting + running, self.inside.len());
        assert_eq!(counts.busy, running);
        let places = usize::from(self.limits.slots);
        let all = counts.starting + counts.idle + counts.busy + counts.leaving;
        assert_eq!(all + counts.resting + counts.gone, places);
        assert!(pool.room(now) <= 33 * places);
        assert_eq!(pool.is_draining(), self.has_stopped);
        if self.has_stopped {
            assert_eq!((pool.room(now), counts.waiting), (0, 0));
        }
    }

    /// After the pool's end.
    pub(super) fn ended(&self) {
        assert!(
            self.inside.is_empty(),
            "tickets never left: {:?}",
            self.inside
        );
    }
}
