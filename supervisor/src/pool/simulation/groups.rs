//! Random groups in virtual time: several jobs in a process, some of which hang or take it down;
//! processes that do not come to be, and that do not go.

use bulkhead_shared::time::Now;
use proptest::prelude::*;
use std::time::Duration;

use super::crowd::{Birth, Death, Deed, Nature, Order, World, ms};
use super::limits;
use crate::pool::{Answer, How, Input, Lane, Limits, TicketId};

#[derive(Debug, Clone)]
enum Outside {
    Offer(Vec<Order>),
    Revoke(u64),
    LoseLease(u64),
    Stop(How),
}

fn orders() -> impl Strategy<Value = Order> {
    let answer = prop_oneof![Just(Answer::Returned), Just(Answer::Failed)];
    let deed = prop_oneof![
        16 => (0..300_u16, answer).prop_map(|(after, answer)| Deed::Answers(after, answer)),
        1 => Just(Deed::Hangs),
        1 => (0..200_u16).prop_map(Deed::Crashes),
        1 => (0..200_u16).prop_map(Deed::Lies),
        1 => (0..200_u16).prop_map(Deed::HangsUp),
    ];
    let lane = prop_oneof![4 => Just(Lane::Thread), 4 => Just(Lane::Async), 1 => Just(Lane::Main)];
    let is_alone = prop_oneof![7 => Just(false), 1 => Just(true)];
    let expires = prop_oneof![5 => Just(None), 1 => (0..600_u16).prop_map(Some)];
    (deed, lane, is_alone, 1..400_u16, 0..200_u16, expires).prop_map(
        |(deed, lane, is_alone, timeout_ms, patience_ms, expires_ms)| Order {
            deed,
            lane,
            is_alone,
            timeout_ms,
            patience_ms,
            expires_ms,
        },
    )
}

fn natures() -> impl Strategy<Value = Nature> {
    let birth = prop_oneof![
        12 => (0..20_u16).prop_map(Birth::After),
        2 => Just(Birth::Overtaken),
        1 => (250..900_u16).prop_map(Birth::After),
        1 => (0..400_u16).prop_map(Birth::Fails),
        1 => Just(Birth::Dies),
        1 => Just(Birth::Mute),
    ];
    let death = prop_oneof![
        30 => Just(Death::Clean),
        3 => (0..8000_u16).prop_map(Death::Files),
        1 => Just(Death::Unkillable),
        1 => Just(Death::Silent),
        1 => Just(Death::Never),
    ];
    let quits = prop_oneof![4 => Just(true), 1 => Just(false)];
    (birth, death, quits).prop_map(|(birth, death, quits)| Nature {
        birth,
        death,
        quits,
    })
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        20 => prop::collection::vec(orders(), 1..10).prop_map(Outside::Offer),
        4 => (1..15_u64).prop_map(Outside::Revoke),
        2 => (1..15_u64).prop_map(Outside::LoseLease),
        1 => prop_oneof![Just(How::Drain), Just(How::Now)].prop_map(Outside::Stop),
    ]
}

fn play(world: &mut World, happenings: Vec<(u16, Outside)>) {
    world.step(Input::Tick);
    for (after, what) in happenings {
        world.advance(world.now + ms(after));
        let back = |world: &World, back| TicketId(world.next.saturating_sub(back));
        match what {
            Outside::Offer(orders) => world.offer(orders),
            Outside::Revoke(n) => world.step(Input::Revoked(back(world, n))),
            Outside::LoseLease(n) => world.step(Input::LeaseLost(back(world, n))),
            Outside::Stop(how) => world.step(Input::Stop(how)),
        }
    }
}

fn of(groups: u16, group_floor: u16) -> Limits {
    Limits {
        groups,
        group_floor,
        threads: 3,
        async_tasks: 5,
        ..limits(1, 1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn the_laws_hold_for_groups_whatever_their_jobs_do(
        groups in 1..4_u16,
        floor in 0..3_u16,
        natures in prop::collection::vec(natures(), 1..12),
        happenings in prop::collection::vec((0..150_u16, outside()), 0..50),
    ) {
        let limits = of(groups, floor.min(groups));
        let mut world = World::new(limits, natures, Now::read().mono);
        play(&mut world, happenings);
        // Without new ones every job leaves, whatever becomes of the processes.
        world.advance(world.now + Duration::from_secs(100));
        prop_assert!(world.is_empty(), "{:?}", world.pool);
        if !world.pool.is_draining() {
            world.step(Input::Stop(How::Drain));
        }
        world.advance(world.now + Duration::from_secs(100));
        prop_assert!(world.pool.is_gone(), "{:?}", world.pool);
    }

    /// Where every process comes and goes as it should, so does every job that answers in time.
    #[test]
    fn honest_jobs_in_honest_groups_return(
        groups in 1..3_u16,
        orders in prop::collection::vec((0..100_u16, orders()), 1..30),
    ) {
        let honest = Nature { birth: Birth::After(3), death: Death::Clean, quits: true };
        let mut world = World::new(of(groups, 0), vec![honest], Now::read().mono);
        world.step(Input::Tick);
        let mut ran = 0;
        for (after, order) in orders {
            world.advance(world.now + ms(after));
            let room = world.pool.room_in_groups(order.lane, world.now);
            if room > 0 && !order.is_alone {
                let answers = Deed::Answers(after, Answer::Returned);
                world.offer(vec![Order { deed: answers, timeout_ms: 400, expires_ms: None, ..order }]);
                ran += 1;
            }
        }
        world.advance(world.now + Duration::from_secs(2));
        prop_assert_eq!(world.returned, ran);
    }
}
