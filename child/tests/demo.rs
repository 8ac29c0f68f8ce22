//! What the demo tasks do.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests are tests")]

mod process;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process::Process;
use serde_json::{Value, json};

#[test]
fn the_tasks_that_work_return_what_they_promise() {
    let mut process = Process::start(0);
    let value = json!({"deep": [1, 2.5, null, {"text": "\u{1f980}"}]});
    assert_eq!(process.call("echo", json!([value])), value);
    assert_eq!(process.call("sleep", json!([0.001])), Value::Null);
    assert_eq!(process.call("allocate", json!([3])), 3);
    assert_eq!(process.call("print", json!([100_001])), 100_001);
    assert_eq!(process.output().len(), 100_001);
}

#[test]
fn add_previous_reads_what_came_before_from_behind_its_arguments() {
    let mut process = Process::start(0);
    let mut run = process.run("add_previous", r#"{"args": [2]}40"#);
    run.header = br#"{"v":1,"created_at":0,"previous_bytes":2}"#.to_vec().into();
    process.send(run);
    assert_eq!(process.returned(), 42);
    let alone = process.run("add_previous", r#"{"args": [2]}"#);
    process.send(alone);
    assert!(process.failed().text.contains("callback"));
    // More than there is: then all of it is arguments.
    let mut run = process.run("add_previous", r#"{"args": [2]}40"#);
    run.header = br#"{"v":1,"created_at":0,"previous_bytes":99}"#.to_vec().into();
    process.send(run);
    assert_eq!(process.failed().name, "arguments");
}

#[test]
fn sha256_gives_the_known_digest() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"abc").unwrap();
    let mut process = Process::start(0);
    let digest = process.call("sha256", json!([file.path()]));
    assert_eq!(
        digest,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    process.begin("sha256", json!(["/nowhere"]));
    assert!(process.failed().text.starts_with("opening /nowhere: "));
}

#[test]
fn flaky_fails_as_often_as_it_is_told() {
    let mut process = Process::start(0);
    for attempt in 1..=3 {
        let mut run = process.run("flaky", r#"{"args": [2]}"#);
        run.attempt = attempt;
        process.send(run);
        if attempt < 3 {
            assert_eq!(process.failed().name, "error");
        } else {
            assert_eq!(process.returned(), 3);
        }
    }
}

#[test]
fn fail_fails_with_its_text_and_may_be_repeated() {
    let mut process = Process::start(1);
    process.begin("fail", json!(["no luck"]));
    let failure = process.failed();
    assert_eq!((&*failure.name, &*failure.text), ("error", "no luck"));
    assert!(!failure.is_final);
}

#[test]
fn crash_dies_of_the_signal_it_is_given() {
    for (name, signal) in [
        ("SEGV", libc::SIGSEGV),
        ("SIGSEGV", libc::SIGSEGV),
        ("ABRT", libc::SIGABRT),
        ("kill", libc::SIGKILL),
        ("TERM", libc::SIGTERM),
        ("PIPE", libc::SIGPIPE),
        ("10", libc::SIGUSR1),
    ] {
        let mut process = Process::start(1);
        process.begin("crash", json!([name]));
        assert_eq!(process.exit().signal(), Some(signal), "{name}");
    }
    let mut process = Process::start(1);
    process.begin("crash", json!(["BANANA"]));
    assert!(process.failed().text.contains("BANANA"));
}

#[test]
fn exit_ends_the_process_with_its_code_and_no_answer() {
    for code in [0, 7] {
        let mut process = Process::start(1);
        process.begin("exit", json!([code]));
        assert_eq!(process.exit().code(), Some(code));
    }
}

#[test]
fn escape_leaves_a_process_that_survives_sigterm() {
    let mut process = Process::start(1);
    let pid = process.call("escape", json!([]));
    assert_eq!(process.output(), format!("{pid}\n"));
    let pid = Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
}

#[test]
fn garbage_cannot_be_read_as_a_frame() {
    let mut process = Process::start(1);
    process.begin("garbage", json!([]));
    let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| process.next()));
    assert!(next.is_err());
}
