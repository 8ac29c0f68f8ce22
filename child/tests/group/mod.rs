//! A process that is a group, as its supervisor sees it.

use std::collections::BTreeSet;

use crate::process::Process;
use bulkhead_shared::codec::encode;
use bulkhead_shared::frame::{Answer, FromTask, Group, ToTask};
use serde_json::json;

fn group(threads: u32) -> Process {
    let mut process = Process::start(0);
    let group = Group {
        threads,
        stack: 2 << 20,
        idle_ms: 10_000,
    };
    process.send_bytes(&encode(&ToTask::Group(group)).unwrap());
    process
}

/// The next answer, whichever call it is of.
fn answer(process: &mut Process) -> (u64, Answer) {
    loop {
        match process.next().expect("an answer") {
            FromTask::Done { nonce, answer, .. } => return (nonce, answer),
            FromTask::Progress { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn stop(process: &mut Process, nonce: u64) {
    process.send_bytes(&encode(&ToTask::Stop { nonce }).unwrap());
}

fn failure(answer: Answer) -> (String, String) {
    match answer {
        Answer::Failed(failure) => (failure.name, failure.text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_is_asked_to_stop_does_and_its_neighbours_do_not() {
    let mut group = group(3);
    for _ in 0..2 {
        group.begin("thread_sleep", json!([3600]));
    }
    group.begin("thread_sleep", json!([0]));
    assert_eq!(
        answer(&mut group),
        (3, Answer::Returned(b"null".to_vec().into()))
    );
    stop(&mut group, 2);
    let (nonce, answered) = answer(&mut group);
    assert_eq!((nonce, failure(answered).1.as_str()), (2, "stopped"));
    // The first is still there to be asked.
    stop(&mut group, 1);
    assert_eq!(answer(&mut group).0, 1);
    group.hang_up();
    assert!(group.exit().success());
}

#[test]
fn a_panic_ends_its_own_call() {
    let mut group = group(2);
    group.begin("thread_sleep", json!([3600]));
    group.begin("thread_panic", json!(["boom"]));
    let (nonce, answered) = answer(&mut group);
    assert_eq!(nonce, 2);
    assert_eq!(failure(answered), ("panic".into(), "boom".into()));
    stop(&mut group, 1);
    assert_eq!(answer(&mut group).0, 1);
}

#[test]
fn more_calls_than_threads_are_all_answered_once() {
    let mut group = group(4);
    for number in 0..500 {
        group.begin("echo", json!([number]));
    }
    let nonces: BTreeSet<u64> = (0..500).map(|_| answer(&mut group).0).collect();
    assert_eq!(nonces, (1..=500).collect());
    group.hang_up();
    assert!(group.exit().success());
}

#[test]
fn a_task_of_the_main_thread_runs_there() {
    let mut group = group(2);
    group.begin("main_thread", json!([]));
    assert_eq!(
        answer(&mut group).1,
        Answer::Returned(b"true".to_vec().into())
    );
}

#[test]
fn a_hundred_futures_wait_at_once_and_each_can_be_dropped() {
    let mut group = group(1);
    for _ in 0..100 {
        group.begin("nap_async", json!([3600]));
    }
    group.begin("nap_async", json!([0]));
    assert_eq!(
        answer(&mut group),
        (101, Answer::Returned(b"null".to_vec().into()))
    );
    for nonce in (1..=100).rev() {
        stop(&mut group, nonce);
        let (answered, how) = answer(&mut group);
        assert_eq!((answered, failure(how).0.as_str()), (nonce, "stopped"));
    }
}
