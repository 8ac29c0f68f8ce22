//! `supervisor doctor`.

use std::fs;
use std::os::unix::fs::FileExt;

use bulkhead_tests::cli::{Place, Ran};
use serde_json::{Value, json};

/// What was found about `check`.
pub(crate) fn finding(report: &Value, check: &str) -> Value {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check);
    found
        .unwrap_or_else(|| panic!("{check} in {report:#}"))
        .clone()
}

/// The code that goes with a severity.
fn code(severity: &Value) -> i32 {
    match severity.as_str().unwrap() {
        "ok" | "hint" => 0,
        "warning" => 8,
        "error" => 9,
        other => panic!("{other}"),
    }
}

#[test]
fn a_healthy_store_is_said_to_be_one_and_the_code_tells_the_worst() {
    let place = Place::new();
    let _ = place.submit(&["add", "--delay", "1h"]);
    for depth in [
        &["doctor", "--json"][..],
        &["doctor", "--json", "--thorough"],
    ] {
        let ran = place.run(depth);
        let report = ran.json();
        assert_eq!(ran.code, code(&report["worst"]), "{report:#}");
        for (check, severity) in [
            ("integrity", "ok"),
            ("permissions", "ok"),
            ("durability", "hint"),
            ("fleet", "ok"),
            ("kernel", "ok"),
            ("pidfd", "ok"),
            ("child", "ok"),
        ] {
            assert_eq!(finding(&report, check)["severity"], severity, "{report:#}");
        }
        for finding in report["findings"].as_array().unwrap() {
            let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
            let all = ["check", "found", "group", "severity", "way_out", "why"];
            assert_eq!(keys, all);
            let is_explained = finding["why"].is_string();
            assert_eq!(is_explained, finding["severity"] != "ok", "{finding}");
        }
    }
    let human = place.run(&["doctor", "--durability", "full"]);
    for word in ["store", "host", "limits", "child", "the worst is"] {
        assert!(human.stdout.contains(word), "{human:?}");
    }
    assert!(human.stdout.contains("survives a power cut"), "{human:?}");
}

#[test]
fn a_store_that_is_not_there_is_a_finding_and_is_not_made() {
    let place = Place::new();
    let ran = place.run(&["doctor", "--json"]).ends_with(4);
    let report = ran.json();
    let store = finding(&report, "store");
    assert_eq!(store["severity"], "error");
    assert!(
        store["found"]
            .as_str()
            .unwrap()
            .contains("there is no store")
    );
    assert!(store["way_out"].as_str().unwrap().contains("--store"));
    // The rest is examined all the same.
    assert_eq!(finding(&report, "child")["severity"], "ok");
    assert!(!place.store().exists());
}

#[test]
fn a_file_of_somebody_else_is_a_finding_and_stays_as_it_is() {
    let place = Place::new();
    let _ = place.file(
        "store.db",
        "These are my holiday photographs, more than enough of them.",
    );
    let before = fs::read(place.store()).unwrap();
    let report = place.run(&["doctor", "--json"]).ends_with(4).json();
    assert_eq!(report["worst"], "error");
    assert_eq!(fs::read(place.store()).unwrap(), before);
}

#[test]
fn damage_is_found_before_a_job_meets_it() {
    let place = Place::new();
    for _ in 0..50 {
        let argument = json!(["x".repeat(3000)]).to_string();
        let _ = place.submit(&["add", "--args", &argument]);
    }
    let conn = rusqlite::Connection::open(place.store()).unwrap();
    let fold = "PRAGMA wal_checkpoint(TRUNCATE)";
    conn.query_row(fold, [], |_| Ok(())).unwrap();
    drop(conn);
    // The last page is one of the job table.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(place.store())
        .unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(&[0xAA; 4096], end - 4096).unwrap();
    let ran = place.run(&["doctor", "--json"]);
    let report = ran.json();
    assert!([4, 9].contains(&ran.code), "{ran:?}");
    let integrity = finding(&report, "integrity");
    assert_eq!(integrity["severity"], "error", "{report:#}");
    assert!(integrity["way_out"].as_str().unwrap().contains("copy"));
}

#[test]
fn jobs_that_wait_for_nobody_are_a_warning() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let report = place.run(&["doctor", "--json"]).json();
    let fleet = finding(&report, "fleet");
    assert_eq!(fleet["severity"], "warning");
    assert!(fleet["way_out"].as_str().unwrap().contains("supervisor"));
}

#[test]
fn what_the_probes_deny_is_a_missing_guarantee() {
    let place = Place::new();
    let _ = place.submit(&["add", "--delay", "1h"]);
    let mut command = place.command(&["doctor", "--json"]);
    command.env(
        "BULKHEAD_WITHOUT",
        "landlock,cgroup,userns,clone3,pidfd-group",
    );
    let ran = Ran::of(command);
    let report = ran.json();
    assert!(ran.code >= 8, "{report:#}");
    for check in ["landlock", "namespaces", "cgroup", "clone3", "pidfd"] {
        assert_eq!(finding(&report, check)["severity"], "hint", "{report:#}");
    }
    assert_eq!(finding(&report, "guarantee")["severity"], "warning");
    let isolation = finding(&report, "isolation");
    assert!(isolation["found"].as_str().unwrap().contains("subreaper"));
}

#[test]
fn a_child_that_is_none_is_an_error_with_a_way_out() {
    let place = Place::new();
    let _ = place.submit(&["add", "--delay", "1h"]);
    let text = place.file("text", "no program");
    let text = text.to_str().unwrap();
    for (child, word) in [
        ("/nowhere/child", "--child PATH"),
        (text, "chmod"),
        ("/bin/true", "bulkhead_child::run"),
    ] {
        let ran = place
            .run(&["doctor", "--json", "--child", child])
            .ends_with(9);
        let found = finding(&ran.json(), "child");
        assert_eq!(found["severity"], "error");
        assert!(found["way_out"].as_str().unwrap().contains(word), "{found}");
    }
}

#[test]
fn more_tasks_than_the_limits_allow_are_a_warning() {
    let place = Place::new();
    let _ = place.submit(&["add", "--delay", "1h"]);
    let limited = [
        "-c",
        "ulimit -n 256; exec \"$0\" doctor --json --processes 100",
    ];
    let command = place.command(&[]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(limited).arg(command.get_program());
    shell.current_dir(place.path("")).env_clear();
    shell
        .env("BULKHEAD_STORE", place.url())
        .env("PATH", "/usr/bin:/bin");
    let report = Ran::of(shell).json();
    let files = finding(&report, "open-files");
    assert_eq!(files["severity"], "warning", "{report:#}");
    assert!(files["way_out"].as_str().unwrap().contains("ulimit -n"));
}
