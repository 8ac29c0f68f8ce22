//! Supervisors that die at the worst places: within and right after a transaction.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::work::Kind;

use crate::scene::{LONG_LEASE, Scene, wait_for_death};

/// Jobs of each test: enough for a few passages of every point.
const JOBS: usize = 60;

/// Runs jobs under supervisors that die at the first, the second and the fifth passage of `point`.
fn survive(point: &str) {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    // One that hangs is enough: it is not what is killed here.
    scene.submit((0..JOBS).map(|n| Kind::nth(n + 1)));
    for passage in [1, 2, 5] {
        let fault = format!("{point}:{passage}");
        let mut supervisor = scene.start(4, LONG_LEASE, &fault);
        wait_for_death(&mut supervisor);
        scene.bury();
    }
    let mut last = scene.start(4, LONG_LEASE, "");
    scene.wait_for_endings(PATIENCE);
    scene.note_runs();
    assert_eq!(last.stop(), 0, "{}", last.log());
    drop(last);
    scene.judge();
}

#[test]
fn a_death_before_claims_are_committed_loses_nothing() {
    survive("claim");
}

#[test]
fn a_death_after_claims_are_committed_loses_nothing() {
    survive("claimed");
}

#[test]
fn a_death_before_settlements_are_committed_loses_nothing() {
    survive("settle");
}

#[test]
fn a_death_after_settlements_are_committed_ends_nothing_twice() {
    survive("settled");
}

#[test]
fn a_death_before_claimed_jobs_are_handed_over_loses_nothing() {
    survive("hand-over");
}
