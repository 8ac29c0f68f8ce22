//! `supervisor fleet`: which supervisors there are.

use bulkhead_shared::Timestamp;
use bulkhead_shared::client::Client;
use bulkhead_shared::fleet::Member;
use clap::Args;
use serde_json::{Value, json};

use super::{CommandError, output, show};
use crate::exit::Exit;

/// List the supervisors of the store, oldest first: those that live, and the dead until they are
/// forgotten.
///
/// Each start has an id of its own. SLOTS is how many jobs a supervisor holds, of how many it can
/// run at once. A supervisor that is dead may still hold jobs: they are taken over when their
/// lease ends, or at once by a supervisor of the same machine.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    /// Print a JSON array of objects: `id host pid version alive slots held queues tasks
    /// started_at seen_at`; null is what a supervisor has not said.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FleetArgs, client: &Client) -> Result<Exit, CommandError> {
    let fleet = client.backend().catalog.fleet()?;
    if args.json {
        output::json(&fleet.iter().map(object).collect::<Vec<_>>())?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = fleet.iter().map(|member| row(member, now)).collect();
        let head = [
            "ID", "ALIVE", "HOST", "PID", "VERSION", "SLOTS", "TASKS", "SINCE", "SEEN", "QUEUES",
        ];
        output::table("supervisors", head, &rows)?;
    }
    Ok(Exit::Done)
}

fn object(member: &Member) -> Value {
    json!({
        "id": member.id.0,
        "host": member.host,
        "pid": member.pid,
        "version": member.version,
        "alive": member.is_alive,
        "slots": member.slots,
        "held": member.held,
        "queues": member.selection.queues,
        "tasks": member.selection.tasks,
        "started_at": member.started_at.map(|at| at.to_string()),
        "seen_at": member.seen_at.to_string(),
    })
}

fn row(member: &Member, now: Timestamp) -> [String; 10] {
    let number = |n: Option<u64>| n.map_or_else(|| "-".into(), |n| n.to_string());
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".into(), show::safe);
    let slots = number(member.slots.map(u64::from));
    let ago = |at: Timestamp| show::distance(at, now);
    let queues: Vec<_> = member.selection.queues.iter().map(|q| q.as_str()).collect();
    [
        member.id.to_string(),
        if member.is_alive { "yes" } else { "no" }.into(),
        text(&member.host),
        number(member.pid.map(u64::from)),
        text(&member.version),
        format!("{}/{slots}", number(member.held)),
        member.selection.tasks.len().to_string(),
        member.started_at.map_or_else(|| "-".into(), ago),
        ago(member.seen_at),
        queues.join(","),
    ]
}
