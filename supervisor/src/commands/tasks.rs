//! `supervisor tasks`: what supervisors have registered.

use bulkhead_shared::client::Client;
use bulkhead_shared::name::QueueName;
use bulkhead_shared::policy::Retries;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::units::Size;
use clap::Args;

use super::{CommandError, output, show};
use crate::exit::Exit;

/// List the tasks that supervisors have registered, and the defaults of their jobs.
#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    /// Print a JSON array of registrations; null is the supervisor's default.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TasksArgs, client: &Client) -> Result<Exit, CommandError> {
    let tasks = client.backend().catalog.tasks()?;
    if args.json {
        output::json(&tasks)?;
    } else {
        let rows: Vec<_> = tasks.iter().map(row).collect();
        let head = [
            "TASK",
            "QUEUE",
            "MECHANISM",
            "TIMEOUT",
            "RETRIES",
            "PATIENCE",
            "MEMORY",
            "PARAMETERS",
        ];
        output::table("tasks", head, &rows)?;
    }
    Ok(Exit::Done)
}

fn row(task: &TaskSpec) -> [String; 8] {
    let length = |ms: Option<u64>| ms.map_or_else(|| "-".into(), show::millis);
    let queue = task.queue.as_ref().map_or("default", QueueName::as_str);
    let retries = match task.max_retries {
        None => "-".into(),
        Some(Retries::Times(times)) => times.to_string(),
        Some(Retries::Unlimited) => "none".into(),
    };
    [
        task.name.to_string(),
        queue.into(),
        task.mechanism.to_string(),
        length(task.timeout_ms),
        retries,
        length(task.patience_ms),
        task.memory
            .map_or_else(|| "-".into(), |b| Size(b).to_string()),
        show::safe(&task.params.join(", ")),
    ]
}
