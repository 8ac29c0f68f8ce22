//! What becomes of an event that a processor fails at, under each policy.

use std::collections::BTreeSet;

use bulkhead_shared::stream::partition_of;
use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;
use serde_json::Value;

use crate::scene::{Order, PARTITIONS, Scene, judge, orders, poison};

/// One key with a poison in the middle, and others without.
fn sent(kind: &'static str) -> Vec<Order> {
    let mut all = orders("sick", 0..5);
    all.push(poison("sick", 5, kind));
    all.extend(orders("sick", 6..10));
    for key in ["well", "fine", "good"] {
        all.extend(orders(key, 0..10));
    }
    all
}

fn put_away(seqs: &[u64]) -> BTreeSet<(String, u64)> {
    seqs.iter().map(|seq| ("sick".into(), *seq)).collect()
}

/// The partition of the poison.
fn sick(shares: &[Value]) -> Option<&Value> {
    shares.iter().find(|share| share["trouble"].is_object())
}

fn goes_on(place: &Place, processor: &str, kind: &'static str) {
    let scene = Scene::new(place);
    let sent = sent(kind);
    scene.send(&sent);
    let mut supervisor = scene.supervisor(processor, &[]);
    scene.drained(processor);
    judge(&scene.lines(processor), &sent, &put_away(&[5]));
    scene.was_never_shared();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn ignore_passes_what_crashes_hangs_or_fails() {
    for kind in ["crash", "hang", "error"] {
        goes_on(&Place::new(), "ledger_ignore", kind);
    }
}

#[test]
fn dead_letters_are_kept_with_their_failure_and_can_be_replayed() {
    for (kind, cause) in [("crash", "crash"), ("hang", "timeout"), ("error", "error")] {
        let place = Place::new();
        goes_on(&place, "ledger_dead_letter", kind);
        let listed = place.run(&["stream", "dead", "orders"]).succeeds();
        let [line] = &listed.lines()[..] else {
            panic!("{}", listed.stdout);
        };
        let dead: Value = serde_json::from_str(line).unwrap();
        assert_eq!(dead["record"]["seq"], 5, "{dead}");
        assert_eq!(dead["cause"], cause, "{dead}");
        if kind == "crash" {
            assert_eq!(dead["error"]["signal"], "SIGABRT", "{dead}");
        }
        let replayed = place.run(&["stream", "replay", "orders"]).succeeds();
        assert_eq!(replayed.line(), "1 events sent again");
        let listed = place.run(&["stream", "dead", "orders"]).succeeds();
        assert_eq!(listed.stdout, "");
        let shares = Scene::new(&place).lag("ledger_dead_letter");
        let lag: u64 = shares.iter().map(|one| one["lag"].as_u64().unwrap()).sum();
        assert_eq!(lag, 1);
    }
}

#[test]
fn a_retried_event_is_tried_as_often_as_said_and_then_put_away() {
    let place = Place::new();
    goes_on(&place, "ledger_retry", "crash");
    let dead: Value =
        serde_json::from_str(&place.run(&["stream", "dead", "orders"]).succeeds().line()).unwrap();
    assert_eq!(dead["tries"], 4, "three retries after the first: {dead}");
}

#[test]
fn a_batch_with_a_poison_is_passed_over_as_one() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let sent = sent("error");
    scene.send(&sent);
    let mut supervisor = scene.supervisor("ledger_batches", &[]);
    scene.drained("ledger_batches");
    // Which others were in its batch is a matter of time: those of its partition.
    let lines = scene.lines("ledger_batches");
    for key in ["well", "fine", "good", "sick"] {
        let seqs: Vec<_> = lines
            .iter()
            .filter(|line| line.key == key)
            .map(|line| line.seq)
            .collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
        assert!(!seqs.contains(&5) || key != "sick");
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

/// A partition that rests keeps its place, the others go on, and somebody releases or skips.
fn rests(place: &Place, processor: &str, rest: &str) {
    let scene = Scene::new(place);
    let sent = sent("crash");
    scene.send(&sent);
    let mut supervisor = scene.supervisor(processor, &[]);
    let shares = scene.lag_when(
        processor,
        "the poison to be met, and the others passed",
        |shares| {
            sick(shares).is_some_and(|one| one["trouble"]["rest"] == rest)
                && shares.iter().filter(|one| one["lag"] != 0).count() == 1
        },
    );
    let one = sick(&shares).unwrap();
    assert_eq!(one["trouble"]["cause"], "crash", "{one}");
    assert_eq!(one["trouble"]["error"]["signal"], "SIGABRT", "{one}");
    assert!(one["lag"].as_u64() >= Some(5), "{one}");
    assert_eq!(one["owner"].is_null(), rest == "quarantined", "{one}");
    let partition = one["partition"].to_string();
    // Released it fails again: the poison is still there.
    let tries_before = one["trouble"]["at"].clone();
    let released = place.run(&["stream", "release", "orders"]).succeeds();
    assert_eq!(released.line(), partition);
    scene.lag_when(processor, "the poison to be met again", |shares| {
        sick(shares).is_some_and(|one| {
            one["trouble"]["rest"] == rest && one["trouble"]["at"] != tries_before
        })
    });
    let _ = place.run(&["stream", "skip", "orders"]).succeeds();
    scene.drained(processor);
    judge(&scene.lines(processor), &sent, &put_away(&[5]));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn a_halted_partition_rests_until_it_is_released() {
    rests(&Place::new(), "ledger_halt", "halted");
}

#[test]
fn a_quarantined_partition_rests_until_it_is_released() {
    rests(&Place::new(), "ledger_quarantine", "quarantined");
}

#[test]
fn a_halted_partition_is_tried_again_by_the_next_supervisor_and_a_quarantined_one_is_not() {
    for (processor, is_tried) in [("ledger_halt", true), ("ledger_quarantine", false)] {
        let place = Place::new();
        let scene = Scene::new(&place);
        scene.send(&[poison("sick", 1, "error")]);
        let mut first = scene.supervisor(processor, &[]);
        let shares = scene.lag_when(processor, "a rest", |shares| {
            sick(shares).is_some_and(|one| !one["trouble"]["rest"].is_null())
        });
        let at = sick(&shares).unwrap()["trouble"]["at"].clone();
        assert_eq!(first.stop(), 0, "{}", first.log());
        let mut second = scene.supervisor(processor, &[]);
        if is_tried {
            scene.lag_when(processor, "another try", |shares| {
                sick(shares).is_some_and(|one| one["trouble"]["at"] != at)
            });
        } else {
            // Everything else is held by now, and this is not.
            scene.lag_when(processor, "the others to be held", |shares| {
                shares.iter().filter(|one| one["owner"].is_string()).count() == 15
            });
            let shares = scene.lag(processor);
            assert_eq!(sick(&shares).unwrap()["trouble"]["at"], at);
        }
        assert_eq!(second.stop(), 0, "{}", second.log());
    }
}

#[test]
fn policies_hold_on_redis() {
    let server = RedisServer::start(&[]);
    let place = || Place::with_store(&server.url());
    for processor in ["ledger_ignore", "ledger_dead_letter", "ledger_retry"] {
        let place = place();
        goes_on(&place, processor, "crash");
        let _ = place.run(&["clear", "--yes"]);
        let _ = server.command("FLUSHALL");
    }
    rests(&place(), "ledger_halt", "halted");
    let _ = server.command("FLUSHALL");
    rests(&place(), "ledger_quarantine", "quarantined");
}

#[test]
fn a_partition_that_is_damaged_in_the_store_stops_nobody_else() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let scene = Scene::new(&place);
    let sick = partition_of(&"sick", PARTITIONS).unwrap();
    let others: Vec<_> = ["well", "fine", "good"]
        .into_iter()
        .filter(|key| partition_of(key, PARTITIONS).unwrap() != sick)
        .collect();
    assert!(!others.is_empty());
    // Somebody else writes into our keys.
    let _ = server.text(&format!(
        "XADD {{bulkhead|~orders}}ev:{sick} * foreign word"
    ));
    let sent: Vec<_> = others.iter().flat_map(|key| orders(key, 0..10)).collect();
    scene.send(&sent);
    let mut supervisor = scene.supervisor("ledger_ignore", &[]);
    until("the others to be passed", PATIENCE, || {
        (scene.lines("ledger_ignore").len() == sent.len()).then_some(())
    });
    judge(&scene.lines("ledger_ignore"), &sent, &BTreeSet::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    assert!(
        supervisor.log().contains("cannot be processed"),
        "{}",
        supervisor.log()
    );
}

#[test]
fn what_lies_behind_a_record_that_cannot_be_read_is_not_lost_with_the_part_of_its_batch() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut sent = vec![poison("sick", 0, "crash")];
    scene.send(&sent);
    let record = bulkhead_shared::stream::keep::Record {
        partition: partition_of(&"sick", PARTITIONS).unwrap(),
        id: None,
        fields: [("data", "no json")].into_iter().collect(),
    };
    let _ = scene.streams.send(&Scene::name(), &[record]).unwrap();
    let behind = orders("sick", 1..5);
    scene.send(&behind);
    sent.extend(behind);
    let mut supervisor = scene.supervisor("ledger_batches", &[]);
    scene.drained("ledger_batches");
    judge(&scene.lines("ledger_batches"), &sent, &put_away(&[0]));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn who_lies_about_its_events_fails_at_this_one_and_passes_no_other() {
    let lies = [
        ("passed_too_far", "passed events that it was not given"),
        ("passed_before", "passed events that it was not given"),
        (
            "passed_for_another",
            "answered for a call that is not its own",
        ),
        ("parted_too_far", "parted events that it was not given"),
        ("parted_before", "parted events that it was not given"),
        (
            "asks_for_ever",
            "asks for events while 16 such asks are open",
        ),
    ];
    for (lie, said) in lies {
        for processor in ["ledger_dead_letter", "ledger_batches"] {
            let place = Place::new();
            let scene = Scene::new(&place);
            let sent = sent(lie);
            scene.send(&sent);
            let mut supervisor = scene.supervisor(processor, &[]);
            scene.drained(processor);
            let lines = scene.lines(processor);
            if processor == "ledger_batches" {
                // With it goes all that was to be passed as one.
                let others = |order: &&Order| order.key != "sick";
                let passed = lines.iter().filter(|line| line.key != "sick").count();
                assert_eq!(passed, sent.iter().filter(others).count(), "{lie}");
            } else {
                judge(&lines, &sent, &put_away(&[5]));
            }
            scene.was_never_shared();
            assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
            let log = supervisor.log();
            assert!(log.contains(said), "{lie}: {log}");
            supervisor.leaves_nothing();
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_is_a_failure_of_its_event() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let record = bulkhead_shared::stream::keep::Record {
        partition: 0,
        id: None,
        fields: [("data", "no json")].into_iter().collect(),
    };
    let _ = scene.streams.send(&Scene::name(), &[record]).unwrap();
    let mut supervisor = scene.supervisor("ledger_dead_letter", &[]);
    scene.drained("ledger_dead_letter");
    let dead = until("the record to be put away", PATIENCE, || {
        let listed = place.run(&["stream", "dead", "orders"]).succeeds();
        let line = listed.lines().first().map(|line| (*line).to_owned())?;
        serde_json::from_str::<Value>(&line).ok()
    });
    assert_eq!(dead["error"]["name"], "record", "{dead}");
    assert_eq!(dead["record"]["data"], "no json", "{dead}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
