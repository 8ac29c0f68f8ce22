//! A master that dies, a replica that takes its place, and a sentinel that says so.

use bulkhead_tests::cli::Place;
use bulkhead_tests::sentinel::Watched;

use crate::parts::{AWAY, BACK, hold, quick, release, start, succeeds_at_once, times, was_brief};

#[test]
fn jobs_go_on_by_themselves_when_the_master_is_killed_and_a_replica_takes_its_place() {
    let mut watched = Watched::start(&[]);
    let place = Place::with_store(&watched.url());
    let mut supervisor = start(&place, &[]);
    let job = hold(&place, "go");
    let _ = place.running(&job);
    let waits = place.submit(&[
        "flaky",
        "--args",
        "[0]",
        "--delay",
        "1s",
        "--max-retries",
        "0",
    ]);
    watched.replica_has_everything();
    watched.master.kill();
    supervisor.says(AWAY);
    supervisor.says(BACK);
    release(&place, "go");
    for job in [&job, &waits, &quick(&place)] {
        succeeds_at_once(&place, job);
    }
    assert_eq!(times(&supervisor, AWAY), 1, "{}", supervisor.log());
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn jobs_go_on_by_themselves_when_master_and_replica_change_places() {
    let watched = Watched::start(&[]);
    let place = Place::with_store(&watched.url());
    let mut supervisor = start(&place, &[]);
    succeeds_at_once(&place, &quick(&place));
    watched.replica_has_everything();
    watched.fail_over();
    for _ in 0..3 {
        succeeds_at_once(&place, &quick(&place));
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
