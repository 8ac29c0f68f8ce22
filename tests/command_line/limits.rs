//! Limits and unique keys, as they are typed.

use bulkhead_tests::cli::Place;

#[test]
fn a_message_whose_key_is_taken_is_refused_by_name() {
    let place = Place::new();
    let first = place.submit(&["add", "--unique-key", "k", "--unique-for", "10m"]);
    let again = ["submit", "add", "--unique-key", "k"];
    let refused = place.run(&again).ends_with(5);
    let _ = refused.says(&[&first, "another key"]);
    let _ = place.submit(&["add", "--unique-key", "other"]);
    let _ = place.submit(&["add", "--queue", "elsewhere", "--unique-key", "k"]);
    let lonely = ["submit", "add", "--unique-for", "1m"];
    let _ = place.run(&lonely).ends_with(2).says(&["--unique-key"]);
    let file = place.file(
        "jobs",
        "{\"task\": \"add\", \"unique\": {\"key\": \"f\", \"for\": \"1h\"}}\n\
         {\"task\": \"add\", \"unique\": {\"key\": \"f\"}}\n",
    );
    let from = ["submit", "--from", file.to_str().unwrap()];
    let ran = place.run(&from).ends_with(5);
    assert_eq!(ran.lines().len(), 1, "{ran:?}");
    let step = r#"{"task": "add", "callback": {"task": "sub", "unique": {"key": "s"}}}"#;
    let file = place.file("steps", &format!("{step}\n"));
    let from = ["submit", "--from", file.to_str().unwrap()];
    let _ = place.run(&from).ends_with(2).says(&["`sub`", "unique"]);
    let group = r#"{"group": {"members": [{"task": "mul", "unique": {"key": "m"}}]}}"#;
    let file = place.file("groups", &format!("{group}\n"));
    let from = ["submit", "--from", file.to_str().unwrap()];
    let _ = place.run(&from).ends_with(2).says(&["`mul`", "unique"]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let limit = |most: &str| place.run(&["queues", "limit", "default", most]);
    let _ = limit("2").succeeds();
    let _ = limit("none").succeeds();
    let _ = limit("0").ends_with(2).says(&["from 1", "`none`"]);
    let _ = limit("some").ends_with(2).says(&["from 1"]);
    assert_eq!(
        place.run(&["queues", "--json"]).succeeds().json()[0]["queue"],
        "default"
    );
    let key = ["submit", "add", "--concurrency-key", "k"];
    let _ = place.run(&key).ends_with(2).says(&["--concurrency"]);
    let none = [
        "submit",
        "add",
        "--concurrency-key",
        "k",
        "--concurrency",
        "0",
    ];
    let _ = place.run(&none).ends_with(2).says(&["zero"]);
    let both = [&key[..], &["--concurrency", "1", "--lock", "l"]].concat();
    let _ = place.run(&both).ends_with(2).says(&["leave one out"]);
}
