//! `supervisor queues`: how much waits where.

use bulkhead_shared::Timestamp;
use bulkhead_shared::catalog::QueueCounts;
use bulkhead_shared::client::Client;
use clap::Args;
use serde_json::{Value, json};

use super::{CommandError, output, show};
use crate::exit::Exit;

/// List all queues that were ever used, and how many jobs they hold.
#[derive(Debug, Args)]
pub(crate) struct QueuesArgs {
    /// Print a JSON array of objects: `queue ready delayed leased succeeded dead oldest_ready`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &QueuesArgs, client: &Client) -> Result<Exit, CommandError> {
    let queues = client.backend().catalog.queues()?;
    if args.json {
        output::json(&queues.iter().map(object).collect::<Vec<_>>())?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = queues.iter().map(|queue| row(queue, now)).collect();
        let head = [
            "QUEUE",
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
        "ready": counts.ready,
        "delayed": counts.delayed,
        "leased": counts.leased,
        "succeeded": counts.succeeded,
        "dead": counts.dead,
        "oldest_ready": counts.oldest_ready.map(|at| at.to_string()),
    })
}

fn row(counts: &QueueCounts, now: Timestamp) -> [String; 7] {
    [
        counts.queue.to_string(),
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
