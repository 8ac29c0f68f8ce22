//! `supervisor status`: how a job stands.

use bulkhead_shared::client::{Client, FlowState, Look, Wait};
use bulkhead_shared::status::{JobStatus, Status};
use bulkhead_shared::{Timestamp, Uuid};
use clap::Args;

use super::{CommandError, interrupt, output, show};
use crate::exit::Exit;

/// Show how a job stands and what its attempts came to.
///
/// If it is part of a flow, the flow is shown too, from its first message on: what has ended, what
/// runs, and what is still to come. The id of a group shows the flow alone. Of a job that nobody knows it shows the status UNKNOWN, and ends with code 3.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The job's id, as `submit` printed it.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// Show it again after each change, until it has ended.
    #[arg(long)]
    watch: bool,
    /// Print one JSON object, with all keys always.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs, client: &Client) -> Result<Exit, CommandError> {
    if args.watch {
        watch(args, client)
    } else {
        show_job(&with_flow(client, client.status(args.uuid)?)?, args.json)
    }
}

/// A job with what it remembers and the flow it belongs to; a group stands for a job that nobody knows.
fn with_flow(client: &Client, mut job: JobStatus) -> Result<JobStatus, CommandError> {
    job.flow = client.flow(job.uuid)?.map(Box::new);
    let journal = client.journal(job.uuid)?;
    job.journal = journal.filter(|one| !one.entries.is_empty() || !one.signals.is_empty());
    if let (Status::Unknown, Some(flow)) = (job.status, &job.flow) {
        job.status = match flow.state {
            FlowState::Running => Status::Running,
            FlowState::Succeeded => Status::Succeeded,
            FlowState::Failed => Status::Failed,
        };
    }
    Ok(job)
}

fn show_job(job: &JobStatus, json: bool) -> Result<Exit, CommandError> {
    if json {
        output::json(job)?;
    } else {
        output::bytes(show::job(job, Timestamp::now()).as_bytes())?;
    }
    Ok(match job.status {
        Status::Unknown => Exit::NotFound,
        _ => Exit::Done,
    })
}

fn watch(args: &StatusArgs, client: &Client) -> Result<Exit, CommandError> {
    let interrupt = interrupt::on_ctrl_c()?;
    let wait = Wait {
        within: None,
        interrupt: Some(&interrupt),
    };
    let mut shown: Option<JobStatus> = None;
    let mut told = String::new();
    let mut exit = Exit::Done;
    client.watch(&[args.uuid], wait, |_, job| {
        let is_last = job.status.has_ended() || job.status == Status::Unknown;
        let job = &if is_last {
            with_flow(client, job.clone())?
        } else {
            job.clone()
        };
        if shown.as_ref() != Some(job) {
            if args.json || is_last {
                exit = show_job(job, args.json)?;
            } else {
                let change = change(job);
                if change != told {
                    output::line(&format!("{}  {change}", Timestamp::now()))?;
                    told = change;
                }
            }
            shown = Some(job.clone());
        }
        Ok::<_, CommandError>(if is_last { Look::Enough } else { Look::Again })
    })?;
    Ok(exit)
}

fn change(job: &JobStatus) -> String {
    let mut text = job.status.to_string();
    if let Some(n @ 1..) = job.attempt {
        text.push_str(&format!("  attempt {n}"));
    }
    if let Some(cause) = job.cause {
        text.push_str(&format!("  {cause}"));
    }
    if let Some(sleeping) = &job.sleeping {
        text.push_str(&format!("  {}", show::sleeping(sleeping)));
    }
    if let Some(next) = job.next_at {
        text.push_str(&format!("  next {}", next));
    }
    if let Some(progress) = &job.progress {
        text.push_str(&format!("  {progress}"));
    }
    text
}
