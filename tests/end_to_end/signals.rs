//! A task that dies of a signal: the same verdict for every signal, however it was started and
//! whoever runs it.

use serde_json::{Value, json};

use crate::parts::{Verdict, Who, burst, once, place_of};

/// All signals whose default action ends a process.
const DEADLY: [&str; 22] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGIO",
    "SIGSYS",
];

/// Real-time signals, by number.
fn real_time() -> [(i32, String); 3] {
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    [
        (first, "SIGRTMIN".into()),
        (first + 3, "SIGRTMIN+3".into()),
        (last, format!("SIGRTMIN+{}", last - first)),
    ]
}

fn every_signal(who: Who, profile: &str, spawn: &str) {
    let place = place_of(who);
    let known = DEADLY.map(|name| (json!([name]), name.to_owned()));
    let others = real_time().map(|(number, name)| (json!([number.to_string()]), name));
    let (args, names): (Vec<Value>, Vec<String>) = known.into_iter().chain(others).unzip();
    let lines: Vec<_> = args.into_iter().map(|args| once("crash", args)).collect();
    let arguments = ["--sandbox", profile, "--spawn", spawn, "--processes", "2"];
    for (status, name) in burst(&place, &arguments, &lines).iter().zip(names) {
        assert_eq!(Verdict::of(status), Verdict::crashed(&name), "{status:#}");
        let text = &status["error"]["text"];
        assert_eq!(*text, json!(format!("killed by {name}")));
    }
}

macro_rules! for_everybody {
    ($($name:ident: $who:expr, $profile:literal, $spawn:literal;)*) => {
        mod a_task_that_dies_of_any_signal_is_a_crash_by_that_signal {
            use super::*;
            $(#[test] fn $name() { every_signal($who, $profile, $spawn); })*
        }
    };
}

for_everybody! {
    forked_by_root: Who::Root, "process", "fork";
    executed_by_root: Who::Root, "process", "exec";
    forked_by_root_without_a_sandbox: Who::Root, "none", "fork";
    executed_by_root_without_a_sandbox: Who::Root, "none", "exec";
    forked_by_a_user: Who::User, "process", "fork";
    executed_by_a_user: Who::User, "process", "exec";
    forked_by_a_user_without_a_sandbox: Who::User, "none", "fork";
    executed_by_a_user_without_a_sandbox: Who::User, "none", "exec";
}
