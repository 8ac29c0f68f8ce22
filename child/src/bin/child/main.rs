//! The demo tasks: some work, and one of every kind of trouble.
#![deny(unsafe_code)]

mod lasting;
mod orders;
#[expect(
    unsafe_code,
    reason = "what no safe program does is the point of some demo tasks"
)]
mod sys;
mod trouble;
mod work;

use std::process::ExitCode;

use bulkhead_child::tasks;

#[cfg(feature = "async")]
use lasting::long_nap_async;
use lasting::{approval, nap, steps, thread_nap};
use orders::ledger;
#[cfg(feature = "async")]
use trouble::block_async;
use trouble::{
    allocate, crash, escape, exit, fail, flaky, garbage, hang, panic, spin, thread_crash,
    thread_hang, thread_panic,
};
use work::{
    add, add_previous, echo, locked, main_thread, print, progress, sha256, sleep, thread_locked,
    thread_sleep,
};
#[cfg(feature = "async")]
use work::{locked_async, nap_async};

fn main() -> ExitCode {
    #[allow(unused_mut, reason = "without the feature `async` nothing is added")]
    let mut tasks = tasks![
        add,
        add_previous,
        allocate,
        approval,
        crash,
        echo,
        escape,
        exit,
        fail,
        flaky,
        garbage,
        hang,
        ledger,
        locked,
        main_thread,
        nap,
        panic,
        print,
        progress,
        sha256,
        sleep,
        spin,
        steps,
        thread_crash,
        thread_hang,
        thread_locked,
        thread_nap,
        thread_panic,
        thread_sleep,
    ];
    #[cfg(feature = "async")]
    tasks.extend(tasks![block_async, locked_async, long_nap_async, nap_async]);
    bulkhead_child::run(tasks)
}
