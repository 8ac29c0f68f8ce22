//! When a move does not even begin.

use std::os::unix::fs::symlink;

use bulkhead_shared::Message;
use bulkhead_shared::broker::Presence;
use bulkhead_shared::name::CheckpointName;
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::supervisor;

use crate::parts::{
    at, claim, migrate, migration, migration_to, presence, source, submit, target, url,
};

/// `migrate` with these arguments and no variable that names a store.
fn bare(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = place.command(&["migrate"]);
    command.args(arguments).env_remove("BULKHEAD_STORE");
    Ran::of(command)
}

#[test]
fn a_store_is_not_moved_into_itself_under_whatever_name() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    std::fs::create_dir(place.path("sub")).unwrap();
    symlink(place.path(""), place.path("sub/link")).unwrap();
    for name in ["store.db", "sub/../store.db", "sub/link/store.db"] {
        let ran = bare(
            &place,
            &["--from", &place.url(), "--to", &url(&place, name)],
        );
        let _ = ran.ends_with(2).says(&["the same store"]);
    }
    std::fs::hard_link(place.store(), place.path("other.db")).unwrap();
    let ran = bare(
        &place,
        &["--from", &place.url(), "--to", &url(&place, "other.db")],
    );
    assert!(ran.code != 0, "{ran:?}");
    std::fs::remove_file(place.path("other.db")).unwrap();
    let _ = place.run(&["status", &uuid]).succeeds();
}

#[test]
fn a_source_that_is_missing_leaves_no_target_behind() {
    let place = Place::new();
    let ran = migrate(&place).ends_with(4);
    let _ = ran.says(&["there is no store at", "store.db"]);
    assert!(!place.path("target.db").exists() && !place.store().exists());
}

#[test]
fn a_target_that_cannot_be_used_leaves_the_source_as_it_is() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let _ = place.file(
        "photo.jpeg",
        "this is no database, but it is longer than a hundred bytes, as \
        photographs usually are, and it must not be touched by anybody who moves jobs around",
    );
    for (name, word) in [("nowhere/t.db", "directory"), ("photo.jpeg", "file")] {
        let ran = bare(
            &place,
            &["--from", &place.url(), "--to", &url(&place, name)],
        );
        let _ = ran.ends_with(4).says(&[word]);
    }
    let ran = bare(
        &place,
        &["--from", &place.url(), "--to", "nosuch://me:s3cret@host"],
    );
    let ran = ran.ends_with(2).says(&["--to-file", "BULKHEAD_TO"]);
    assert!(!ran.stderr.contains("s3cret"));
    let job = claim(&source(&place), supervisor(), 1).remove(0);
    assert_eq!(job.receipt.uuid.to_string(), uuid);
    assert_eq!(job.receipt.fence, 1, "nothing has touched it");
}

#[test]
fn both_stores_must_be_named_and_no_other() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let to = url(&place, "target.db");
    let _ = bare(&place, &["--to", &to])
        .ends_with(2)
        .says(&["--from", "BULKHEAD_FROM"]);
    let _ = bare(&place, &["--from", &place.url()])
        .ends_with(2)
        .says(&["BULKHEAD_TO"]);
    let both = ["--from", &place.url(), "--to", &to, "--store", &to];
    let _ = bare(&place, &both).ends_with(2).says(&["no --store"]);
    let password = ["--from", "redis://me:s3cret@host", "--to", &to];
    let ran = bare(&place, &password).ends_with(2);
    let ran = ran.says(&["--from-file", "BULKHEAD_FROM"]);
    assert!(!ran.stderr.contains("s3cret"));
    assert!(!place.path("target.db").exists());
}

#[test]
fn a_source_with_living_supervisors_is_left_alone() {
    let place = Place::new();
    let store = source(&place);
    let owner = supervisor();
    store.broker.announce(&presence(owner, Vec::new())).unwrap();
    submit(&store, vec![Message::new("add")]);
    let ran = migrate(&place).ends_with(5);
    let _ = ran.says(&["process 4711 on here", "fleet"]);
    assert_eq!(claim(&store, supervisor(), 1)[0].receipt.fence, 1);
    store.broker.leave(owner).unwrap();
    // Nobody has announced who holds the job now, but he lives.
    let _ = migrate(&place).ends_with(5).says(&["an unknown host"]);
    drop(store);
    let _ = migrate(&place).succeeds();
}

#[test]
fn a_move_that_was_interrupted_must_be_finished_before_one_back() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let mut command = migration(&place);
    command.env("BULKHEAD_TEST_FAULT", "received:1");
    assert!(!command.output().unwrap().status.success());
    let report = place.run(&["doctor"]);
    assert!(report.stdout.contains("repeat it"), "{report:?}");
    let to = url(&place, "target.db");
    let back = ["--from", &to, "--to", &place.url()];
    let _ = bare(&place, &back)
        .ends_with(5)
        .says(&["finish that one first"]);
    assert!(claim(&source(&place), supervisor(), 9).is_empty());
    assert!(claim(&target(&place), supervisor(), 9).is_empty());
    assert_eq!(migrate(&place).succeeds().json()["moved"]["ready"], 1);
    let _ = bare(&place, &back).succeeds();
    assert_eq!(claim(&source(&place), supervisor(), 9).len(), 1);
}

#[test]
fn a_move_that_was_interrupted_must_be_finished_before_one_to_another_store() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let mut command = migration(&place);
    command.env("BULKHEAD_TEST_FAULT", "received:1");
    assert!(!command.output().unwrap().status.success());
    let elsewhere = url(&place, "elsewhere.db");
    let other = || Ran::of(migration_to(&place, &elsewhere));
    let refused = other().ends_with(5);
    let _ = refused.says(&["target.db", "finish the move to that store first"]);
    assert!(claim(&at(&place.path("elsewhere.db")), supervisor(), 9).is_empty());
    assert_eq!(migrate(&place).succeeds().json()["moved"]["ready"], 1);
    assert_eq!(claim(&target(&place), supervisor(), 9).len(), 1);
    // Nothing is on its way any more.
    let _ = place.submit(&["add"]);
    assert_eq!(other().succeeds().json()["moved"]["ready"], 1);
}

#[test]
fn a_move_that_goes_on_must_end_before_one_to_another_store_but_not_before_the_same_one() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let store = source(&place);
    let mover = supervisor();
    let moving = Presence {
        slots: 0,
        ..presence(mover, Vec::new())
    };
    store.broker.announce(&moving).unwrap();
    let note = CheckpointName::new("bulkhead.migrate").unwrap();
    let goes_to = |to: &str| store.checkpoints.keep(&note, 0, to.as_bytes()).unwrap();
    let same = target(&place).catalog.place();
    let _ = goes_to(&same);
    assert_eq!(migrate(&place).succeeds().json()["moved"]["ready"], 1);
    // Nothing is on its way between two of its pages.
    let _ = goes_to("elsewhere.db");
    let _ = place.submit(&["add"]);
    let refused = migrate(&place).ends_with(5);
    let _ = refused.says(&["another move goes on", "elsewhere.db", "let that end"]);
    store.broker.leave(mover).unwrap();
    assert_eq!(migrate(&place).succeeds().json()["moved"]["ready"], 1);
}

#[test]
fn a_variable_that_names_the_usual_store_says_nothing_about_a_move() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let mut command = migration(&place);
    command.env("BULKHEAD_STORE", "sqlite:nowhere/x.db");
    command.env("BULKHEAD_STORE_FILE", "nofile");
    let _ = Ran::of(command).succeeds();
}

#[test]
fn an_open_group_stays_where_it_is_and_a_closed_one_moves_on_with_its_join() {
    let place = Place::new();
    let line = r#"{"group": {"members": [{"task": "add", "uuid": "01890000-0000-7000-8000-000000000001"},
        {"task": "add", "uuid": "01890000-0000-7000-8000-000000000002", "queue": "other"}],
        "join": {"task": "echo", "uuid": "01890000-0000-7000-8000-000000000003",
            "callback": {"task": "echo"}}, "on_failed": "null"}}"#;
    let line = line.replace('\n', " ");
    let _ = place
        .run_with_input(&["submit", "--from", "-"], &line)
        .succeeds();
    let refused = migrate(&place).ends_with(5);
    let _ = refused.says(&["groups of the source are open: 1", "revoke"]);
    for number in [1, 2] {
        let uuid = format!("01890000-0000-7000-8000-00000000000{number}");
        let _ = place.run(&["revoke", &uuid]).succeeds();
    }
    let _ = migrate(&place).succeeds();
    let to = url(&place, "target.db");
    let join = "01890000-0000-7000-8000-000000000003";
    let status = place.run(&["--store", &to, "status", join, "--json"]);
    let status = status.succeeds().json();
    assert_eq!(status["status"], "SUBMITTED");
    assert_eq!(
        status["flow"]["steps"].as_array().unwrap().len(),
        2,
        "the join and its callback: {status:#}"
    );
}

#[test]
fn jobs_that_remember_are_not_moved_without_what_they_remember() {
    let place = Place::new();
    let uuid = place.submit(&["approval", "--args", "[600]"]);
    let _ = place.run(&["signal", &uuid, "approved"]).succeeds();
    let ran = migrate(&place).ends_with(5);
    let _ = ran.says(&["remember durable calls or signals: 1", "revoke them"]);
    let _ = place.run(&["revoke", &uuid]).succeeds();
    let _ = migrate(&place).succeeds();
}
