//! `supervisor fleet`.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Presence, Selection, SupervisorId};
use bulkhead_shared::{QueueName, TaskName, Timestamp, Uuid};
use bulkhead_tests::cli::Place;
use serde_json::json;

#[test]
fn a_fleet_of_nobody_is_empty() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    assert_eq!(place.run(&["fleet", "--json"]).succeeds().json(), json!([]));
    let _ = place.run(&["fleet"]).succeeds().says(&["no supervisors"]);
}

#[test]
fn a_fleet_lists_who_lives_and_what_they_serve() {
    let place = Place::new();
    let store = open(&Options::new(&place.url())).unwrap();
    let presence = Presence {
        id: SupervisorId(Uuid::now_v7()),
        host: "red\u{1b}[31m".into(),
        pid: 77,
        selection: Selection {
            queues: vec![QueueName::new("mail").unwrap(), QueueName::default()],
            tasks: vec![TaskName::new("add").unwrap()],
        },
        tasks: Vec::new(),
        version: "0.1.0".into(),
        slots: 3,
        started_at: Timestamp::now(),
    };
    store.broker.announce(&presence).unwrap();
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    let member = &fleet[0];
    assert_eq!(member["id"], json!(presence.id.0));
    assert_eq!(member["queues"], json!(["mail", "default"]));
    assert_eq!(member["started_at"], json!(presence.started_at.to_string()));
    for (key, value) in [
        ("alive", json!(true)),
        ("slots", json!(3)),
        ("held", json!(0)),
        ("pid", json!(77)),
        ("version", json!("0.1.0")),
        ("tasks", json!(["add"])),
    ] {
        assert_eq!(member[key], value, "{key}");
    }
    let human = place.run(&["fleet"]).succeeds();
    assert!(human.stdout.contains("0/3") && human.stdout.contains("mail,default"));
    assert!(!human.stdout.contains('\u{1b}'), "{human:?}");
    drop(store);
    let fleet = place.run(&["fleet", "--json"]).succeeds().json();
    assert_eq!(fleet[0]["alive"], json!(false));
}
