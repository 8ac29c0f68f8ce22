//! Random worlds in virtual time; the laws are checked after every step.

mod crowd;
mod crowd_laws;
mod groups;
mod laws;
mod world;

use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;
use proptest::prelude::*;

use super::{Answer, How, Input, Lane, Limits, LinkEvent, Seat, Sweep, Ticket, TicketId};
use world::{Deed, Fork, Nature, Term, World};

const PATIENCE_MOST_MS: u16 = 400;

fn limits(slots: u16, tasks_per_process: u32) -> Limits {
    Limits {
        slots,
        tasks_per_process,
        // The third of the profiles that jobs ask for.
        single_use: 0b100,
        groups: 0,
        group_floor: 0,
        threads: 0,
        async_tasks: 0,
        ready_within: Duration::from_millis(300),
        exit_within: Duration::from_millis(200),
        kill_within: Duration::from_secs(5),
        clear_within: Duration::from_secs(60),
        grace: Duration::from_millis(700),
        rest_first: Duration::from_millis(100),
        rest_longest: Duration::from_secs(10),
        prefetch_window: Duration::from_millis(50),
        prefetch_hold: Duration::from_millis(100),
    }
}

/// Something from outside, or a lie.
#[derive(Debug, Clone)]
enum Outside {
    Offer(Vec<Order>),
    /// The n-th youngest of all offered.
    Revoke(u64),
    LoseLease(u64),
    Time(u64, Option<u64>),
    /// Anything, in the name of any seat.
    Noise(u16, u64, LinkEvent),
    Stop(How),
}

#[derive(Debug, Clone, Copy)]
struct Order {
    kind: Option<u32>,
    profile: u16,
    timeout_ms: u16,
    patience_ms: u16,
    expires_ms: Option<u16>,
}

impl Order {
    fn ticket(self, id: u64, now: Instant) -> Ticket {
        let ms = |ms: u16| Duration::from_millis(ms.into());
        Ticket {
            id: TicketId(id),
            lane: Lane::Process,
            is_alone: false,
            kind: self.kind,
            profile: self.profile,
            timeout: ms(self.timeout_ms),
            patience: ms(self.patience_ms),
            expires: self.expires_ms.map(|after| now + ms(after)),
        }
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Returned), Just(Answer::Failed)]
}

fn natures() -> impl Strategy<Value = Nature> {
    let spawn = prop_oneof![
        12 => (0..20_u16).prop_map(Fork::After),
        2 => Just(Fork::Overtaken),
        1 => (0..20_u16).prop_map(Fork::Fails),
        1 => (250..900_u16).prop_map(Fork::After),
        1 => Just(Fork::Never),
    ];
    let ready = prop_oneof![9 => (0..40_u16).prop_map(Some), 1 => Just(None)];
    let death = prop_oneof![8 => Just(None), 1 => (0..600_u16).prop_map(Some)];
    let deed = prop_oneof![
        10 => answers().prop_map(Deed::Answer),
        1 => Just(Deed::AnswerTwice),
        1 => Just(Deed::Garbage),
        1 => Just(Deed::Hangup),
        1 => Just(Deed::Die),
        2 => Just(Deed::Hang),
    ];
    let exit = prop_oneof![8 => (0..5_u16).prop_map(Some), 1 => (0..400_u16).prop_map(Some), 1 => Just(None)];
    let term = prop_oneof![
        2 => (0..300_u16).prop_map(Term::Exit),
        2 => (0..300_u16, answers()).prop_map(|(after, answer)| Term::Answer(after, answer)),
        1 => Just(Term::Ignore),
    ];
    let kill = prop_oneof![30 => (0..5_u16).prop_map(Some), 1 => (0..6000_u16).prop_map(Some), 1 => Just(None)];
    let sweep = prop_oneof![
        40 => (0..5_u16).prop_map(|after| Some((after, Sweep::Clean))),
        1 => (0..6000_u16).prop_map(|after| Some((after, Sweep::Clean))),
        1 => (0..5_u16).prop_map(|after| Some((after, Sweep::Unkillable))),
        3 => (0..5_u16).prop_map(|after| Some((after, Sweep::Files))),
        1 => Just(None),
    ];
    let job = (prop_oneof![3 => 0..60_u16, 1 => 0..800_u16], deed);
    (spawn, ready, death, job, exit, term, kill, sweep).prop_map(
        |(spawn, ready, death, job, exit, term, kill, sweep)| Nature {
            spawn,
            ready,
            death,
            job,
            exit,
            term,
            kill,
            sweep,
        },
    )
}

fn orders() -> impl Strategy<Value = Order> {
    let kind = prop_oneof![3 => Just(Some(0_u32)), 1 => (0..3_u32).prop_map(Some), 1 => Just(None)];
    let profile = prop_oneof![3 => Just(0_u16), 1 => 0..3_u16];
    let expires = prop_oneof![4 => Just(None), 1 => (0..900_u16).prop_map(Some)];
    (kind, profile, 1..500_u16, 0..PATIENCE_MOST_MS, expires).prop_map(
        |(kind, profile, timeout_ms, patience_ms, expires_ms)| Order {
            kind,
            profile,
            timeout_ms,
            patience_ms,
            expires_ms,
        },
    )
}

fn events() -> impl Strategy<Value = Vec<(u16, Outside)>> {
    let noise = prop_oneof![
        Just(LinkEvent::Ready),
        answers().prop_map(LinkEvent::Done),
        Just(LinkEvent::Violation),
        Just(LinkEvent::Hangup),
    ];
    let outside = prop_oneof![
        24 => prop::collection::vec(orders(), 1..8).prop_map(Outside::Offer),
        6 => (1..12_u64).prop_map(Outside::Revoke),
        4 => (1..12_u64).prop_map(Outside::LoseLease),
        4 => (1..12_u64, prop::option::of(0..500_u64)).prop_map(|(back, left)| Outside::Time(back, left)),
        4 => (0..6_u16, 0..60_u64, noise).prop_map(|(slot, at, what)| Outside::Noise(slot, at, what)),
        1 => prop_oneof![Just(How::Drain), Just(How::Now)].prop_map(Outside::Stop),
    ];
    prop::collection::vec((0..120_u16, outside), 0..80)
}

/// Lets `events` happen in a world.
fn live(world: &mut World, events: Vec<(u16, Outside)>) {
    let mut id = 0;
    world.step(Input::Tick);
    for (after, event) in events {
        let until = world.now + Duration::from_millis(after.into());
        while world.advance(until) {}
        match event {
            Outside::Offer(orders) => {
                let first = id;
                id += orders.len() as u64;
                let now = world.now;
                let tickets = (first..)
                    .zip(orders)
                    .map(|(id, order)| order.ticket(id, now));
                world.step(Input::Offered(tickets.collect()));
            }
            Outside::Revoke(back) => {
                world.step(Input::Revoked(TicketId(id.saturating_sub(back))));
            }
            Outside::LoseLease(back) => {
                world.step(Input::LeaseLost(TicketId(id.saturating_sub(back))));
            }
            Outside::Time(back, left) => {
                let left = left.map(Duration::from_millis);
                world.step(Input::Timed(TicketId(id.saturating_sub(back)), left));
            }
            Outside::Noise(slot, generation, what) => {
                world.noise(Seat { slot, generation }, what);
            }
            Outside::Stop(how) => world.step(Input::Stop(how)),
        }
    }
}

/// Drains the pool: it must be gone soon after the grace without being told again.
fn drain(world: &mut World) {
    let grace = limits(1, 1).grace;
    if !world.pool.is_draining() {
        world.step(Input::Stop(How::Drain));
    }
    wait_for_end(world, grace);
}

/// Stops the pool now: it must be gone when patience, kill and sweep are over.
fn end(world: &mut World) {
    // A second stop if the first was a drain.
    world.step(Input::Stop(How::Now));
    wait_for_end(world, Duration::ZERO);
}

fn wait_for_end(world: &mut World, grace: Duration) {
    let limits = limits(1, 1);
    let patience = Duration::from_millis(PATIENCE_MOST_MS.into());
    // A late fork, then a kill and a sweep.
    let most = grace + patience.max(limits.exit_within) + 3 * limits.kill_within;
    let until = world.now + most;
    while !world.pool.is_gone() && world.advance(until) {}
    assert!(
        world.pool.is_gone(),
        "the pool never ends: {:?}",
        world.pool
    );
    world.laws.ended();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_laws_hold_whatever_processes_and_users_do(
        slots in 1..=6_u16,
        tasks_per_process in prop_oneof![Just(0_u32), Just(1), Just(3)],
        natures in prop::collection::vec(natures(), 1..12),
        events in events(),
        last in prop_oneof![Just(How::Drain), Just(How::Now)],
    ) {
        let limits = limits(slots, tasks_per_process);
        let mut world = World::new(limits, natures, Now::read().mono);
        live(&mut world, events);
        match last {
            How::Drain => drain(&mut world),
            How::Now => end(&mut world),
        }
    }
}
