//! The attributes `#[task]` and `#[processor]` of Bulkhead. Use it through `bulkhead_child`.
#![forbid(unsafe_code)]

mod expand;
mod hooks;
mod options;
mod processor;
mod signature;
mod trigger;
mod units;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

/// Makes a function a task.
///
/// The function stays a function. Beside it appears a type of the same name with
/// `message(...)`, which builds a message with typed arguments, and what `tasks!` needs.
///
/// | option | value | meaning |
/// | --- | --- | --- |
/// | `name` | `"mail.send"` | what messages call it by; default: the function's name |
/// | `queue` | `"mail"` | where its messages go that name no queue |
/// | `timeout` | `"30s"` | longest run of one attempt |
/// | `max_retries` | `3`, `none` | attempts after the first; `none` is no end |
/// | `backoff` | `exponential(base = 4, factor = "10s", floor = "60s", ceiling = "1h")`, `linear("30s")`, `constant("5s")` | wait between attempts |
/// | `patience` | `"1s"` | from SIGTERM to SIGKILL |
/// | `result_ttl` | `"1h"`, `"0"`, `none` | how long the result is kept; `none`: until it is removed |
/// | `memory` | `"512MiB"` | memory of the process |
/// | `profile` | `"strict"` | its sandbox |
/// | `concurrency` | `2` | how many may run at once in each queue, over all supervisors |
/// | `mechanism` | `"process"`, `"thread"` | what it runs in; an `async fn` runs on the runtime of a group |
/// | `run_in_main_thread` | `true` | of a group; a process runs its task there anyway |
/// | `positional` | `true` | arguments may be given by position |
/// | `cron`, `tz` | `"0 3 * * mon-fri"`, `"Europe/Berlin"` | runs by itself at these times, by the clocks of this zone (UTC) |
/// | `every` | `"30s"` | runs by itself at this interval |
/// | `at` | `"2030-01-31T09:30:00Z"` | runs by itself, once |
/// | `at_start` | `true` | runs when a supervisor starts; needs `on = "each"` |
/// | `on` | `"one"`, `"each"` | on one supervisor, or on each that lives |
/// | `misfire` | `"one"`, `"skip"`, `"all 100"` | what becomes of firings that were missed |
/// | `overlap` | `"allow"`, `"skip"`, `"queue-one"` | what becomes of a firing while the job before runs |
/// | `jitter` | `"30s"` | each firing waits up to this long |
/// | `args`, `kwargs` | `"[1, 2]"`, `"{\"a\": 1}"` | what it is called with by itself, JSON |
/// | `on_submit` | `fn(&Message)` | runs in a Rust producer after the message is stored |
/// | `pre_op` | `fn(&Context)` | runs before the function, in its process; its failure is the attempt's |
/// | `post_op` | `fn(&Context, &Value)` | runs after the function returned; its failure is the attempt's |
/// | `do_retry` | `fn(&Context, &TaskError) -> bool` | whether a failed attempt may be repeated |
/// | `do_callback` | `fn(&Context, &Value) -> bool` | whether the callback is submitted |
/// | `on_retry`, `on_failure`, `on_success`, `on_revocation` | `fn(&Context, &Occasion)` | a job of its own after the end of an attempt |
///
/// Hooks but `do_retry` and `do_callback` return nothing or a `Result`.
///
/// `exponential` and `linear` stay between a floor of 60 s and a ceiling of 1 h unless they name
/// others (`none` for no bound); `constant` has neither.
///
/// Parameters are owned types that serde reads and writes; the first may be `&Context`; an
/// `Option` may be left out by the message. The function returns nothing, a value that serde
/// writes, or a `Result` whose error is an error or a text.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let expanded = options::parse(options.into())
        .and_then(|options| expand::expand(&options, &function))
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote::quote!(#function #error)
        });
    expanded.into()
}

/// Makes a function a processor: it is given the events of a stream, partition by partition.
///
/// The function stays a function. `tasks!` lists it beside tasks.
///
/// | option | value | meaning |
/// | --- | --- | --- |
/// | `stream` | `orders` | a function that declares it: `fn orders() -> Stream<Order>`; needed |
/// | `name` | `"ledger"` | unique among the tasks and processors of a child; default: the function's name |
/// | `exception_policy` | `halt`, `quarantine`, `ignore`, `retry`, `dead_letter` | what becomes of an event it fails at, by an error, a panic, a crash, a timeout, its memory; default: `halt` |
/// | `max_retries`, `backoff` | as for tasks | of `retry`: how often and how late the event is given again |
/// | `then` | `halt`, `quarantine`, `ignore`, `dead_letter` | of `retry`: what follows the last try; default: `quarantine` |
/// | `timeout` | `"30s"` | longest work on one event, or one batch |
/// | `patience` | `"1s"` | from SIGTERM to SIGKILL |
/// | `memory` | `"512MiB"` | memory of the process |
/// | `profile` | `"strict"` | its sandbox |
/// | `prefetch_count` | `8` | how many events are read ahead for each partition; of batches, one in any case |
/// | `lock_expiry` | `"30s"` | how long a partition is held without a sign of life from its supervisor |
/// | `grace_period` | `"10s"` | how long it may go on with what is in hand when its partition is to be given away |
/// | `join_delay` | `"1s"` | how long a supervisor that has just come waits before it takes partitions |
/// | `middleware` | `[Timing, Audit]` | values that implement `Middleware`; the first is the outermost |
///
/// What is left out is the supervisor's default. `halt` lets the partition rest until another supervisor
/// holds it or somebody releases it, `quarantine` until somebody releases it; `ignore` goes on after the
/// event, `dead_letter` puts it away first.
///
/// The function takes `Events<T>`, with `&Context` before it if it wants to, and returns nothing or a
/// `Result` whose error is an error or a text.
#[proc_macro_attribute]
pub fn processor(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let expanded = processor::parse(options.into())
        .and_then(|options| processor::expand(&options, &function))
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote::quote!(#function #error)
        });
    expanded.into()
}
