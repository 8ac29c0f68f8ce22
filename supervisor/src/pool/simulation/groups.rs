//! Random groups in virtual time: several jobs in a process, some of which hang or take it down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;
use proptest::prelude::*;

use super::limits;
use crate::pool::{
    Action, Actions, Answer, End, Force, How, Input, Lane, Limits, LinkEvent, Pool, Seat, Sweep,
    Ticket, TicketId,
};

const THREADS: u16 = 3;
const TASKS: u16 = 5;
const GROUPS: u16 = 2;

/// What a job does in its process. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Answers after that, or at once when it is asked to stop.
    Answers(u16),
    /// Never answers, whatever it is asked.
    Hangs,
    /// Takes its process down after that.
    Crashes(u16),
    /// Breaks the wire's rules after that.
    Lies(u16),
}

#[derive(Debug, Clone, Copy)]
struct Order {
    deed: Deed,
    lane: Lane,
    is_alone: bool,
    timeout_ms: u16,
    patience_ms: u16,
}

#[derive(Debug, Clone)]
enum Outside {
    Offer(Vec<Order>),
    Revoke(u64),
    LoseLease(u64),
    Stop(How),
}

#[derive(Debug, Default)]
struct Life {
    is_there: bool,
    is_dead: bool,
    is_killed: bool,
    is_quit: bool,
    /// Jobs inside, and the latest moment of their kill.
    jobs: BTreeMap<TicketId, Instant>,
    swept: bool,
}

struct World {
    pool: Pool,
    limits: Limits,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Input>,
    entry: u64,
    lives: BTreeMap<Seat, Life>,
    inside: BTreeMap<TicketId, Order>,
    lost: BTreeSet<TicketId>,
    revoked: BTreeSet<TicketId>,
    has_stopped: bool,
    next: u64,
}

const fn ms(ms: u16) -> Duration {
    Duration::from_millis(ms as u64)
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            groups: GROUPS,
            threads: THREADS,
            async_tasks: TASKS,
            ..limits(1, 1)
        };
        Self {
            pool: Pool::new(limits, 0),
            limits,
            now: Now::read().mono,
            agenda: BTreeMap::new(),
            entry: 0,
            lives: BTreeMap::new(),
            inside: BTreeMap::new(),
            lost: BTreeSet::new(),
            revoked: BTreeSet::new(),
            has_stopped: false,
            next: 0,
        }
    }

    fn plan(&mut self, after: u16, input: Input) {
        self.entry += 1;
        self.agenda
            .insert((self.now + ms(after), self.entry), input);
    }

    fn step(&mut self, input: Input) {
        match &input {
            Input::Spawned(seat) => self.lives.get_mut(seat).unwrap().is_there = true,
            Input::Link(seat, LinkEvent::Exited) => {
                let life = self.lives.get_mut(seat).unwrap();
                if std::mem::replace(&mut life.is_dead, true) {
                    return;
                }
            }
            Input::Link(seat, _) if self.lives[seat].is_dead => return,
            Input::Answered(seat, id, _) => {
                let life = &self.lives[seat];
                if life.is_dead || !life.jobs.contains_key(id) {
                    return;
                }
            }
            Input::Swept(seat, _) => self.lives.get_mut(seat).unwrap().swept = true,
            Input::Revoked(id) => drop(self.revoked.insert(*id)),
            Input::LeaseLost(id) => drop(self.lost.insert(*id)),
            Input::Stop(_) => self.has_stopped = true,
            _ => {}
        }
        let mut actions = Actions::new();
        self.pool.step(self.now, input, &mut actions);
        let actions: Vec<_> = actions.drain().collect();
        for action in actions {
            self.perform(action);
        }
        self.check();
    }

    fn alive(&mut self, seat: Seat) -> &mut Life {
        let life = self.lives.get_mut(&seat).unwrap();
        assert!(life.is_there && !life.is_dead, "{seat:?} is not alive");
        life
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn(seat, _) => {
                assert!(!self.has_stopped);
                self.lives.insert(seat, Life::default());
                self.plan(1, Input::Spawned(seat));
                self.plan(2, Input::Link(seat, LinkEvent::Ready));
            }
            Action::Send(seat, id) => self.send(seat, id),
            Action::Halt(seat, id) => {
                assert!(
                    self.alive(seat).jobs.contains_key(&id),
                    "{id:?} is not there"
                );
                if let Deed::Answers(_) = self.inside[&id].deed {
                    self.plan(1, Input::Answered(seat, id, Answer::Failed));
                }
            }
            Action::Signal(seat, Force::Term) => panic!("{seat:?}: a group is never sent SIGTERM"),
            Action::Signal(seat, Force::Kill) => {
                let life = self.alive(seat);
                assert!(!std::mem::replace(&mut life.is_killed, true));
                self.plan(1, Input::Link(seat, LinkEvent::Exited));
            }
            Action::Quit(seat) => {
                let life = self.alive(seat);
                life.is_quit = true;
                assert!(life.jobs.is_empty(), "{seat:?} is let go with jobs inside");
                self.plan(1, Input::Link(seat, LinkEvent::Exited));
            }
            Action::Sweep(seat) => {
                assert!(self.lives[&seat].is_dead);
                self.plan(1, Input::Swept(seat, Sweep::Clean));
            }
            Action::Finish { ticket, seat, end } => self.finish(ticket, seat, end),
            Action::Release(id) | Action::Forget(id) => {
                assert!(self.inside.remove(&id).is_some(), "{id:?} leaves twice");
                assert!(self.lives.values().all(|life| !life.jobs.contains_key(&id)));
            }
        }
    }

    fn send(&mut self, seat: Seat, id: TicketId) {
        assert!(!self.has_stopped, "{id:?} is sent after a stop");
        let order = self.inside[&id];
        let last = self.now + ms(order.timeout_ms) + ms(order.patience_ms);
        let life = self.alive(seat);
        assert!(!life.is_killed && !life.is_quit);
        assert!(life.jobs.insert(id, last).is_none());
        let jobs: Vec<_> = life.jobs.keys().copied().collect();
        let lone = self.limits.slots + self.limits.groups;
        assert_eq!(order.is_alone, seat.slot == lone);
        assert!(!order.is_alone || jobs.len() == 1, "{id:?} is not alone");
        let of = |lane| {
            jobs.iter()
                .filter(|id| self.inside[id].lane == lane)
                .count()
        };
        assert!(of(Lane::Thread) <= usize::from(THREADS));
        assert!(of(Lane::Async) <= usize::from(TASKS));
        assert!(of(Lane::Main) <= 1 && of(Lane::Process) == 0);
        match order.deed {
            Deed::Answers(after) => self.plan(after, Input::Answered(seat, id, Answer::Returned)),
            Deed::Hangs => {}
            Deed::Crashes(after) => self.plan(after, Input::Link(seat, LinkEvent::Exited)),
            Deed::Lies(after) => self.plan(after, Input::Link(seat, LinkEvent::Violation)),
        }
    }

    fn finish(&mut self, id: TicketId, seat: Seat, end: End) {
        let order = self.inside.remove(&id).expect("a ticket leaves once");
        let life = self.lives.get_mut(&seat).unwrap();
        assert!(life.jobs.remove(&id).is_some());
        let is_over = life.swept;
        match end {
            End::Returned | End::Failed => assert!(matches!(order.deed, Deed::Answers(_))),
            End::Displaced => {
                assert!(is_over && !order.is_alone);
            }
            End::Crashed | End::Protocol => assert!(is_over),
            End::Revoked => assert!(self.revoked.contains(&id)),
            End::Forgotten => assert!(self.lost.contains(&id)),
            End::Released => assert!(self.has_stopped),
            End::TimedOut => {}
            End::Expired | End::Unkillable => panic!("{id:?} ends as {end:?}"),
        }
    }

    fn check(&self) {
        for (seat, life) in &self.lives {
            let is_over = life.is_dead || life.is_killed;
            let is_late = |last: &Instant| *last < self.now;
            assert!(
                is_over || !life.jobs.values().any(is_late),
                "{seat:?} is late"
            );
        }
        let counts = self.pool.snapshot();
        let riding: usize = self.lives.values().map(|life| life.jobs.len()).sum();
        assert_eq!(counts.riding, riding);
        assert_eq!(counts.waiting + riding, self.inside.len());
        for lane in [Lane::Thread, Lane::Async, Lane::Main] {
            assert!(self.pool.room_in_groups(lane, self.now) <= 65 * usize::from(GROUPS * TASKS));
        }
        assert!(!self.has_stopped || counts.waiting == 0);
    }

    fn advance(&mut self, until: Instant) {
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
                Some(key) if key.0 == then && wake != Some(then) => {
                    let input = self.agenda.remove(&key).unwrap();
                    self.step(input);
                }
                _ => self.step(Input::Tick),
            }
        }
    }

    fn offer(&mut self, orders: Vec<Order>) {
        let mut tickets = Vec::new();
        for order in orders {
            let id = TicketId(self.next);
            self.next += 1;
            self.inside.insert(id, order);
            tickets.push(Ticket {
                id,
                lane: order.lane,
                is_alone: order.is_alone,
                kind: 0,
                profile: 0,
                timeout: ms(order.timeout_ms),
                patience: ms(order.patience_ms),
                expires: None,
            });
        }
        self.step(Input::Offered(tickets));
    }
}

fn orders() -> impl Strategy<Value = Order> {
    let deed = prop_oneof![
        12 => (0..300_u16).prop_map(Deed::Answers),
        1 => Just(Deed::Hangs),
        1 => (0..200_u16).prop_map(Deed::Crashes),
        1 => (0..200_u16).prop_map(Deed::Lies),
    ];
    let lane = prop_oneof![4 => Just(Lane::Thread), 4 => Just(Lane::Async), 1 => Just(Lane::Main)];
    let is_alone = prop_oneof![7 => Just(false), 1 => Just(true)];
    (deed, lane, is_alone, 1..400_u16, 0..200_u16).prop_map(
        |(deed, lane, is_alone, timeout_ms, patience_ms)| Order {
            deed,
            lane,
            is_alone,
            timeout_ms,
            patience_ms,
        },
    )
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        20 => prop::collection::vec(orders(), 1..10).prop_map(Outside::Offer),
        4 => (1..15_u64).prop_map(Outside::Revoke),
        2 => (1..15_u64).prop_map(Outside::LoseLease),
        1 => prop_oneof![Just(How::Drain), Just(How::Now)].prop_map(Outside::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_laws_hold_for_groups_whatever_their_jobs_do(
        happenings in prop::collection::vec((0..150_u16, outside()), 0..50),
    ) {
        let mut world = World::new();
        world.step(Input::Tick);
        for (after, what) in happenings {
            world.advance(world.now + ms(after));
            match what {
                Outside::Offer(orders) => world.offer(orders),
                Outside::Revoke(back) => world.step(Input::Revoked(TicketId(world.next.saturating_sub(back)))),
                Outside::LoseLease(back) => world.step(Input::LeaseLost(TicketId(world.next.saturating_sub(back)))),
                Outside::Stop(how) => world.step(Input::Stop(how)),
            }
        }
        if !world.has_stopped {
            // Without new ones, every job ends.
            world.advance(world.now + Duration::from_secs(60));
            prop_assert!(world.inside.is_empty(), "{:?} {:?}", world.inside, world.pool);
            world.step(Input::Stop(How::Drain));
        }
        world.advance(world.now + Duration::from_secs(30));
        prop_assert!(world.pool.is_gone(), "{:?}", world.pool);
        prop_assert!(world.inside.is_empty());
    }
}
