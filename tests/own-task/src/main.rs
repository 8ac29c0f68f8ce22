use std::process::ExitCode;

use bulkhead_child::{Context, anyhow, task, tasks};

/// Arguments are decoded before the function is called; what it returns is the result.
#[task(queue = "greetings", timeout = "10s", max_retries = 3, memory = "128MiB")]
fn greet(name: String, times: Option<u32>) -> String {
    format!("Hello, {name}! ").repeat(times.unwrap_or(1) as usize)
}

/// An error is a failed attempt; `Context` knows the attempt and whether it is asked to stop.
#[task(queue = "greetings", backoff = constant("100ms"))]
fn insist(ctx: &Context) -> anyhow::Result<u32> {
    anyhow::ensure!(ctx.attempt() > 1, "not at the first attempt");
    Ok(ctx.attempt())
}

fn main() -> ExitCode {
    bulkhead_child::run(tasks![greet, insist])
}
