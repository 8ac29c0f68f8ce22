//! Thousands of jobs of all kinds, and one supervisor after the other killed among them.

use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::time::Now;
use bulkhead_tests::cli::Place;
use bulkhead_tests::work::Kind;

use crate::scene::{LONG_LEASE, Scene, wait_for_death};

/// Slots of each supervisor, and how many of them are held by jobs that wait for the kill.
const PROCESSES: u16 = 8;
const HELD: usize = 5;

/// Jobs that must run at a kill for it to count, and how many kills may find fewer.
const BUSY: usize = 4;

/// Faults that kill a supervisor from within a transaction, at one of its first passages.
const WITHIN: [&str; 2] = ["claim:9", "settle:9"];

/// How much is done.
#[derive(Debug)]
struct Extent {
    jobs: usize,
    /// From outside; those from within come on top.
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
        let (jobs, kills, minutes) = if is_long {
            (20_000, 10, 20)
        } else {
            (2_000, 4, 3)
        };
        Self {
            jobs,
            kills,
            patience: Duration::from_secs(minutes * 60),
        }
    }
}

/// Submits all jobs; returns those that hold each kill's slots, spread evenly.
fn submit(scene: &mut Scene<'_>, extent: &Extent) -> Vec<Vec<Uuid>> {
    let share = extent.jobs / (extent.kills + WITHIN.len() + 1);
    let mut holders = Vec::new();
    for gate in 0..extent.kills {
        let first = gate * share;
        scene.submit((first..first + share - HELD).map(Kind::nth));
        holders.push(scene.submit([Kind::Hold { gate }; HELD]));
    }
    let left = extent.jobs - scene.jobs.len();
    scene.submit((0..left).map(Kind::nth));
    holders
}

#[test]
fn every_job_ends_once_however_often_supervisors_are_killed() {
    let extent = Extent::read();
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let start = Now::read().mono;
    let holders = submit(&mut scene, &extent);
    let mut running = Vec::new();
    for (gate, held) in holders.iter().enumerate() {
        let mut supervisor = scene.start(PROCESSES, LONG_LEASE, "");
        scene.wait_until_running(held, extent.patience);
        supervisor.kill();
        running.push(scene.bury());
        scene.open_gate(gate);
        // What it had started ends with it, before anybody clears up.
        drop(supervisor);
        if let Some(fault) = WITHIN.get(gate) {
            let mut supervisor = scene.start(PROCESSES, LONG_LEASE, fault);
            wait_for_death(&mut supervisor);
            scene.bury();
        }
    }
    let mut last = scene.start(PROCESSES, LONG_LEASE, "");
    scene.wait_for_endings(extent.patience);
    scene.note_runs();
    assert_eq!(last.stop(), 0, "{}", last.log());
    drop(last);
    let busy = running.iter().filter(|running| **running >= BUSY);
    assert!(busy.count() >= extent.kills.min(8), "{running:?}");
    let figures = scene.judge();
    // Jobs are claimed ahead of free slots, but not over and over again.
    let jobs = i64::try_from(figures.jobs).expect("some thousands");
    assert!(figures.released < jobs, "{figures}");
    let seconds = (Now::read().mono - start).as_secs_f32();
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        eprintln!("{figures}, running at each kill {running:?}, {seconds:.1} s");
    }
}
