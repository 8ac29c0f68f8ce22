//! `supervisor queues`: how much waits where, and what comes in and goes out.

use bulkhead_shared::catalog::QueueCounts;
use bulkhead_shared::client::Client;
use bulkhead_shared::control::QueueGate;
use bulkhead_shared::{QueueName, Timestamp};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, output, show};
use crate::exit::Exit;

/// List all queues that were ever used, and how many jobs they hold; pause, drain or resume one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct QueuesArgs {
    #[command(subcommand)]
    command: Option<QueuesCommand>,
    /// Print a JSON array of objects: `queue gate ready delayed leased succeeded dead oldest_ready`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum QueuesCommand {
    /// Start no job of a queue until it is resumed.
    ///
    /// What runs goes on, and new jobs are taken. `supervisor --burst` does not wait for it.
    Pause(QueueArgs),
    /// Refuse new jobs of a queue until it is resumed; what is there runs to its end.
    Drain(QueueArgs),
    /// Open a queue that was paused or draining.
    Resume(QueueArgs),
    #[command(after_help = crate::exit::HELP)]
    Limit(LimitArgs),
}

#[derive(Debug, Args)]
struct QueueArgs {
    /// The queue; it need not have been used before.
    queue: QueueName,
    /// Print one JSON object: `queue gate before`.
    #[arg(long)]
    json: bool,
}

/// Set how many jobs of a queue may run at once, over all supervisors.
///
/// Jobs above it stay ready. Of those that run when it is set none is stopped.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The queue.
    queue: QueueName,
    /// At most this many, from 1; `none` for no limit.
    #[arg(value_name = "N", value_parser = most)]
    most: Most,
}

/// A limit, or none. To clap a bare `Option` would mean that it may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Most(Option<u32>);

fn most(text: &str) -> Result<Most, String> {
    if text == "none" {
        return Ok(Most(None));
    }
    let most = text.parse().ok().filter(|most| *most > 0);
    most.map(|most| Most(Some(most)))
        .ok_or_else(|| "must be a number of jobs from 1, or `none`".into())
}

fn limit(args: &LimitArgs, client: &Client) -> Result<Exit, CommandError> {
    let (queue, Most(most)) = (&args.queue, args.most);
    client.backend().broker.limit_queue(queue, most)?;
    output::line(&match most {
        Some(most) => format!("at most {most} jobs of queue {queue} run at once"),
        None => format!("queue {queue} has no limit"),
    })?;
    Ok(Exit::Done)
}

pub(super) fn run(args: &QueuesArgs, client: &Client) -> Result<Exit, CommandError> {
    match &args.command {
        None => list(args.json, client),
        Some(QueuesCommand::Pause(args)) => set(args, QueueGate::Paused, client),
        Some(QueuesCommand::Drain(args)) => set(args, QueueGate::Draining, client),
        Some(QueuesCommand::Resume(args)) => set(args, QueueGate::Open, client),
        Some(QueuesCommand::Limit(args)) => limit(args, client),
    }
}

fn set(args: &QueueArgs, gate: QueueGate, client: &Client) -> Result<Exit, CommandError> {
    let queue = &args.queue;
    let before = client.backend().control.set_gate(queue, gate)?;
    if args.json {
        output::json(&json!({"queue": queue, "gate": gate, "before": before}))?;
    } else if before == gate {
        output::line(&format!("queue {queue} was {gate} already"))?;
    } else {
        output::line(&format!("queue {queue} is {gate}, it was {before}"))?;
    }
    Ok(Exit::Done)
}

fn list(json: bool, client: &Client) -> Result<Exit, CommandError> {
    let queues = client.backend().catalog.queues()?;
    if json {
        output::json(&queues.iter().map(object).collect::<Vec<_>>())?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = queues.iter().map(|queue| row(queue, now)).collect();
        let head = [
            "QUEUE",
            "GATE",
            "READY",
            "DELAYED",
            "LEASED",
            "SUCCEEDED",
            "DEAD",
            "OLDEST READY",
        ];
        output::table("queues", head, &rows)?;
    }
    Ok(Exit::Done)
}

fn object(counts: &QueueCounts) -> Value {
    json!({
        "queue": counts.queue,
        "gate": counts.gate,
        "ready": counts.ready,
        "delayed": counts.delayed,
        "leased": counts.leased,
        "succeeded": counts.succeeded,
        "dead": counts.dead,
        "oldest_ready": counts.oldest_ready.map(|at| at.to_string()),
    })
}

fn row(counts: &QueueCounts, now: Timestamp) -> [String; 8] {
    [
        counts.queue.to_string(),
        counts.gate.to_string(),
        counts.ready.to_string(),
        counts.delayed.to_string(),
        counts.leased.to_string(),
        counts.succeeded.to_string(),
        counts.dead.to_string(),
        counts
            .oldest_ready
            .map_or_else(|| "-".into(), |at| show::duration(now.since(at))),
    ]
}
