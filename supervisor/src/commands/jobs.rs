//! `supervisor jobs`: a list of jobs.

use bulkhead_shared::Timestamp;
use bulkhead_shared::catalog::{Filter, JobRow, State};
use bulkhead_shared::client::Client;
use bulkhead_shared::name::{QueueName, TaskName};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::status::{JobStatus, Status};
use clap::Args;

use super::{CommandError, output, show};
use crate::exit::Exit;

/// List jobs, newest first.
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Only those with this status: SUBMITTED, RUNNING, RETRYING, FAILED, SUCCEEDED.
    #[arg(long, value_name = "S")]
    status: Option<Status>,
    /// Only those of this task.
    #[arg(long, value_name = "T")]
    task: Option<TaskName>,
    /// Only those in this queue.
    #[arg(long, value_name = "Q")]
    queue: Option<QueueName>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print a JSON array of the objects of `status --json`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &JobsArgs, client: &Client) -> Result<Exit, CommandError> {
    let filter = Filter {
        states: args.status.map_or_else(Vec::new, states),
        task: args.task.clone(),
        queue: args.queue.clone(),
        cause: None,
    };
    let limit = args.limit as usize;
    let is_wanted = |job: &JobStatus| args.status.is_none_or(|status| job.status == status);
    let jobs = match args.status {
        Some(Status::Unknown) => Vec::new(),
        _ => list(client, &filter, limit, is_wanted)?,
    };
    print("jobs", &jobs, args.json)?;
    Ok(Exit::Done)
}

/// Where jobs of this status can be. SUBMITTED and RETRYING share theirs.
fn states(status: Status) -> Vec<State> {
    match status {
        Status::Unknown => Vec::new(),
        Status::Submitted | Status::Retrying => vec![State::Ready, State::Delayed],
        Status::Running => vec![State::Leased],
        Status::Failed => vec![State::Dead, State::Dropped],
        Status::Succeeded => vec![State::Succeeded],
    }
}

/// Most rows looked at for one list.
const LOOKED_AT: usize = 100_000;

/// Up to `limit` jobs that are wanted: asks for more and more rows, for the store knows no
/// difference between SUBMITTED and RETRYING.
fn list(
    client: &Client,
    filter: &Filter,
    limit: usize,
    is_wanted: impl Fn(&JobStatus) -> bool,
) -> Result<Vec<JobStatus>, CommandError> {
    let mut asked = limit;
    loop {
        let rows: Vec<JobRow> = client.backend().catalog.list(filter, asked)?;
        let is_all = rows.len() < asked || asked >= LOOKED_AT;
        let jobs = rows.into_iter().map(JobStatus::from).filter(&is_wanted);
        let jobs: Vec<_> = jobs.take(limit).collect();
        if is_all || jobs.len() == limit {
            return Ok(jobs);
        }
        asked = asked.saturating_mul(8).min(LOOKED_AT);
    }
}

/// Prints jobs, called `what`, as a table or as JSON.
pub(super) fn print(what: &str, jobs: &[JobStatus], json: bool) -> Result<(), CommandError> {
    if json {
        return output::json(&jobs);
    }
    let now = Timestamp::now();
    let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
    let head = [
        "UUID",
        "STATUS",
        "CAUSE",
        "TASK",
        "QUEUE",
        "ATTEMPT",
        "SUBMITTED",
        "WHAT",
    ];
    output::table(what, head, &rows)
}

fn row(job: &JobStatus, now: Timestamp) -> [String; 8] {
    let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let what = match (job.next_at, &job.error) {
        (Some(next), _) => format!("next {}", show::distance(next, now)),
        (None, Some(error)) => show::error(error, job.cause).chars().take(60).collect(),
        (None, None) => show::usage(&job.usage).unwrap_or_default(),
    };
    [
        job.uuid.to_string(),
        job.status.to_string(),
        text(job.cause.map(Cause::as_str)),
        text(job.task.as_ref().map(TaskName::as_str)),
        text(job.queue.as_ref().map(QueueName::as_str)),
        job.attempt.map_or_else(|| "-".into(), |n| n.to_string()),
        job.submitted_at
            .map_or_else(|| "-".into(), |at| show::distance(at, now)),
        what,
    ]
}
