//! The demo tasks: some work, and one of every kind of trouble.
#![deny(unsafe_code)]

#[expect(
    unsafe_code,
    reason = "what no safe program does is the point of some demo tasks"
)]
mod sys;
mod trouble;
mod work;

use std::process::ExitCode;

use bulkhead_child::tasks;

use trouble::{allocate, crash, escape, exit, fail, flaky, garbage, hang, panic, spin};
use work::{add, add_previous, echo, print, progress, sha256, sleep};

fn main() -> ExitCode {
    bulkhead_child::run(tasks![
        add,
        add_previous,
        allocate,
        crash,
        echo,
        escape,
        exit,
        fail,
        flaky,
        garbage,
        hang,
        panic,
        print,
        progress,
        sha256,
        sleep,
        spin,
    ])
}
