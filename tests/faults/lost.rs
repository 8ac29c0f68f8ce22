//! Servers that die and come back, with what they held or without, and servers that are full.

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;

use crate::parts::{
    AWAY, BACK, attempts, hold, lasting, quick, release, start, succeeds_at_once, times, was_brief,
};

#[test]
fn jobs_outlive_a_server_that_is_killed_and_has_written_everything_down() {
    let files = tempfile::tempdir().unwrap();
    let mut server = lasting(files.path());
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    let (ends_meanwhile, ends_later) = (hold(&place, "one"), hold(&place, "two"));
    let waits = quick(&place);
    let _ = (place.running(&ends_meanwhile), place.running(&ends_later));
    server.kill();
    supervisor.says(AWAY);
    release(&place, "one");
    server.start_again();
    supervisor.says(BACK);
    release(&place, "two");
    for job in [&ends_meanwhile, &ends_later, &waits, &quick(&place)] {
        succeeds_at_once(&place, job);
    }
    assert_eq!(times(&supervisor, AWAY), 1, "{}", supervisor.log());
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_supervisor_goes_on_when_its_server_has_forgotten_everything_and_says_so() {
    let mut server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    // Its lease is short, so that it soon asks for the job that nobody knows any more.
    let mut supervisor = start(&place, &["--lease", "3s"]);
    let forgotten = hold(&place, "go");
    let _ = place.running(&forgotten);
    server.kill();
    supervisor.says(AWAY);
    server.start_again();
    supervisor.says(BACK);
    supervisor.says("the store has lost what it held");
    let nothing = place.run(&["status", &forgotten]);
    assert_ne!(nothing.code, 0, "{nothing:#?}");
    release(&place, "go");
    for _ in 0..3 {
        succeeds_at_once(&place, &quick(&place));
    }
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_supervisor_goes_on_when_its_store_is_emptied_under_it() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    succeeds_at_once(&place, &quick(&place));
    server.command("FLUSHALL");
    succeeds_at_once(&place, &quick(&place));
    supervisor.says("the store has lost what it held");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_full_server_refuses_jobs_and_loses_none() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    let job = hold(&place, "go");
    let _ = place.running(&job);
    assert_eq!(server.command("CONFIG SET maxmemory 1"), "+OK");
    let refused = place.run(&["submit", "flaky", "--args", "[0]"]);
    assert_ne!(refused.code, 0, "{refused:#?}");
    let _ = refused.says(&["the store is full", "nothing was lost"]);
    release(&place, "go");
    // The job has ended, and nobody can write it down.
    supervisor.says("the store is full");
    assert_eq!(server.command("CONFIG SET maxmemory 0"), "+OK");
    supervisor.says(BACK);
    let status = place.ended(&job);
    assert_eq!(
        (&status["status"], attempts(&status)),
        (&"SUCCEEDED".into(), 1)
    );
    succeeds_at_once(&place, &quick(&place));
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
