//! `supervisor dlq`: the dead letters.

use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::client::Client;
use bulkhead_shared::message::{Arguments, Header};
use bulkhead_shared::name::{QueueName, TaskName};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::status::JobStatus;
use bulkhead_shared::{Timestamp, Uuid};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, jobs, output, show};
use crate::exit::Exit;

/// Look at dead letters: jobs that failed for good. Retry or drop them.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    #[command(after_help = crate::exit::HELP)]
    Ls(LsArgs),
    #[command(after_help = crate::exit::HELP)]
    Show(ShowArgs),
    /// Make dead letters ready again, with the same uuid and fresh budgets.
    #[command(after_help = crate::exit::HELP)]
    Retry(Chosen),
    /// Forget dead letters.
    #[command(after_help = crate::exit::HELP)]
    Drop(Chosen),
}

/// List dead letters, newest first.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only those of this task.
    #[arg(long, value_name = "T")]
    task: Option<TaskName>,
    /// Only those that failed for this cause, such as `crash` or `timeout`.
    #[arg(long, value_name = "C", value_parser = cause)]
    cause: Option<Cause>,
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

/// Show a dead letter in full, with its arguments.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The job's id.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// Print the object of `status --json`, with the key `arguments`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true)
    .args(["uuids", "task", "cause", "all"]))]
pub(crate) struct Chosen {
    /// These jobs.
    #[arg(value_name = "UUID", value_parser = super::uuid, conflicts_with_all = ["task", "cause", "all"])]
    uuids: Vec<Uuid>,
    /// All of this task; with --cause, only those that match both.
    #[arg(long, value_name = "T", conflicts_with = "all")]
    task: Option<TaskName>,
    /// All that failed for this cause, such as `crash` or `timeout`.
    #[arg(long, value_name = "C", value_parser = cause, conflicts_with = "all")]
    cause: Option<Cause>,
    /// All dead letters.
    #[arg(long)]
    all: bool,
    /// Only say how many it would be.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: `{"matched": N, "retried" or "dropped": N}`.
    #[arg(long)]
    json: bool,
}

fn cause(text: &str) -> Result<Cause, String> {
    Cause::from_name(text).ok_or_else(|| {
        let known = Cause::ALL.map(Cause::as_str).join(", ");
        format!("not a cause (use one of {known})")
    })
}

pub(super) fn run(command: &Dlq, client: &Client) -> Result<Exit, CommandError> {
    match command {
        Dlq::Ls(args) => list(args, client),
        Dlq::Show(args) => show_one(args, client),
        Dlq::Retry(chosen) => act(chosen, client, Action::Retry),
        Dlq::Drop(chosen) => act(chosen, client, Action::Drop),
    }
}

fn list(args: &LsArgs, client: &Client) -> Result<Exit, CommandError> {
    let filter = Filter {
        states: vec![State::Dead],
        task: args.task.clone(),
        queue: args.queue.clone(),
        cause: args.cause,
    };
    let rows = client
        .backend()
        .catalog
        .list(&filter, args.limit as usize)?;
    let dead: Vec<_> = rows.into_iter().map(JobStatus::from).collect();
    jobs::print("dead letters", &dead, args.json)?;
    Ok(Exit::Done)
}

fn show_one(args: &ShowArgs, client: &Client) -> Result<Exit, CommandError> {
    let (found, exit) = dead_among(client, &[args.uuid])?;
    if found.is_empty() {
        return Ok(exit);
    }
    let job = client.status(args.uuid)?;
    let catalog = &client.backend().catalog;
    let payload = catalog.payload(args.uuid)?;
    let row = catalog.jobs_by_id(&[args.uuid])?.pop().flatten();
    let header = row.and_then(|row| serde_json::from_slice::<Header>(&row.header).ok());
    let arguments = payload.zip(header).and_then(|(bytes, header)| {
        let (arguments, _) = header.split(&bytes);
        let json = header
            .encoding
            .unwrap_or_default()
            .to_json(arguments)
            .ok()?;
        serde_json::from_slice::<Arguments>(&json).ok()
    });
    if args.json {
        let mut object = json!(job);
        object["arguments"] = arguments.map_or(Value::Null, |arguments| json!(arguments));
        output::json(&object)?;
    } else {
        let mut page = show::job(&job, Timestamp::now());
        if let Some(Arguments { args, kwargs }) = arguments {
            page.push_str(&format!("args       {}\n", Value::from(args)));
            page.push_str(&format!("kwargs     {}\n", Value::from(kwargs)));
        }
        output::bytes(page.as_bytes())?;
    }
    Ok(exit)
}

/// Which of these are dead letters; of the others it says what they are.
fn dead_among(client: &Client, uuids: &[Uuid]) -> Result<(Vec<Uuid>, Exit), CommandError> {
    let mut dead = Vec::with_capacity(uuids.len());
    let mut exit = Exit::Done;
    for (&uuid, row) in uuids
        .iter()
        .zip(client.backend().catalog.jobs_by_id(uuids)?)
    {
        match row {
            Some(row) if row.state == State::Dead => dead.push(uuid),
            Some(row) => {
                let status = JobStatus::from(row).status;
                output::say(&format!("error: job {uuid} is {status}, no dead letter"));
                exit = Exit::Refused;
            }
            None => {
                output::say(&format!(
                    "error: job {uuid} is not known (check the uuid, the store and the namespace)"
                ));
                exit = Exit::NotFound;
            }
        }
    }
    Ok((dead, exit))
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Retry,
    Drop,
}

/// Most dead letters of one call: their uuids are read before the first is moved, or one that
/// dies again at once would be moved for ever.
const MOST: usize = 100_000;

/// Dead letters in one transaction.
const BATCH: usize = 500;

fn act(chosen: &Chosen, client: &Client, action: Action) -> Result<Exit, CommandError> {
    let (uuids, exit) = if chosen.uuids.is_empty() {
        let filter = Filter {
            states: vec![State::Dead],
            task: chosen.task.clone(),
            cause: chosen.cause,
            queue: None,
        };
        let rows = client.backend().catalog.list(&filter, MOST)?;
        (rows.into_iter().map(|row| row.uuid).collect(), Exit::Done)
    } else {
        dead_among(client, &chosen.uuids)?
    };
    let mut moved = 0;
    if !chosen.dry_run {
        for batch in uuids.chunks(BATCH) {
            moved += match action {
                Action::Retry => client.backend().broker.retry_dead(batch)?,
                Action::Drop => client.backend().broker.drop_dead(batch)?,
            };
        }
    }
    tell(chosen, action, uuids.len(), moved)?;
    Ok(exit)
}

fn tell(chosen: &Chosen, action: Action, matched: usize, moved: usize) -> Result<(), CommandError> {
    let (done, would) = match action {
        Action::Retry => ("retried", "would retry"),
        Action::Drop => ("dropped", "would drop"),
    };
    let letters = |n: usize| {
        if n == 1 {
            "dead letter"
        } else {
            "dead letters"
        }
    };
    if chosen.json {
        output::json(&json!({"matched": matched, done: moved, "dry_run": chosen.dry_run}))?;
    } else if chosen.dry_run {
        output::line(&format!("{would} {matched} {}", letters(matched)))?;
    } else {
        output::line(&format!("{done} {moved} {}", letters(moved)))?;
    }
    if matched == MOST {
        output::say("there may be more of them: repeat the command");
    }
    Ok(())
}
