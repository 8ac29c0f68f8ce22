//! A task with all hooks. Each hook that is a job prints what it was told.

use std::io::{self, Write};
use std::time::Duration;

use bulkhead_child::anyhow;
use bulkhead_child::{Context, Occasion, TaskError, task};
use serde_json::Value;

/// Ends as it is told to: `fail`, `for good`, `hang`, `crash`; returns everything else. Its hooks
/// fail for metadata that say so; it declines its callback if it returns `quiet`.
#[task(
    max_retries = 1,
    backoff = constant("20ms"),
    do_retry = may_be_repeated,
    do_callback = is_to_go_on,
    on_retry = told,
    on_failure = told,
    on_success = told,
    on_revocation = told
)]
pub(crate) fn hooked(ctx: &Context, how: String) -> anyhow::Result<String> {
    match how.as_str() {
        "fail" | "for good" => anyhow::bail!("{how}"),
        "hang" => ctx.sleep(Duration::from_secs(3600))?,
        "crash" => std::process::abort(),
        _ => {}
    }
    Ok(how)
}

fn may_be_repeated(_: &Context, error: &TaskError) -> bool {
    error.text != "for good"
}

fn is_to_go_on(_: &Context, result: &Value) -> bool {
    result != "quiet"
}

fn told(ctx: &Context, about: &Occasion) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(about)?)?;
    let metadata: Option<Value> = ctx.metadata()?;
    anyhow::ensure!(
        metadata.is_none_or(|data| data["hooks"] != "fail"),
        "a hook that fails"
    );
    Ok(())
}
