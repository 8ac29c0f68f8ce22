//! Processors before a supervisor that follows a script.

mod script;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_shared::ask::{Denied, Reply as Told};
use bulkhead_shared::stream::{Event, EventId, Place};
use serde::{Deserialize, Serialize};

use super::*;
use crate::registry::Registry;
use crate::{Compression, TaskError, processor, tasks};
use script::Script;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    what: String,
}

fn orders() -> Stream<Order> {
    Stream::new("orders")
        .partition_by(|order: &Order| order.id)
        .compression(Compression::Lz4)
}

fn event(position: u64, fields: bulkhead_shared::stream::Fields) -> Event {
    let id = EventId {
        ms: 1_000 + position,
        seq: 0,
    };
    let place = Place { position, id };
    Event { place, fields }
}

/// Events at these positions, each with its position as the order's id.
fn events(positions: &[u64]) -> Told {
    let orders = positions.iter().map(|&id| {
        let what = "tea".into();
        event(id, orders().encode(&Order { id, what }).unwrap())
    });
    Told::Events(orders.collect())
}

fn damaged(position: u64) -> Event {
    event(position, [("data", "{")].into_iter().collect())
}

#[processor(stream = orders)]
fn all(events: Events<Order>) {
    for order in events {
        assert_eq!(order.what, "tea");
    }
}

#[test]
fn an_event_is_passed_when_the_next_one_is_asked_for() {
    let script = Script::new(vec![events(&[4, 5]), events(&[6])]);
    let story = script.run(tasks![all][0]);
    assert_eq!(
        story,
        [
            "ask 8",
            "passed 4",
            "passed 5",
            "ask 8",
            "passed 6",
            "ask 8",
            "returned null"
        ]
    );
}

#[processor(stream = orders, prefetch_count = 3)]
fn two(ctx: &Context, mut events: Events<Order>) -> Result<(), String> {
    assert_eq!(
        (ctx.task(), events.stream(), events.partition_number()),
        ("two", "orders", 3)
    );
    let first = events.next().ok_or("none")?;
    let second = events.next().ok_or("only one")?;
    assert_eq!(second.id, first.id + 1);
    Ok(())
}

#[test]
fn a_return_passes_what_is_in_hand_and_nothing_that_was_read_ahead() {
    let story = Script::new(vec![events(&[1, 2, 3])]).run(tasks![two][0]);
    assert_eq!(story, ["ask 3", "passed 1", "passed 2", "returned null"]);
    // An error passes nothing more, also if there was nothing.
    let story = Script::new(vec![events(&[1])]).run(tasks![two][0]);
    assert_eq!(story, ["ask 3", "passed 1", "ask 3", "error: only one"]);
    let story = Script::new(vec![]).run(tasks![two][0]);
    assert_eq!(story, ["ask 3", "error: none"]);
}

#[processor(stream = orders)]
fn picky(events: Events<Order>) -> Result<(), String> {
    for order in events {
        match order.id {
            2 => return Err("I do not like 2".into()),
            3 => panic!("3 at all"),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn an_event_that_fails_is_not_passed() {
    let story = Script::new(vec![events(&[1, 2, 4])]).run(tasks![picky][0]);
    assert_eq!(story, ["ask 8", "passed 1", "error: I do not like 2"]);
    let story = Script::new(vec![events(&[1, 3, 4])]).run(tasks![picky][0]);
    assert_eq!(story, ["ask 8", "passed 1", "panic: 3 at all"]);
}

#[test]
fn a_record_that_cannot_be_read_is_a_failure_whatever_the_function_makes_of_it() {
    let Told::Events(mut list) = events(&[1]) else {
        unreachable!();
    };
    list.extend([damaged(2), damaged(3)]);
    let story = Script::new(vec![Told::Events(list)]).run(tasks![all][0]);
    assert_eq!(story[..2], ["ask 8", "passed 1"]);
    assert_eq!(story.len(), 3, "{story:?}");
    for words in [
        "record: event 1002-0 of partition 3 of stream `orders` cannot be read: field `data`",
        "`exception_policy`",
    ] {
        assert!(story[2].contains(words), "{story:?}");
    }
    assert!(!story[2].contains("final"), "{story:?}");
}

#[processor(stream = orders)]
fn batches(mut events: Events<Order>) -> Result<(), String> {
    let first = events.next();
    let sizes = events.take(3, Duration::from_millis(50)).map(|batch| {
        let is_good = batch.iter().all(|order| order.id != 13);
        if is_good {
            Ok(batch.len())
        } else {
            Err("13".to_owned())
        }
    });
    let sizes: Vec<_> = sizes.collect::<Result<_, _>>()?;
    assert!(first.is_some() && sizes.iter().all(|size| (1..=3).contains(size)));
    Ok(())
}

#[test]
fn a_batch_is_passed_as_one() {
    // Four that were read ahead are served first.
    let script = Script::new(vec![
        events(&[1, 2, 3, 4, 5]),
        events(&[6, 7, 8]),
        events(&[9]),
    ]);
    assert_eq!(
        script.run(tasks![batches][0]),
        [
            "ask 8",
            "passed 1",
            "passed 4",
            "passed 5",
            "batch 3 in 50",
            "batch 3 in 50",
            "batch 3 in 50",
            "passed 8",
            "batch 3 in 50",
            "passed 9",
            "batch 3 in 50",
            "returned null"
        ]
    );
    let script = Script::new(vec![events(&[11]), events(&[12, 13, 14])]);
    let story = script.run(tasks![batches][0]);
    let three = ["batch 3 in 50"; 3];
    assert_eq!(
        story,
        [&["ask 8", "passed 11"], &three[..], &["error: 13"]].concat()
    );
}

#[processor(stream = orders, prefetch_count = 1)]
fn pairs(events: Events<Order>) {
    events.take(2, Duration::ZERO).for_each(drop);
}

#[processor(stream = orders, prefetch_count = 10_000)]
fn far(events: Events<Order>) {
    events.take(2, Duration::ZERO).for_each(drop);
}

#[test]
fn batches_are_asked_for_ahead_as_far_as_events_are_read_ahead_and_by_one_in_any_case() {
    for (task, ahead) in [(tasks![pairs][0], 1), (tasks![far][0], feed::BATCHES_AHEAD)] {
        let story = Script::new(vec![events(&[1, 2])]).run(task);
        let (first, rest) = story.split_at(1 + ahead);
        assert!(first.iter().all(|word| word == "batch 2 in 0"), "{story:?}");
        assert_eq!(rest, ["passed 2", "batch 2 in 0", "returned null"]);
    }
}

#[test]
fn a_batch_ends_before_a_record_that_cannot_be_read() {
    let Told::Events(mut list) = events(&[2, 3]) else {
        unreachable!();
    };
    list.insert(1, damaged(9));
    let story = Script::new(vec![events(&[1]), Told::Events(list)]).run(tasks![batches][0]);
    let asked = ["ask 8", "passed 1"].into_iter();
    let asked: Vec<_> = asked.chain(["batch 3 in 50"; 3]).collect();
    assert_eq!(story[..5], asked);
    // Before the function gets what lies before it: it may fail at that.
    assert_eq!(story[5..7], ["parted 2", "passed 2"]);
    assert!(story[7].starts_with("record: event 1009-0 "), "{story:?}");
    assert_eq!(story.len(), 8);
}

#[processor(stream = orders)]
fn endless(events: Events<Order>) {
    let mut events = events;
    while events.next().is_some() {}
    // There is no more, however often it is asked.
    assert_eq!(events.next(), None);
    assert_eq!(events.take(2, Duration::ZERO).next(), None);
}

#[test]
fn the_end_stays_the_end_and_a_denial_is_a_failure() {
    let story = Script::new(vec![events(&[1]), events(&[])]).run(tasks![endless][0]);
    assert_eq!(story, ["ask 8", "passed 1", "ask 8", "returned null"]);
    let denied = Told::denied(Denied::Lost, "the partition is somebody else's");
    let story = Script::new(vec![events(&[1]), denied]).run(tasks![endless][0]);
    let last = "events: the next events: the partition is somebody else's";
    assert_eq!(story, ["ask 8", "passed 1", "ask 8", last]);
}

#[test]
fn what_is_no_assignment_is_refused_for_good() {
    for (payload, words) in [
        (r#"{"args": [1]}"#, "`all` is a processor"),
        ("[]", "not messages"),
        (
            r#"{"stream": "other", "partition": 3}"#,
            "`all` processes stream `orders`, not `other`",
        ),
    ] {
        let story = Script::new(vec![]).run_on(tasks![all][0], payload);
        assert!(
            story.len() == 1 && story[0].contains(words) && story[0].ends_with("final"),
            "{story:?}"
        );
    }
}

#[processor(stream = orders)]
fn raw(events: Events<Order>) {
    let ids: Vec<_> = events.raw().map(|event| event.place.id.ms).collect();
    assert_eq!(ids, [1_001, 1_002]);
}

#[processor(stream = orders)]
fn numbered(events: Events<Order>) {
    for (id, order) in events.with_ids() {
        assert_eq!(id.ms, 1_000 + order.id);
    }
}

#[test]
fn raw_events_and_ids_are_passed_like_records() {
    for task in tasks![raw, numbered] {
        let story = Script::new(vec![events(&[1, 2])]).run(task);
        assert_eq!(
            story,
            ["ask 8", "passed 1", "passed 2", "ask 8", "returned null"]
        );
    }
}

#[processor(stream = orders)]
fn restarted(ctx: &Context, mut events: Events<Order>) {
    let before = ctx.deadline();
    let start = crate::context::now();
    while crate::context::now() < start + Duration::from_millis(2) {}
    let _ = events.next();
    assert!(ctx.deadline() > before);
}

#[test]
fn the_deadline_is_that_of_the_event_in_hand() {
    let story = Script::new(vec![events(&[1])]).run(tasks![restarted][0]);
    assert_eq!(story, ["ask 8", "passed 1", "returned null"]);
}

/// Fails where it is told to, and counts what it sees in one number: a digit for each call.
struct Seen {
    by: &'static AtomicU32,
    digit: u32,
}

impl Seen {
    fn note(&self, digit: u32) {
        self.by
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
                Some(seen * 10 + digit + self.digit)
            })
            .unwrap();
    }
}

impl Middleware for Seen {
    fn before(&self, event: &Event) -> anyhow::Result<()> {
        self.note(1);
        anyhow::ensure!(event.place.position != 6, "before 6");
        assert_ne!(event.place.position, 7, "before 7");
        Ok(())
    }
    fn after(&self, event: &Event) -> anyhow::Result<()> {
        self.note(2);
        anyhow::ensure!(event.place.position != 8, "after 8");
        assert_ne!(event.place.position, 9, "after 9");
        Ok(())
    }
    fn failed(&self, _: &Event, error: &TaskError) {
        self.note(3);
        assert_eq!(error.text, "I do not like 2", "a panic that nobody hears");
    }
}

static SEEN: AtomicU32 = AtomicU32::new(0);
const OUTER: Seen = Seen {
    by: &SEEN,
    digit: 0,
};
const INNER: Seen = Seen {
    by: &SEEN,
    digit: 3,
};

#[processor(stream = orders, middleware = [OUTER, INNER])]
fn surrounded(events: Events<Order>) -> Result<(), String> {
    picky(events)
}

#[test]
fn middleware_surrounds_events_and_fails_them() {
    let run = |positions: &[u64]| {
        SEEN.store(0, Ordering::Relaxed);
        let story = Script::new(vec![events(positions)]).run(tasks![surrounded][0]);
        (story[1..].join(", "), SEEN.load(Ordering::Relaxed))
    };
    assert_eq!(run(&[1]), ("passed 1, ask 8, returned null".into(), 1452));
    assert_eq!(run(&[2]), ("error: I do not like 2".into(), 1463));
    assert_eq!(run(&[3]), ("panic: 3 at all".into(), 1463));
    assert_eq!(run(&[6]), ("middleware: before 6".into(), 163));
    assert_eq!(run(&[8]), ("middleware: after 8".into(), 14563));
    // A panic of a middleware is one of the event.
    let (story, seen) = run(&[7]);
    assert!(
        story.starts_with("panic: ") && story.contains("before 7"),
        "{story}"
    );
    assert_eq!(seen, 163);
    let (story, seen) = run(&[9]);
    assert!(
        story.starts_with("panic: ") && story.contains("after 9"),
        "{story}"
    );
    assert_eq!(seen, 14563);
}

#[test]
fn a_function_is_tested_with_events_of_its_own() {
    let order = |id| Order {
        id,
        what: "tea".into(),
    };
    assert_eq!(picky(Events::of([order(1), order(4)])), Ok(()));
    assert!(picky(Events::of([order(1), order(2)])).is_err());
    all(Events::of([]));
}

fn others() -> Stream<Order> {
    orders().partition_count(3)
}
fn keyless() -> Stream<Order> {
    Stream::new("keyless")
}

#[processor(stream = others)]
fn other(_events: Events<Order>) {}
#[processor(stream = keyless)]
fn unkeyed(_events: Events<Order>) {}

#[test]
fn streams_that_cannot_be_are_found_when_the_child_starts() {
    let refused = |tasks| Registry::new(tasks).unwrap_err().to_string();
    let text = refused(tasks![all, other]);
    assert!(
        text.contains("`orders`") && text.contains("`other`"),
        "{text}"
    );
    let text = refused(tasks![unkeyed]);
    assert!(
        text.contains("processor `unkeyed`") && text.contains("partition_by"),
        "{text}"
    );
    assert!(Registry::new(tasks![all, two]).is_ok());
}

#[processor(
    stream = orders,
    name = "full",
    exception_policy = retry,
    then = dead_letter,
    max_retries = 3,
    backoff = constant("10ms"),
    timeout = "5s",
    patience = "200ms",
    memory = "64MiB",
    profile = "strict",
    prefetch_count = 2,
    lock_expiry = "3s",
    grace_period = "4s",
    join_delay = "1ms"
)]
fn everything(_events: Events<Order>) {}

#[test]
fn what_the_attribute_says_is_announced() {
    let registry = Registry::new(tasks![everything]).unwrap();
    let specs: Vec<_> = registry.specs().collect();
    let json = serde_json::to_value(specs).unwrap();
    assert_eq!(
        json[0]["processor"],
        serde_json::json!({
            "stream": {"name": "orders", "partitions": 16, "size": 50_000, "full": "block"},
            "exception_policy": {"retry": {"then": "dead-letter"}},
            "prefetch": 2,
            "lock_expiry_ms": 3_000,
            "grace_period_ms": 4_000,
            "join_delay_ms": 1,
        })
    );
    assert_eq!(json[0]["name"], "full");
    assert_eq!(json[0]["timeout_ms"], 5_000);
    assert_eq!(json[0]["patience_ms"], 200);
    assert_eq!(json[0]["max_retries"], 3);
    assert_eq!(json[0]["memory"], 64 << 20);
    assert_eq!(json[0]["profile"], "strict");
    assert_eq!(json[0]["mechanism"], "process");
}
