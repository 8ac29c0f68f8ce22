//! `supervisor schedule`.

use bulkhead_tests::cli::Place;
use serde_json::json;

use crate::parts::{body, on_both, start, store};

const NIGHTLY: [&str; 8] = [
    "schedule",
    "add",
    "nightly",
    "--cron",
    "30 2 * * *",
    "--tz",
    "Europe/Berlin",
    "--task",
];

fn nightly(place: &Place) {
    let all: Vec<_> = NIGHTLY
        .into_iter()
        .chain(["add", "--args", "[1, 2]"])
        .collect();
    let _ = place
        .run(&all)
        .succeeds()
        .says(&["no supervisor that lives serves the task `add`"]);
}

#[test]
fn a_schedule_is_added_shown_paused_resumed_run_and_cleared() {
    on_both(|place| {
        nightly(place);
        let all: Vec<_> = NIGHTLY.into_iter().chain(["add"]).collect();
        let _ = place.run(&all).ends_with(5).says(&["`nightly` already"]);
        let list = place.run(&["schedule", "ls", "--json"]).succeeds().json();
        let one = &list[0];
        assert_eq!(
            (&one["name"], &one["state"]),
            (&json!("nightly"), &json!("active"))
        );
        assert_eq!(
            (&one["task"], &one["on"], &one["misfire"]),
            (&json!("add"), &json!("one"), &json!("one"))
        );
        assert_eq!(
            one["means"],
            "at 02:30, every day, by the clocks of Europe/Berlin"
        );
        assert!(one["next"].is_string());
        let paused = place
            .run(&["schedule", "pause", "nightly"])
            .succeeds()
            .line();
        assert_eq!(paused, "nightly paused");
        let _ = place.run(&["schedule", "pause", "nightly"]).succeeds();
        let list = place.run(&["schedule", "ls", "--json"]).succeeds().json();
        assert_eq!(
            (&list[0]["state"], &list[0]["next"]),
            (&json!("paused"), &json!(null))
        );
        let job = place
            .run(&["schedule", "run-now", "nightly"])
            .succeeds()
            .line();
        let status = place.status(&job);
        assert_eq!(
            (&status["status"], &status["task"]),
            (&json!("SUBMITTED"), &json!("add"))
        );
        let resumed = place
            .run(&["schedule", "resume", "nightly", "--json"])
            .succeeds()
            .json();
        assert_eq!(resumed["changed"], true);
        let _ = place.run(&["schedule", "clear", "nightly"]).succeeds();
        let list = place.run(&["schedule", "ls", "--json"]).succeeds().json();
        assert_eq!(list, json!([]));
        for command in ["pause", "resume", "clear", "run-now", "explain"] {
            let _ = place
                .run(&["schedule", command, "nightly"])
                .ends_with(3)
                .says(&["no schedule `nightly`"]);
        }
    });
}

#[test]
fn an_explanation_has_words_firings_in_both_clocks_and_notes() {
    let place = Place::new();
    let explain = [
        "schedule",
        "explain",
        "--cron",
        "30 2 * * *",
        "--tz",
        "Europe/Berlin",
        "--count",
        "2",
    ];
    let after = ["--after", "2027-03-27T12:00:00Z", "--json"];
    let all: Vec<_> = explain.iter().chain(&after).copied().collect();
    let said = place.run(&all).succeeds().json();
    assert_eq!(said["zone"], "Europe/Berlin");
    assert_eq!(said["next"][0]["at"], "2027-03-28T01:00:00.000Z");
    assert_eq!(said["next"][0]["local"], "2027-03-28 03:00:00 +02:00 CEST");
    assert!(
        said["next"][0]["note"]
            .as_str()
            .unwrap()
            .contains("when the gap ends")
    );
    assert_eq!(said["next"][1]["note"], json!(null));
    let page = place.run(&explain).succeeds().stdout;
    assert!(
        page.starts_with("means  at 02:30, every day") && page.lines().count() == 3,
        "{page}"
    );
    // Nothing was made for a look.
    assert!(!place.store().exists());
}

#[test]
fn a_schedule_that_makes_no_sense_is_refused_and_named() {
    let place = Place::new();
    for (options, words) in [
        (&["--task", "add"][..], ["exactly one", "none"]),
        (
            &["--task", "add", "--cron", "61 * * * *"],
            ["minute `61`", "0-59"],
        ),
        (
            &["--task", "add", "--cron", "@daily", "--tz", "Mars"],
            ["`Mars`", "IANA"],
        ),
        (&["--task", "add", "--every", "10ms"], ["10ms", "1s"]),
        (
            &["--task", "add", "--every", "5s", "--tz", "UTC"],
            ["`tz`", "`every`"],
        ),
        (&["--task", "add", "--at", "soon"], ["`soon`", "2030"]),
        (&["--task", "add", "--at-start"], ["at start", "`each`"]),
        (
            &["--task", "add", "--every", "5s", "--misfire", "all:0"],
            ["`all`", "1000"],
        ),
        (
            &["--task", "add", "--every", "5s", "--misfire", "some"],
            ["policy", "all:100"],
        ),
        (
            &["--task", "add", "--every", "5s", "--args", "{}"],
            ["--args", "array"],
        ),
        (&["--task", "a b", "--every", "5s"], ["task name", "' '"]),
    ] {
        let all: Vec<_> = ["schedule", "add", "x"]
            .iter()
            .chain(options)
            .copied()
            .collect();
        let _ = place.run(&all).ends_with(2).says(&words);
    }
    assert!(!place.store().exists());
}

#[test]
fn a_schedule_whose_only_time_is_over_is_refused() {
    let place = Place::new();
    let past = ["--at", "2020-01-31T09:30:00Z"];
    let add = [&["schedule", "add", "x", "--task", "add"][..], &past].concat();
    let _ = place
        .run(&add)
        .ends_with(2)
        .says(&["2020-01-31T09:30:00", "past"]);
    let listed = place.run(&["schedule", "ls", "--json"]).succeeds();
    assert_eq!(listed.json(), json!([]));
}

#[test]
fn a_declared_schedule_stays_paused_and_is_not_cleared_while_it_is_declared() {
    on_both(|place| {
        let mut first = start(place, None);
        first.says("declared");
        let _ = place
            .run(&["schedule", "clear", "tick"])
            .ends_with(5)
            .says(&["pause it"]);
        let _ = place.run(&["schedule", "pause", "tick"]).succeeds();
        assert_eq!(first.stop(), 0, "{}", first.log());
        let list = place.run(&["schedule", "ls", "--json"]).succeeds().json();
        assert_eq!(
            (&list[0]["declared"], &list[0]["state"]),
            (&json!(true), &json!("paused"))
        );
        let mut second = start(place, None);
        second.says("serving");
        let job = place
            .run(&["schedule", "run-now", "tick"])
            .succeeds()
            .line();
        assert_eq!(place.returned(&job), json!([2, "\"tick\""]));
        assert!(body(&store(place), "tick").unwrap().paused);
        assert_eq!(second.stop(), 0, "{}", second.log());
        let _ = place.run(&["schedule", "resume", "tick"]).succeeds();
        let list = place.run(&["schedule", "ls", "--json"]).succeeds().json();
        assert_eq!(list[0]["state"], "undeclared");
        let _ = place.run(&["schedule", "clear", "tick"]).succeeds();
    });
}
