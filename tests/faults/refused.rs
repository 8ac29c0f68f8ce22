//! Stores that cannot be used: said with a way out, and without secrets.

use bulkhead_tests::cli::{Place, program};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;

use crate::parts::{quick, start, succeeds_at_once};

/// What `submit` and `run` say of a store that is not to be used.
fn both_say(place: &Place, words: &[&str]) -> String {
    let child = program("hostile-child");
    let run = ["run", "--child", child.to_str().unwrap()];
    let mut said = String::new();
    for arguments in [&["submit", "flaky", "--args", "[0]"][..], &run] {
        let ran = place.run(arguments);
        assert_ne!(ran.code, 0, "{ran:#?}");
        said += &ran.says(words).stderr;
    }
    said
}

#[test]
fn a_read_only_replica_is_refused_and_the_master_asked_for() {
    let master = RedisServer::start(&[]);
    let of = ["--replicaof", "127.0.0.1", &master.port().to_string()];
    let replica = RedisServer::start(&of);
    until("the replica to follow", PATIENCE, || {
        let info = replica.text("INFO replication");
        info.contains("master_link_status:up").then_some(())
    });
    let place = Place::with_store(&replica.url());
    both_say(
        &place,
        &["read only replica", "name the master", "redis+sentinel://"],
    );
}

#[test]
fn a_wrong_password_is_refused_and_never_shown() {
    let server = RedisServer::start(&["--requirepass", "sesame"]);
    let url = format!("redis://:pumpkin@127.0.0.1:{}", server.port());
    let place = Place::with_store(&url);
    let said = both_say(&place, &["password"]);
    assert!(!said.contains("pumpkin"), "{said}");
}

#[test]
fn keys_of_other_programs_that_are_in_the_way_are_named_and_when_they_go_work_goes_on() {
    let server = RedisServer::start(&[]);
    for number in 0..500 {
        server.command(&format!("SET {{bulkhead|default}}theirs:{number} 1"));
    }
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    succeeds_at_once(&place, &quick(&place));
    server.command("LPUSH {bulkhead|default}d theirs");
    supervisor.says("`{bulkhead|default}d` is a list");
    supervisor.says("name another --namespace");
    assert!(supervisor.is_alive());
    assert_eq!(server.command("LLEN {bulkhead|default}d"), ":1");
    server.command("DEL {bulkhead|default}d");
    supervisor.says("the store is back");
    succeeds_at_once(&place, &quick(&place));
    assert_eq!(server.command("EXISTS {bulkhead|default}theirs:499"), ":1");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
