//! What `#[task]` makes of functions, under lints stricter than ours.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![allow(
    clippy::missing_const_for_fn,
    clippy::redundant_pub_crate,
    clippy::unnecessary_wraps,
    reason = "of the functions themselves, not of what the attribute adds"
)]
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use bulkhead_child::{Context, task, tasks};
use bulkhead_shared::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Private {
    sides: Vec<u32>,
}

type Outcome<T> = Result<T, String>;

#[task(
    name = "shapes.area",
    queue = "shapes",
    timeout = "1m30s",
    max_retries = none,
    backoff = exponential(base = 2, factor = "1s", floor = none, ceiling = "10m"),
    patience = "0s",
    result_ttl = "0",
    memory = "64MiB",
    profile = "strict",
    positional = false
)]
fn area(shape: Private, r#type: Option<String>, mut scale: u32) -> Outcome<Private> {
    scale += u32::from(r#type.is_none());
    let sides = shape.sides.iter().map(|side| side * scale).collect();
    Ok(Private { sides })
}

#[task(max_retries = 0, backoff = constant("5s"), result_ttl = none)]
fn scale(ctx: &Context, scale: BTreeMap<String, f64>) -> usize {
    scale.len() + ctx.task().len()
}

#[task]
fn never(_ignored: u8) -> ! {
    panic!("never")
}

#[task]
#[cfg(any())]
fn compiled_out() {}

mod inner {
    #[bulkhead_child::task(backoff = linear("90s"))]
    pub(crate) fn pong() {}
}

fn run() -> ExitCode {
    #[task]
    fn local(value: Private) -> Private {
        value
    }
    bulkhead_child::run(tasks![area, scale, never, inner::pong, local, local])
}

#[test]
fn functions_stay_functions() {
    let shape = Private { sides: vec![1, 2] };
    assert_eq!(area(shape, None, 1).unwrap().sides, [2, 4]);
    assert_eq!(scale(&Context::detached("four"), BTreeMap::new()), 4);
    inner::pong();
}

#[test]
fn messages_take_typed_arguments_by_the_way_the_task_wants() {
    let build = |message: bulkhead_child::MessageBuilder| -> Message { message.build().unwrap() };
    let message = build(area::message(Private { sides: vec![] }, None, 2).priority(3));
    assert_eq!(
        (message.task.as_str(), message.priority),
        ("shapes.area", 3)
    );
    let payload = String::from_utf8(message.payload).unwrap();
    assert_eq!(
        payload,
        r#"{"args":[],"kwargs":{"scale":2,"shape":{"sides":[]},"type":null}}"#
    );
    assert_eq!(
        build(never::message(1)).payload,
        br#"{"args":[1],"kwargs":{}}"#
    );
    assert!(inner::pong::message().build().is_ok());
}

#[test]
fn a_name_listed_twice_ends_the_start_with_code_2() {
    assert_eq!(run(), ExitCode::from(2));
    assert_eq!(bulkhead_child::run(tasks![]), ExitCode::from(2));
}

#[test]
fn the_demo_child_describes_its_defaults_as_absent() {
    let output = Command::new(env!("CARGO_BIN_EXE_child"))
        .arg("--describe")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""name":"add","queue":null"#), "{text}");
}
