//! A task process, as its supervisor sees it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[cfg(feature = "async")]
mod group;
mod process;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use bulkhead_shared::frame::{Answer, FromTask};
use bulkhead_shared::message::Encoding;
use bulkhead_shared::task::{Mechanism, TaskSpec};
use process::{CHILD, Process};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_process_ends_quietly_with_its_job_pipe() {
    let mut process = Process::start(0);
    process.hang_up();
    assert!(process.exit().success());
    assert_eq!(process.output(), "");
}

#[test]
fn arguments_by_position_and_by_name_give_the_same_sum() {
    let mut process = Process::start(0);
    assert_eq!(process.call("add", json!([2, 3])), 5);
    let run = process.run("add", r#"{"kwargs": {"b": 3, "a": 2}}"#);
    process.send(run);
    assert_eq!(process.returned(), 5);
    let run = process.run("add", r#"{"args": [2], "kwargs": {"b": 3}}"#);
    process.send(run);
    assert_eq!(process.returned(), 5);
}

#[test]
fn arguments_in_messagepack_are_read_as_the_header_says() {
    let message = bulkhead_shared::Message::new("add").arg(2).kwarg("b", 300);
    let message = message.encoding(Encoding::MessagePack).build().unwrap();
    let header = serde_json::to_vec(&message.header).unwrap();
    let mut process = Process::start(0);
    let mut run = process.run("add", message.payload);
    run.header = header.clone().into();
    process.send(run);
    assert_eq!(process.returned(), 302);
    let mut run = process.run("add", r#"{"args": [2, 3]}"#);
    run.header = header.into();
    process.send(run);
    let failure = process.failed();
    assert!(
        failure.is_final && failure.text.contains("MessagePack"),
        "{failure:?}"
    );
}

#[test]
fn wrong_arguments_are_final_failures_that_name_the_parameter() {
    let mut process = Process::start(0);
    for (payload, text) in [
        (r#"{"args": [2]}"#, "parameter `b` is missing"),
        (
            r#"{"args": [2], "kwargs": {"a": 3}}"#,
            "parameter `a` is given twice",
        ),
        (
            r#"{"args": [2, 3], "kwargs": {"c": 4}}"#,
            "parameter `c` is unknown to `add` (known: `a`, `b`)",
        ),
        (
            r#"{"args": [1, 2, 3]}"#,
            "3 arguments are given by position, `add` takes 2 (known: `a`, `b`)",
        ),
        (
            r#"{"args": [1, "x"]}"#,
            "parameter `b`: expected i64, got string \"x\"",
        ),
    ] {
        let run = process.run("add", payload);
        process.send(run);
        let failure = process.failed();
        assert_eq!((&*failure.name, &*failure.text), ("arguments", text));
        assert!(failure.is_final);
    }
}

#[test]
fn an_unknown_task_is_a_final_failure() {
    let mut process = Process::start(0);
    process.begin("subtract", json!([]));
    let failure = process.failed();
    assert_eq!(failure.name, "unknown-task");
    assert!(failure.is_final && failure.text.contains("`subtract`"));
}

#[test]
fn a_panic_is_a_failure_with_its_text_and_place_and_is_printed() {
    let mut process = Process::start(0);
    process.begin("panic", json!(["boom"]));
    let failure = process.failed();
    assert_eq!((&*failure.name, &*failure.text), ("panic", "boom"));
    let place = failure.traceback.unwrap();
    assert!(
        place.starts_with("child/src/bin/child/trouble.rs:"),
        "{place}"
    );
    assert_eq!(place.split(':').count(), 3, "file:line:column: {place}");
    assert!(!failure.is_final);
    assert!(process.output().contains("boom"));
    assert_eq!(process.call("add", json!([1, 1])), 2, "it goes on");
}

#[test]
fn a_panic_has_a_backtrace_if_the_environment_asks_for_one() {
    let mut process = Process::start_with(1, &[("RUST_BACKTRACE", "1")]);
    process.begin("panic", json!(["boom"]));
    assert!(process.failed().traceback.unwrap().lines().count() > 3);
}

#[test]
fn a_process_ends_after_the_number_of_jobs_it_was_given() {
    let mut process = Process::start(3);
    for n in 0..3 {
        assert_eq!(process.call("add", json!([n, n])), 2 * n);
    }
    assert!(process.exit().success());
}

#[test]
fn a_reused_process_reports_the_peak_of_each_job_alone() {
    let mut process = Process::start(0);
    let mut peak = |megabytes| {
        process.begin("allocate", json!([megabytes]));
        let (answer, usage) = process.done();
        assert!(matches!(answer, Answer::Returned(_)));
        usage.max_rss_kb
    };
    // None where the kernel does not tell.
    if let (Some(large), Some(small)) = (peak(64), peak(1)) {
        assert!(large > 64 << 10 && small < 48 << 10, "{large} {small}");
    }
}

#[test]
fn sigterm_ends_a_task_that_looks_and_then_its_process() {
    let mut process = Process::start(0);
    process.begin("sleep", json!([3600]));
    process.terminate();
    assert_eq!(process.failed().text, "stopped");
    assert!(process.exit().success());
}

#[test]
fn sigterm_ends_an_idle_process() {
    let mut process = Process::start(0);
    process.call("add", json!([1, 1]));
    process.terminate();
    process.hang_up();
    assert!(process.exit().success());
}

#[test]
fn progress_arrives_before_the_end_and_the_last_one_is_the_last_step() {
    let mut process = Process::start(1);
    process.begin("progress", json!([500]));
    let mut steps = Vec::new();
    while let Some(FromTask::Progress { nonce: 1, details }) = process.next() {
        let details: serde_json::Value = serde_json::from_slice(&details).unwrap();
        assert_eq!(details["of"], 500);
        steps.push(details["step"].as_u64().unwrap());
    }
    assert_eq!((steps.first(), steps.last()), (Some(&1), Some(&500)));
    assert!(steps.len() < 500 && steps.is_sorted(), "{steps:?}");
}

#[test]
fn an_allocation_that_fails_is_reported_before_the_abort() {
    for env in [&[][..], &[("RUST_BACKTRACE", "1")]] {
        let mut process = Process::start_with(1, env);
        let mut run = process.run("allocate", r#"{"args": [4096]}"#);
        run.memory = Some(64 << 20);
        process.send(run);
        let notice = FromTask::AllocationFailed {
            nonce: 1,
            bytes: 1 << 20,
        };
        assert_eq!(process.next(), Some(notice), "{env:?}");
        assert_eq!(process.exit().signal(), Some(libc::SIGABRT));
    }
}

#[test]
fn an_abort_after_the_same_words_is_not_reported_as_a_failed_allocation() {
    let mut process = Process::start(0);
    process.begin("panic", json!(["memory allocation of 99 bytes failed"]));
    assert_eq!(process.failed().name, "panic");
    process.begin("crash", json!(["ABRT"]));
    assert_eq!(process.exit().signal(), Some(libc::SIGABRT));
    assert!(
        process
            .output()
            .contains("memory allocation of 99 bytes failed")
    );
}

#[test]
fn a_payload_near_the_limit_goes_in_and_out() {
    let mut process = Process::start(1);
    let text = "x".repeat(15 << 20);
    assert_eq!(process.call("echo", json!([text])), text);
}

#[test]
fn a_frame_of_nonsense_ends_the_process_with_a_code_and_a_reason() {
    for bytes in [
        &[4, 0, 0, 0, 255, 255, 255, 255][..],
        &[255; 8],
        &[9, 0, 0, 0, 1],
    ] {
        let mut process = Process::start(0);
        process.send_bytes(bytes);
        process.hang_up();
        assert_eq!(process.exit().code(), Some(65));
        assert!(
            process.output().contains("job pipe"),
            "{}",
            process.output()
        );
    }
}

#[test]
fn random_payloads_and_headers_end_in_answers() {
    let mut process = Process::start(0);
    let any_bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let any_json = "\\{\"args\": \\[[0-9a-z\",\\[\\]{}:. -]{0,40}\\]\\}".prop_map(Vec::from);
    let payloads = prop_oneof![any_bytes(), any_json];
    let tasks = prop::sample::select(vec!["add", "echo", "fail", "flaky", "nobody"]);
    let headers = prop_oneof![
        3 => Just(br#"{"v":1,"created_at":5}"#.to_vec()),
        1 => any_bytes()
    ];
    let mut runner = proptest::test_runner::TestRunner::default();
    let process = std::cell::RefCell::new(&mut process);
    runner
        .run(&(tasks, payloads, headers), |(task, payload, header)| {
            let mut process = process.borrow_mut();
            let mut run = process.run(task, payload);
            run.header = serde_bytes::ByteBuf::from(header);
            process.send(run);
            process.done();
            Ok(())
        })
        .unwrap();
}

#[test]
fn describe_prints_what_supervisors_store() {
    let output = Command::new(CHILD).arg("--describe").output().unwrap();
    assert!(output.status.success());
    let specs: Vec<TaskSpec> = serde_json::from_slice(&output.stdout).unwrap();
    let add = specs
        .iter()
        .find(|spec| spec.name.as_str() == "add")
        .unwrap();
    assert_eq!(add.params, ["a", "b"]);
    let of = |name: &str| specs.iter().find(|spec| spec.name.as_str() == name);
    let thread = of("thread_sleep").unwrap();
    assert_eq!(add.mechanism, Mechanism::Process);
    assert_eq!(thread.mechanism, Mechanism::Thread);
    assert!(of("main_thread").unwrap().run_in_main_thread);
}

#[test]
fn a_child_started_by_hand_explains_itself() {
    let by_hand = Command::new(CHILD).output().unwrap();
    assert_eq!(by_hand.status.code(), Some(2));
    let help = Command::new(CHILD).arg("--help").output().unwrap();
    assert!(help.status.success());
    assert_eq!(by_hand.stderr, help.stdout);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("supervisor --child") && text.contains("add(a, b)"));
    let no_pipes = Command::new(CHILD).args(["__task", "1"]).output().unwrap();
    assert_eq!(no_pipes.status.code(), Some(2));
}
