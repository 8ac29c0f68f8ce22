//! `supervisor stream`, by itself and beside a supervisor that works.

use std::collections::BTreeSet;

use bulkhead_tests::cli::Place;
use serde_json::Value;

use crate::scene::{Scene, judge, orders};

const LEDGER: &str = "ledger_ignore";

#[test]
fn a_stream_is_made_listed_and_sent_to() {
    let place = Place::new();
    let made = place
        .run(&["stream", "make", "mail", "--partitions", "4"])
        .succeeds();
    assert_eq!(made.line(), "stream mail has 4 partitions");
    let sent = place
        .run(&["stream", "send", "mail", r#"{"to": "ada"}"#, "--key", "ada"])
        .succeeds();
    let (partition, id) = sent.stdout.trim().split_once(' ').unwrap();
    assert!(
        partition.parse::<u16>().unwrap() < 4 && id.contains('-'),
        "{}",
        sent.stdout
    );
    let file = place.file("mails.jsonl", "{\"to\": \"ada\"}\n\n{\"to\": \"bob\"}\n");
    let sent = place
        .run(&[
            "stream",
            "send-many",
            "mail",
            file.to_str().unwrap(),
            "--by",
            "to",
        ])
        .succeeds();
    assert_eq!(sent.line(), "2");
    let listed = place.run(&["stream", "ls", "--json"]).succeeds().json();
    assert_eq!(listed[0]["stream"], "mail");
    assert_eq!(listed[0]["events"], 3);
    assert_eq!(listed[0]["processors"], serde_json::json!([]));
    let listed = place.run(&["stream", "ls"]).succeeds();
    for word in ["mail", "block"] {
        assert!(listed.stdout.contains(word), "{}", listed.stdout);
    }
    // One that comes too late.
    let _ = place
        .run(&[
            "stream",
            "send",
            "mail",
            "{}",
            "--partition",
            partition,
            "--id",
            "1-0",
        ])
        .ends_with(5)
        .says(&["not greater", "leave --id out"]);
}

#[test]
fn what_makes_no_sense_is_named_with_a_way_out() {
    let place = Place::new();
    let _ = place
        .run(&["stream", "make", "mail", "--partitions", "2"])
        .succeeds();
    for (arguments, code, words) in [
        (
            &["send", "post", "{}", "--key", "a"][..],
            3,
            &["no stream `post`", "stream make"][..],
        ),
        (&["send", "mail", "{", "--key", "a"], 2, &["no JSON"]),
        (
            &["send", "mail", "{}", "--by", "to"],
            2,
            &["no field `to`", "--by"],
        ),
        (
            &["send", "mail", "{}", "--partition", "2"],
            2,
            &["no partition 2", "0 to 1"],
        ),
        (
            &["send", "mail", "{}"],
            2,
            &["--key", "--by", "--partition"],
        ),
        (&["make", "mail", "--partitions", "3"], 5, &["mail", "2"]),
        (
            &["make", "post", "--partitions", "0"],
            2,
            &["partition_count is 0"],
        ),
        (&["lag", "post"], 3, &["no stream `post`"]),
        (
            &["lag", "mail", "--processor", "p"],
            3,
            &["no processor `p`"],
        ),
        (&["release", "mail"], 3, &["no processor yet"]),
        (&["seek", "mail", "--id", "x"], 2, &["not an event's id"]),
        (
            &["pause", "mail", "--processor", "p"],
            3,
            &["no processor `p`"],
        ),
        (
            &["forget", "mail", "--processor", "p"],
            3,
            &["no processor"],
        ),
    ] {
        let arguments: Vec<_> = ["stream"].iter().chain(arguments).copied().collect();
        let ran = place.run(&arguments);
        let text = format!("{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.code, code, "{text}");
        for word in words {
            assert!(ran.stderr.contains(word), "{text}");
        }
    }
    let file = place.file("bad.jsonl", "{\"to\": 1}\n{\n");
    let _ = place
        .run(&[
            "stream",
            "send-many",
            "mail",
            file.to_str().unwrap(),
            "--by",
            "to",
        ])
        .ends_with(2)
        .says(&["line 2 of"]);
}

#[test]
fn a_paused_stream_is_delivered_nothing_until_it_is_resumed() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut supervisor = scene.supervisor(LEDGER, &[]);
    let mut sent = orders("a", 0..5);
    scene.send(&sent);
    scene.drained(LEDGER);
    let _ = place
        .run(&["stream", "pause", "orders", "--why", "for a test"])
        .succeeds();
    supervisor.says("for a test");
    let more = orders("a", 5..10);
    scene.send(&more);
    sent.extend(more);
    let listed = place
        .run(&["stream", "ls", "orders", "--json"])
        .succeeds()
        .json();
    assert_eq!(listed[0]["processors"][0]["paused"], "for a test");
    let listed = place.run(&["stream", "ls"]).succeeds();
    let text = listed.stdout;
    assert!(text.contains("paused: for a test"), "{text}");
    // It is seen that it rests by what the supervisor says of itself: a sign of life later, still nothing.
    assert_eq!(scene.lines(LEDGER).len(), 5);
    let _ = place.run(&["stream", "resume", "orders"]).succeeds();
    scene.drained(LEDGER);
    judge(&scene.lines(LEDGER), &sent, &BTreeSet::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_processor_goes_on_where_it_is_told_to_while_it_runs() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut supervisor = scene.supervisor(LEDGER, &[]);
    let sent = orders("a", 0..10);
    scene.send(&sent);
    scene.drained(LEDGER);
    let _ = place.run(&["stream", "reset", "orders"]).succeeds();
    bulkhead_tests::until(
        "everything to come again",
        bulkhead_tests::supervise::PATIENCE,
        || (scene.lines(LEDGER).len() == 20).then_some(()),
    );
    scene.lag_when(LEDGER, "the wishes to be fulfilled", |shares| {
        shares
            .iter()
            .all(|share| share["moved_to"].is_null() && share["lag"] == 0)
    });
    let seqs: Vec<_> = scene.lines(LEDGER).iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (0..10).chain(0..10).collect::<Vec<_>>());
    // Over what comes next: the processor is stopped first, so that it cannot be quicker.
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    scene.send(&orders("a", 10..20));
    let shares = scene.lag(LEDGER);
    let busy = shares.iter().find(|share| share["lag"] != 0).unwrap();
    let partition = busy["partition"].to_string();
    let _ = place
        .run(&[
            "stream",
            "skip",
            "orders",
            "--partition",
            &partition,
            "--count",
            "4",
        ])
        .succeeds();
    let mut supervisor = scene.supervisor(LEDGER, &[]);
    scene.drained(LEDGER);
    let seqs: Vec<_> = scene.lines(LEDGER).iter().map(|line| line.seq).collect();
    assert_eq!(seqs[20..], (14..20).collect::<Vec<_>>());
    let id = busy["last"].as_str().unwrap();
    let _ = place.run(&["stream", "seek", "orders", "--end"]).succeeds();
    let _ = place
        .run(&["stream", "forget", "orders"])
        .ends_with(5)
        .says(&["served by 1"]);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let _ = place
        .run(&["stream", "seek", "orders", "--id", id])
        .succeeds();
    let _ = place.run(&["stream", "forget", "orders"]).succeeds();
    let listed: Value = place.run(&["stream", "ls", "--json"]).succeeds().json();
    assert_eq!(listed[0]["processors"], serde_json::json!([]));
}
