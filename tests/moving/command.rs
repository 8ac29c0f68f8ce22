//! What a move does that nothing disturbs.

use std::time::Duration;

use bulkhead_shared::history::History;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::schedule::Row;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Message, ScheduleName, Timestamp};
use bulkhead_tests::cli::{Place, Ran, is_private};
use bulkhead_tests::{queue, supervisor, task};
use serde_json::json;

use crate::parts::{claim, migrate, presence, run, source, submit, succeed, target, url};

fn add() -> bulkhead_shared::MessageBuilder {
    Message::new("add")
}

#[test]
fn everything_moves_and_is_told_by_state() {
    let place = Place::new();
    let store = source(&place);
    let mut spec = TaskSpec::new(task("add"));
    spec.timeout_ms = Some(5);
    let announced = presence(supervisor(), vec![spec.clone()]);
    store.broker.announce(&announced).unwrap();
    store.broker.leave(announced.id).unwrap();
    let done = submit(&store, vec![add()]);
    run(&store, 1, &succeed());
    let dead = submit(&store, vec![add()]);
    let bury = Move::Bury {
        cause: Cause::Crash,
        purge_at: None,
    };
    run(&store, 1, &bury);
    let later = submit(&store, vec![add().delay(Duration::from_secs(3600))]);
    let ready = submit(&store, vec![add().arg("x"), add().queue("mail")]);
    let schedule = Row {
        name: ScheduleName::new("nightly").unwrap(),
        queue: queue("mail"),
        version: 0,
        due: Some(Timestamp::MAX),
        body: b"{}".to_vec(),
    };
    store.schedules.put(&schedule).unwrap();
    drop(store);

    let ran = migrate(&place).succeeds();
    let report = ran.json();
    let moved = json!({"ready": 2, "delayed": 1, "dead": 1, "succeeded": 1, "dropped": 0});
    assert_eq!(report["moved"], moved);
    assert_eq!(
        (&report["tasks"], &report["schedules"]),
        (&json!(1), &json!(1))
    );
    let brought = target(&place).schedules.all().unwrap();
    assert_eq!(
        (&brought[0].name, &brought[0].body),
        (&schedule.name, &schedule.body)
    );
    assert!(source(&place).schedules.all().unwrap().is_empty());
    assert_eq!((&report["known"], &report["left"]), (&json!(0), &json!(0)));
    assert!(is_private(&place.path("target.db")));

    let to = url(&place, "target.db");
    for (uuid, status) in [
        (done[0], "SUCCEEDED"),
        (dead[0], "FAILED"),
        (later[0], "SUBMITTED"),
        (ready[0], "SUBMITTED"),
        (ready[1], "SUBMITTED"),
    ] {
        let uuid = uuid.to_string();
        let job = place.run(&["--store", &to, "status", &uuid, "--json"]);
        assert_eq!(job.succeeds().json()["status"], status);
        let _ = place.run(&["status", &uuid]).ends_with(3);
    }
    let done = done[0].to_string();
    let result = place.run(&["--store", &to, "result", &done]).succeeds();
    assert_eq!(result.line(), "[1]");
    assert_eq!(target(&place).catalog.tasks().unwrap(), [spec]);

    let again = migrate(&place).succeeds().json();
    assert_eq!(again["moved"]["ready"], 0);
    assert_eq!(again["tasks"], 0);
    let table = place.run(&["migrate", "--from", &to, "--to", &place.url()]);
    let table = table.succeeds();
    assert!(table.stdout.contains("ready      2"), "{table:?}");
    assert_eq!(claim(&source(&place), supervisor(), 9).len(), 2);
}

#[test]
fn jobs_of_a_supervisor_that_died_are_ended_as_lost_and_move() {
    let place = Place::new();
    let store = source(&place);
    submit(&store, vec![add(), add()]);
    let owner = supervisor();
    store.broker.announce(&presence(owner, Vec::new())).unwrap();
    let held = claim(&store, owner, 1);
    // Its lock goes with the store's descriptors, as at its death.
    drop(store);
    let report = migrate(&place).succeeds().json();
    let moved = &report["moved"];
    let waiting = moved["ready"].as_u64().unwrap() + moved["delayed"].as_u64().unwrap();
    assert_eq!(waiting, 2, "{report}");
    let rows = target(&place).catalog.jobs_by_id(&[held[0].receipt.uuid]);
    let row = rows.unwrap().remove(0).unwrap();
    let history = History::from_json(&row.history).unwrap();
    assert_eq!(history.lost, 1);
    assert!(row.fence > held[0].receipt.fence);
}

#[test]
fn what_the_target_has_of_its_own_stays() {
    let place = Place::new();
    let store = source(&place);
    let both = submit(&store, vec![add().arg("source")]);
    submit(&store, vec![add()]);
    let mut theirs = TaskSpec::new(task("add"));
    theirs.timeout_ms = Some(1);
    let announced = presence(supervisor(), vec![TaskSpec::new(task("add"))]);
    store.broker.announce(&announced).unwrap();
    drop(store);
    let into = target(&place);
    submit(&into, vec![add().arg("target").uuid(both[0]), add()]);
    // A supervisor that lives there is welcome.
    let announced = presence(supervisor(), vec![theirs.clone()]);
    into.broker.announce(&announced).unwrap();
    let report = migrate(&place).succeeds();
    let report = report.says(&["not doubled: 1"]).json();
    assert_eq!((&report["known"], &report["tasks"]), (&json!(1), &json!(0)));
    assert_eq!(into.catalog.tasks().unwrap(), [theirs]);
    let claimed = claim(&into, supervisor(), 9);
    assert_eq!(claimed.len(), 3);
    let kept = claimed
        .iter()
        .find(|job| job.receipt.uuid == both[0])
        .unwrap();
    assert!(String::from_utf8_lossy(&kept.payload).contains("target"));
}

#[test]
fn only_the_namespace_that_is_named_moves() {
    let place = Place::new();
    let mine = place.submit(&["add"]);
    let other = place.submit(&["--namespace", "other", "add"]);
    let (from, to) = (place.url(), url(&place, "target.db"));
    let mut command = place.command(&["migrate", "--from", &from, "--to", &to]);
    command.env_remove("BULKHEAD_STORE");
    command.args(["--namespace", "other"]);
    let _ = Ran::of(command).succeeds();
    let there = ["--store", &to, "--namespace", "other", "status", &other];
    let _ = place.run(&there).succeeds();
    let _ = place.run(&["status", &mine]).succeeds();
    let _ = place
        .run(&["--namespace", "other", "status", &other])
        .ends_with(3);
}

#[test]
fn stores_can_be_named_by_files_and_by_the_environment() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let to = url(&place, "target.db");
    let from = place.file("from", &format!("{}\n", place.url()));
    let mut command = place.command(&["migrate", "--json", "--from-file"]);
    command.arg(from).env("BULKHEAD_TO", &to);
    assert_eq!(Ran::of(command).succeeds().json()["moved"]["ready"], 1);
    let back = place.file("to", &place.url());
    let mut command = place.command(&["migrate", "--json", "--to-file"]);
    command.arg(back).env("BULKHEAD_FROM", &to);
    assert_eq!(Ran::of(command).succeeds().json()["moved"]["ready"], 1);
}
