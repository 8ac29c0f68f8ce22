//! `supervisor schedule`: what starts by itself.

mod add;
mod explain;
mod list;

use bulkhead_shared::ScheduleName;
use bulkhead_shared::backend::Missing;
use bulkhead_shared::client::Client;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, output};
use crate::exit::Exit;

/// Look at schedules, which start jobs by themselves, and change them.
///
/// Each firing starts its job once, however many supervisors there are. Tasks declare schedules of
/// their own with `#[task(cron = "...")]`; these are named like the task.
#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    #[command(after_help = crate::exit::HELP)]
    Ls(list::LsArgs),
    #[command(after_help = crate::exit::HELP)]
    Add(Box<add::AddArgs>),
    #[command(after_help = crate::exit::HELP)]
    Explain(explain::ExplainArgs),
    /// Keep a schedule from firing until it is resumed. A declared one stays paused when it is
    /// declared again.
    #[command(after_help = crate::exit::HELP)]
    Pause(Named),
    /// Let a schedule fire again, from now on: what it would have fired meanwhile is gone.
    #[command(after_help = crate::exit::HELP)]
    Resume(Named),
    /// Remove a schedule; the jobs it has started go on. A declared one can be removed when no
    /// supervisor that serves its task lives.
    #[command(after_help = crate::exit::HELP)]
    Clear(Named),
    /// Start what a schedule would, at once, also if it is paused; print the job's uuid. Its
    /// firings stay as they are.
    #[command(name = "run-now", after_help = crate::exit::HELP)]
    RunNow(Named),
}

/// One schedule.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The schedule's name.
    name: ScheduleName,
    /// Print one JSON object: `{"name": NAME, "changed": BOOL}`, or `{"name": NAME, "uuid": UUID}`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    command: Schedule,
    open: impl FnOnce(Missing) -> Result<Client, CommandError>,
) -> Result<Exit, CommandError> {
    match command {
        Schedule::Ls(args) => list::run(&args, &open(Missing::Refuse)?),
        Schedule::Add(args) => add::run(*args, open),
        Schedule::Explain(args) => explain::run(&args, open),
        Schedule::Pause(named) => {
            let changed = open(Missing::Refuse)?.pause_schedule(&named.name)?;
            tell(&named, changed, ["paused", "was paused already"])
        }
        Schedule::Resume(named) => {
            let changed = open(Missing::Refuse)?.resume_schedule(&named.name)?;
            tell(&named, changed, ["resumed", "was not paused"])
        }
        Schedule::Clear(named) => {
            open(Missing::Refuse)?.clear_schedule(&named.name)?;
            tell(&named, true, ["cleared", ""])
        }
        Schedule::RunNow(named) => {
            let uuid = open(Missing::Refuse)?.run_schedule_now(&named.name)?;
            if named.json {
                output::json(&json!({"name": named.name, "uuid": uuid}))?;
            } else {
                output::line(&uuid.to_string())?;
            }
            Ok(Exit::Done)
        }
    }
}

fn tell(named: &Named, changed: bool, words: [&str; 2]) -> Result<Exit, CommandError> {
    if named.json {
        output::json(&json!({"name": named.name, "changed": changed}))?;
    } else {
        let [done, not_done] = words;
        let word = if changed { done } else { not_done };
        output::line(&format!("{} {word}", named.name))?;
    }
    Ok(Exit::Done)
}
