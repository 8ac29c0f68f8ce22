//! `supervisor schedule ls`.

use bulkhead_shared::client::{Client, Scheduled};
use bulkhead_shared::schedule::{Body, Origin};
use bulkhead_shared::trigger::On;
use bulkhead_shared::{TaskName, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::{CommandError, chain, output, show};
use crate::exit::Exit;

/// List all schedules, by name.
///
/// STATE is `active`, `paused`, `ended` (it fires no more), `undeclared` (no supervisor that lives
/// serves the task of a declared schedule, which does not fire then) or `wrong` (it makes no sense
/// to this release).
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Print a JSON array of objects: `name state means task queue on misfire overlap jitter_ms
    /// arguments next last declared error`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LsArgs, client: &Client) -> Result<Exit, CommandError> {
    let all = client.schedules()?;
    let fleet = client.backend().catalog.fleet()?;
    let alive = fleet.into_iter().filter(|member| member.is_alive);
    let served: Vec<TaskName> = alive.flat_map(|member| member.selection.tasks).collect();
    if args.json {
        let objects: Vec<_> = all.iter().map(|one| object(one, &served)).collect();
        output::json(&objects)?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = all.iter().map(|one| row(one, &served, now)).collect();
        output::table(
            "schedules",
            ["NAME", "STATE", "TASK", "QUEUE", "ON", "NEXT", "MEANS"],
            &rows,
        )?;
    }
    Ok(Exit::Done)
}

/// What it means, or why it means nothing.
fn means(one: &Scheduled) -> Result<(&Body, String), String> {
    let body = one.body.as_ref().map_err(|error| chain(error))?;
    let plan = body.plan(&one.name).map_err(|error| chain(&error))?;
    Ok((body, plan.trigger.to_string()))
}

fn state(one: &Scheduled, body: &Body, served: &[TaskName]) -> &'static str {
    let is_declared = body.origin != Origin::Added;
    if body.paused {
        "paused"
    } else if is_declared && !served.contains(&body.task) {
        "undeclared"
    } else if one.due.is_none() && body.trigger.on == On::One {
        "ended"
    } else {
        "active"
    }
}

fn object(one: &Scheduled, served: &[TaskName]) -> Value {
    let next = one.due.map(|due| due.to_string());
    match means(one) {
        Ok((body, means)) => json!({
            "name": one.name,
            "state": state(one, body, served),
            "means": means,
            "task": body.task,
            "queue": one.queue,
            "on": body.trigger.on,
            "misfire": body.trigger.misfire,
            "overlap": body.trigger.overlap,
            "jitter_ms": body.trigger.jitter_ms,
            "arguments": body.trigger.arguments,
            "next": next,
            "last": body.standing.last.map(|at| at.to_string()),
            "declared": body.origin != Origin::Added,
            "error": null,
        }),
        Err(error) => json!({
            "name": one.name,
            "state": "wrong",
            "means": null,
            "task": null,
            "queue": one.queue,
            "on": null,
            "misfire": null,
            "overlap": null,
            "jitter_ms": null,
            "arguments": null,
            "next": next,
            "last": null,
            "declared": null,
            "error": error,
        }),
    }
}

fn row(one: &Scheduled, served: &[TaskName], now: Timestamp) -> [String; 7] {
    let next = one
        .due
        .map_or_else(|| "-".into(), |due| show::time(due, now));
    let queue = one.queue.to_string();
    match means(one) {
        Ok((body, means)) => [
            one.name.to_string(),
            state(one, body, served).into(),
            body.task.to_string(),
            queue,
            if body.trigger.on == On::Each {
                "each"
            } else {
                "one"
            }
            .into(),
            next,
            means,
        ],
        Err(error) => [
            one.name.to_string(),
            "wrong".into(),
            "-".into(),
            queue,
            "-".into(),
            next,
            show::safe(&error),
        ],
    }
}
