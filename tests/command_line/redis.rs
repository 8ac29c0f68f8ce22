//! `supervisor doctor` and `supervisor fleet` where the store is a Redis server.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Presence, Selection, SupervisorId};
use bulkhead_shared::{QueueName, TaskName, Timestamp, Uuid};
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::redis_server::RedisServer;
use serde_json::{Value, json};

use crate::doctor::finding;

fn doctor(place: &Place) -> Ran {
    place.run(&["doctor", "--json"])
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_a_crash_of_the_server_loses_is_said_before_it_happens() {
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start(&["--dir", dir.path().to_str().unwrap()]);
    let place = Place::with_store(&server.url());
    let _ = place.submit(&["add"]);
    let persistence = || finding(&doctor(&place).json(), "persistence");
    let found = persistence();
    assert_eq!(found["severity"], "warning");
    assert!(text(&found, "found").contains("appendonly no"), "{found}");
    assert!(text(&found, "why").contains("everything since it was started"));
    assert!(text(&found, "way_out").contains("appendonly yes"));
    for (command, severity, key, word) in [
        (
            "CONFIG SET save \"60 1\"",
            "warning",
            "why",
            "last snapshot",
        ),
        ("CONFIG SET appendonly yes", "hint", "why", "last second"),
        ("CONFIG SET appendfsync no", "warning", "why", "30 seconds"),
        (
            "CONFIG SET appendfsync always",
            "ok",
            "found",
            "loses nothing",
        ),
    ] {
        assert_eq!(server.command(command), "+OK");
        let found = persistence();
        assert_eq!(found["severity"], severity, "{command}: {found}");
        assert!(text(&found, key).contains(word), "{command}: {found}");
    }
}

#[test]
fn a_healthy_server_is_said_to_be_one() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let _ = place.submit(&["add", "--delay", "1h"]);
    let report = place.run(&["doctor", "--json", "--thorough"]).json();
    for (check, word) in [
        ("store", "redis://127.0.0.1"),
        ("clock", "agrees"),
        ("role", "master"),
        ("memory", "used of"),
        ("connections", " of "),
        ("eviction", "noeviction"),
        ("keys", "ours"),
        ("fleet", "supervisors alive: 0"),
    ] {
        let found = finding(&report, check);
        assert_eq!(found["severity"], "ok", "{found}");
        assert!(text(&found, "found").contains(word), "{found}");
    }
}

#[test]
fn a_server_that_evicts_is_warned_of() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let place = Place::with_store(&server.url());
    let ran = doctor(&place);
    let found = finding(&ran.json(), "eviction");
    assert_eq!(found["severity"], "warning");
    assert!(text(&found, "way_out").contains("noeviction"));
    server.command("CONFIG SET maxmemory 1gb");
    let ran = doctor(&place).ends_with(9);
    assert_eq!(finding(&ran.json(), "eviction")["severity"], "error");
}

#[test]
fn a_server_that_is_not_there_is_a_finding() {
    let url = RedisServer::start(&[]).url();
    let report = doctor(&Place::with_store(&url)).ends_with(4).json();
    let store = finding(&report, "store");
    assert_eq!(store["severity"], "error");
    assert!(text(&store, "found").contains("away"), "{store}");
    assert!(text(&store, "way_out").contains("reached from here"));
    // The rest is examined all the same.
    assert_eq!(finding(&report, "child")["severity"], "ok");
}

#[test]
fn settings_that_may_not_be_read_are_a_hint_and_no_password_is_told() {
    let server = RedisServer::start(&[]);
    let user = "ACL SETUSER tenant on >sesame ~* &* +@all -config";
    assert_eq!(server.command(user), "+OK");
    let url = format!("redis://tenant:sesame@127.0.0.1:{}", server.port());
    let ran = doctor(&Place::with_store(&url));
    assert!(!ran.stdout.contains("sesame") && !ran.stderr.contains("sesame"));
    let report = ran.json();
    let settings = finding(&report, "settings");
    assert_eq!(settings["severity"], "hint");
    assert!(text(&settings, "found").contains("CONFIG GET"));
    // What the server says by itself is judged.
    assert_eq!(finding(&report, "eviction")["severity"], "ok");
    assert_eq!(finding(&report, "persistence")["severity"], "warning");
}

#[test]
fn a_replica_is_an_error_that_names_its_master() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    assert_eq!(server.command("REPLICAOF 127.0.0.1 1"), "+OK");
    let found = finding(&doctor(&place).ends_with(9).json(), "role");
    assert!(text(&found, "found").contains("127.0.0.1:1"), "{found}");
    assert!(text(&found, "way_out").contains("sentinel"));
}

#[test]
fn a_server_that_is_full_is_an_error() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let _ = place.submit(&["add"]);
    server.command("CONFIG SET maxmemory 1");
    let found = finding(&doctor(&place).ends_with(9).json(), "memory");
    assert_eq!(found["severity"], "error");
    assert!(text(&found, "why").contains("takes no new jobs"));
}

#[test]
fn keys_of_others_are_named_and_a_thorough_look_finds_more() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let _ = place.submit(&["add"]);
    server.command("SET {bulkhead|default}own 1");
    assert_eq!(finding(&doctor(&place).json(), "keys")["severity"], "ok");
    let report = place.run(&["doctor", "--json", "--thorough"]).ends_with(9);
    let keys = finding(&report.json(), "keys");
    assert!(text(&keys, "found").contains("`{bulkhead|default}own`"));
    server.command("LPUSH {bulkhead|default}u theirs");
    let keys = finding(&doctor(&place).ends_with(9).json(), "keys");
    assert!(text(&keys, "found").contains("`{bulkhead|default}u` is a list"));
}

#[test]
fn a_look_leaves_nothing_on_a_server() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let _ = doctor(&place);
    let _ = place.run(&["fleet"]).succeeds().says(&["no supervisors"]);
    assert_eq!(server.command("DBSIZE"), ":0");
}

#[test]
fn a_fleet_on_a_server_is_listed_as_it_announced_itself() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let store = open(&Options::new(&place.url())).unwrap();
    let presence = Presence {
        id: SupervisorId(Uuid::now_v7()),
        host: "there".into(),
        pid: 77,
        selection: Selection {
            queues: vec![QueueName::new("mail").unwrap()],
            tasks: vec![TaskName::new("add").unwrap()],
        },
        tasks: Vec::new(),
        version: "0.1.0".into(),
        slots: 3,
        started_at: Timestamp::now(),
    };
    store.broker.announce(&presence).unwrap();
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    for (key, value) in [
        ("id", json!(presence.id.0)),
        ("host", json!("there")),
        ("pid", json!(77)),
        ("version", json!("0.1.0")),
        ("alive", json!(true)),
        ("slots", json!(3)),
        ("held", json!(0)),
        ("queues", json!(["mail"])),
        ("tasks", json!(["add"])),
        ("started_at", json!(presence.started_at.to_string())),
    ] {
        assert_eq!(fleet[0][key], value, "{key}");
    }
    store.broker.leave(presence.id).unwrap();
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    assert_eq!(fleet, json!([]));
}
