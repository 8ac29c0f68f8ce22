//! The demo child's processor in a process, as its supervisor sees it.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests are tests")]

mod process;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use bulkhead_shared::ask::{Ask, Reply};
use bulkhead_shared::codec::encode;
use bulkhead_shared::frame::{FromTask, ToTask};
use bulkhead_shared::stream::{Event, EventId, Place, ProcessorSpec};
use bulkhead_shared::task::TaskSpec;
use process::{CHILD, Process};
use serde_json::{Value, json};

fn begin(process: &mut Process) -> u64 {
    let run = process.run("ledger", r#"{"stream": "orders", "partition": 0}"#);
    let nonce = run.nonce;
    process.send(run);
    nonce
}

fn order(file: &Path, position: u64, poison: Value) -> Event {
    let mut record = json!({"key": "a", "seq": position, "file": file});
    if !poison.is_null() {
        record["poison"] = poison;
    }
    let id = EventId {
        ms: position,
        seq: 0,
    };
    let place = Place { position, id };
    let fields = bulkhead_shared::stream::encode(&record).unwrap();
    Event { place, fields }
}

/// Answers the ask that comes next.
fn serve(process: &mut Process, events: Vec<Event>) {
    let Some(FromTask::Ask { nonce, id, ask }) = process.next() else {
        panic!("no ask; output: {}", process.output());
    };
    let Ask::Events { most, .. } = ask else {
        panic!("{ask:?}");
    };
    assert!(events.len() <= most as usize);
    let reply = Reply::Events(events);
    process.send_bytes(&encode(&ToTask::Reply { nonce, id, reply }).unwrap());
}

fn passed(process: &mut Process) -> u64 {
    match process.next() {
        Some(FromTask::Passed { position, .. }) => position,
        other => panic!("{other:?}; output: {}", process.output()),
    }
}

#[test]
fn a_processor_runs_until_there_is_no_more_and_its_process_serves_the_next_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    let mut process = Process::start(2);
    for round in [0, 3] {
        begin(&mut process);
        let events = [1, 2, 3].map(|n| order(&file, round + n, Value::Null));
        serve(&mut process, events.into());
        for n in 1..=3 {
            assert_eq!(passed(&mut process), round + n);
        }
        serve(&mut process, vec![]);
        assert_eq!(process.returned(), Value::Null);
    }
    assert!(process.exit().success());
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(lines, "a 1\na 2\na 3\na 4\na 5\na 6\n");
}

#[test]
fn a_poison_that_fails_or_crashes_is_not_passed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    let mut process = Process::start(0);
    for (poison, first) in [("error", 1), ("crash", 5)] {
        begin(&mut process);
        let events = vec![
            order(&file, first, Value::Null),
            order(&file, first + 1, json!(poison)),
            order(&file, first + 2, Value::Null),
        ];
        serve(&mut process, events);
        assert_eq!(passed(&mut process), first);
        if poison == "error" {
            let failure = process.failed();
            assert_eq!(failure.text, "order 2 of `a` is poisoned");
            assert!(!failure.is_final);
        }
    }
    assert_eq!(process.exit().signal(), Some(libc::SIGABRT));
    assert_eq!(fs::read_to_string(&file).unwrap(), "a 1\na 5\n");
}

#[test]
fn a_processor_that_waits_for_events_ends_at_a_sigterm() {
    let mut process = Process::start(0);
    begin(&mut process);
    assert!(matches!(process.next(), Some(FromTask::Ask { .. })));
    process.terminate();
    assert_eq!(process.returned(), Value::Null);
    assert!(process.exit().success());
}

#[test]
fn a_message_for_a_processor_is_refused_for_good() {
    let mut process = Process::start(0);
    process.begin("ledger", json!([1]));
    let failure = process.failed();
    assert_eq!(failure.name, "arguments");
    assert!(
        failure.is_final && failure.text.contains("processor"),
        "{failure:?}"
    );
}

#[test]
fn a_processor_is_described_with_its_stream() {
    let output = std::process::Command::new(CHILD)
        .arg("--describe")
        .output()
        .unwrap();
    let specs: Vec<TaskSpec> = serde_json::from_slice(&output.stdout).unwrap();
    let processors = specs.iter().filter_map(|spec| spec.processor.as_ref());
    let streams: Vec<_> = processors
        .map(|ProcessorSpec { stream, .. }| stream.name.as_str())
        .collect();
    assert_eq!(streams, ["orders"]);
}
