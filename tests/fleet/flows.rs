//! Chains and groups between two queues of a Redis server, with supervisors and the server killed
//! among them.

use std::time::Duration;

use bulkhead_shared::time::Now;
use bulkhead_tests::flow::Planned;
use bulkhead_tests::{network, work};

use crate::fleet::{Fleet, Ground};

/// Supervisors of the fleet.
const SEATS: usize = 4;

/// Flows submitted at once.
const BATCH: usize = 50;

/// Where supervisors die by themselves: before and after an ending is certain, between a letter and
/// its delivery, between that and its removal, and with a group that is complete and not closed.
const WITHIN: [&str; 5] = [
    "letters:5",
    "delivered:3",
    "settled:9",
    "close:1",
    "letters:20",
];

/// How much is done.
struct Extent {
    chains: usize,
    groups: usize,
    kills: usize,
    restarts: usize,
    patience: Duration,
}

impl Extent {
    fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks for the long form"
        )]
        let is_long = std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1");
        let (chains, groups, kills, restarts, minutes) = if is_long {
            (5000, 500, 12, 4, 30)
        } else {
            (200, 30, 4, 1, 3)
        };
        Self {
            chains,
            groups,
            kills,
            restarts,
            patience: Duration::from_secs(minutes * 60),
        }
    }
}

/// Replaces the supervisor that was to die by itself, and fills all seats. Whether it had died.
fn disarm(fleet: &mut Fleet<'_>, armed: Option<usize>) -> usize {
    let is_dead = armed.map(|seat| {
        let is_dead = !fleet.supervisor(seat).is_alive();
        fleet.kill(seat);
        is_dead
    });
    for seat in fleet.vacant() {
        fleet.start(seat);
    }
    usize::from(is_dead == Some(true))
}

#[test]
fn every_chain_and_join_ends_once_whatever_fails_in_a_fleet() {
    if !network::can_be_made() {
        return;
    }
    let extent = Extent::read();
    let begun = Now::read();
    let ground = Ground::new();
    let mut fleet = Fleet::new(&ground, SEATS, "2s");
    let lines = fleet.attempts.path().to_owned();
    let mut places = 0..;
    let mut make = |kind| work::message(kind, &lines, places.next());
    let flows = Planned::mixed(extent.chains, extent.groups, &mut make);
    let all: usize = flows.iter().map(|one| one.jobs.len()).sum();
    let mut some = flows.chunks(BATCH);
    let (mut armed, mut deaths) = (None, 0);
    let deeds = extent.kills + extent.restarts;
    for deed in 0..deeds {
        let due = all * (deed + 1) / (deeds + 1);
        fleet.until("some endings", extent.patience, |fleet| {
            if fleet.evidence.endings() + all / 4 > fleet.jobs.len()
                && let Some(flows) = some.next()
            {
                fleet.submit_flows(flows);
            }
            fleet.evidence.endings() >= due
        });
        deaths += disarm(&mut fleet, armed.take());
        let seat = deed % SEATS;
        if let Some(fault) = WITHIN.get(deed) {
            fleet.kill(seat);
            fleet.start_with(seat, fault);
            armed = Some(seat);
        }
        // The moment is whatever it is; which seat goes around.
        if deed % (deeds / extent.restarts) == 1 {
            fleet.restart_server(Duration::ZERO);
        } else {
            fleet.kill((seat + 1) % SEATS);
        }
    }
    some.for_each(|flows| fleet.submit_flows(flows));
    deaths += disarm(&mut fleet, armed);
    fleet.until("an ending for every job", extent.patience, |fleet| {
        fleet.evidence.endings() == fleet.jobs.len()
    });
    assert_eq!(fleet.jobs.len(), all);
    fleet.until("errands and groups to be done", extent.patience, |fleet| {
        fleet.flows_left() == (0, 0)
    });
    fleet.stop();
    let figures = fleet.judge();
    fleet.check_joins(&flows);
    let seconds = (Now::read().mono - begun.mono).as_secs_f32();
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        let Extent { chains, groups, .. } = extent;
        eprintln!(
            "{chains} chains, {groups} groups, {deeds} deeds and {deaths} deaths from within: \
             {figures}, {seconds:.1} s"
        );
    }
    assert_eq!(figures.overlap.refused, 0, "{figures}");
}
