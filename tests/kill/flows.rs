//! Chains and groups, and one supervisor after the other killed among them: from outside, and at
//! the points where one job's end becomes another's beginning.

use std::time::Duration;

use bulkhead_shared::client::Client;
use bulkhead_shared::flow::Flow;
use bulkhead_shared::time::Now;
use bulkhead_tests::cli::Place;
use bulkhead_tests::flow::{OTHER, Planned};
use bulkhead_tests::supervise::Supervisor;
use bulkhead_tests::{until, work};

use crate::scene::{LONG_LEASE, Scene, wait_for_death};

const PROCESSES: &str = "8";

/// Where supervisors die by themselves, one after the other: within the move that brings errands,
/// before and after it is certain, and with a group that is complete and not closed.
const WITHIN: [&str; 5] = [
    "errands:30",
    "settle:9",
    "settled:12",
    "close:2",
    "errands:3",
];

/// How much is done.
struct Extent {
    chains: usize,
    groups: usize,
    kills: usize,
    patience: Duration,
}

impl Extent {
    fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks for the long form"
        )]
        let is_long = std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1");
        let (chains, groups, kills, minutes) = if is_long {
            (5000, 500, 10, 20)
        } else {
            (200, 30, 3, 3)
        };
        Self {
            chains,
            groups,
            kills,
            patience: Duration::from_secs(minutes * 60),
        }
    }
}

fn start<'a>(scene: &Scene<'a>, fault: &str) -> Supervisor<'a> {
    Supervisor::at(scene.place)
        .tasks_of("chaos-child")
        .args(["--processes", PROCESSES, "--lease", LONG_LEASE])
        .args(["--queues", &format!("default,{OTHER}")])
        .args(["--patience", "100ms", "--log-level", "warn"])
        .env("BULKHEAD_TEST_FAULT", fault)
        .start()
}

#[test]
fn every_chain_and_join_ends_once_however_often_supervisors_are_killed() {
    let extent = Extent::read();
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let begun = Now::read().mono;
    let lines = scene.lines.path().to_owned();
    let mut make = |kind| work::message(kind, &lines, None);
    let flows = Planned::mixed(extent.chains, extent.groups, &mut make);
    let client = Client::open(&place.url()).unwrap();
    let built: Vec<Flow> = flows.iter().map(|one| one.flow.clone()).collect();
    client.submit_flows(&built).unwrap();
    scene.jobs = flows.iter().flat_map(|one| one.jobs.clone()).collect();
    let all = scene.jobs.len();
    let deaths = extent.kills + WITHIN.len();
    for death in 0..deaths {
        // From outside at any moment, and from within, by turns.
        let fault = WITHIN.get(death).copied().unwrap_or_default();
        let mut supervisor = start(&scene, fault);
        if fault.is_empty() {
            let due = i64::try_from(all * (death + 1) / (deaths + 1)).unwrap();
            until("some endings", extent.patience, || {
                (scene.witness.endings() >= due).then_some(())
            });
            supervisor.kill();
        } else {
            wait_for_death(&mut supervisor);
        }
        scene.bury();
    }
    let mut last = start(&scene, "");
    scene.wait_for_endings(extent.patience);
    until("all groups to be closed", extent.patience, || {
        let flows = client.backend().catalog.flows().unwrap();
        (flows.groups == 0).then_some(())
    });
    scene.note_runs();
    assert_eq!(last.stop(), 0, "{}", last.log());
    drop(last);
    let figures = scene.judge();
    flows.iter().for_each(|one| one.check_join(&client));
    let seconds = (Now::read().mono - begun).as_secs_f32();
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        let Extent { chains, groups, .. } = extent;
        eprintln!("{chains} chains, {groups} groups, {deaths} deaths: {figures}, {seconds:.1} s");
    }
}
