//! `supervisor migrate`: moves all jobs from one store to another.

mod bound;
mod looks;
mod lost;
mod moving;
mod stores;

use std::path::PathBuf;

use bulkhead_shared::catalog::State;
use clap::Args;
use serde_json::json;

use super::{CommandError, output};
use crate::cli::StoreArgs;
use crate::config::Environment;
use crate::exit::Exit;
use moving::Moved;
use stores::Stores;

/// Move all jobs from one store to another: those that wait, the dead letters, and those that have
/// ended with their results, for as long as these are still kept.
///
/// Schedules move as well; one whose name the target has already is dropped.
///
/// Each job keeps its uuid, queue, priority, place in line, times, history and fence. At no moment
/// both stores can run the same job: it is taken out of the source before it is written to the
/// target, and runs there only when the source has forgotten it.
///
/// Stop the supervisors and producers of the source first; the command refuses to work while a
/// supervisor of the source lives. Jobs of dead ones are taken over. Chains move with their jobs;
/// while a group is open, or a job that has not ended remembers durable calls or signals, the command
/// refuses to work. Checkpoints and streams stay in the source. The target is made if it is missing, and
/// supervisors may serve it already.
///
/// It may be interrupted at any moment, also by kill -9 or a power cut: repeat the same command,
/// and it goes on where it stopped. Until then the jobs that are on their way run nowhere, and no job
/// of the source can be moved to another store.
/// Whatever --durability says, a write survives a power cut here where the store can do that.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Move the jobs out of the store at URL.
    ///
    /// A URL with a password is refused here, because every process of the machine can read it:
    /// put it into the environment variable BULKHEAD_FROM or into a file for --from-file.
    #[arg(long, value_name = "URL", conflicts_with = "from_file")]
    from: Option<String>,
    /// Read the source's URL from the first line of a file.
    #[arg(long, value_name = "PATH")]
    from_file: Option<PathBuf>,
    /// Move the jobs into the store at URL; for one with a password as with --from, with
    /// BULKHEAD_TO or --to-file.
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    to: Option<String>,
    /// Read the target's URL from the first line of a file.
    #[arg(long, value_name = "PATH")]
    to_file: Option<PathBuf>,
    /// Print one JSON object: `from to moved known tasks schedules left`; `moved` counts by state.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    args: MigrateArgs,
    store: StoreArgs,
    environment: &Environment,
) -> Result<Exit, CommandError> {
    if let Some(point) = bulkhead_shared::fault::arm(environment.fault()?) {
        output::say(&format!(
            "TEST FAULT ARMED at {point}: this command will kill itself"
        ));
    }
    let json = args.json;
    let stores = Stores::open(args, store, environment)?;
    if let Some(risk) = stores.risk()? {
        output::say(&format!("the target: {risk}"));
    }
    let moved = stores.guarded(moving::run)?;
    tell(&stores, &moved, json)?;
    Ok(if moved.left == 0 {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// The states in the order in which they are told.
const STATES: [(State, &str); 5] = [
    (State::Ready, "ready"),
    (State::Delayed, "delayed"),
    (State::Dead, "dead"),
    (State::Succeeded, "succeeded"),
    (State::Dropped, "dropped"),
];

fn tell(stores: &Stores, moved: &Moved, json: bool) -> Result<(), CommandError> {
    let (from, to) = (stores.source.catalog.place(), stores.target.catalog.place());
    if json {
        let mut counts = serde_json::Map::new();
        for (state, name) in STATES {
            counts.insert(name.into(), moved.count(state).into());
        }
        output::json(&json!({
            "from": from,
            "to": to,
            "moved": counts,
            "known": moved.known,
            "tasks": moved.tasks,
            "schedules": moved.schedules,
            "left": moved.left,
        }))?;
    } else {
        let mut page = format!("from       {from}\nto         {to}\n");
        for (state, name) in STATES {
            page.push_str(&format!("{name:9}  {}\n", moved.count(state)));
        }
        page.push_str(&format!("tasks      {}\n", moved.tasks));
        page.push_str(&format!("schedules  {}\n", moved.schedules));
        output::bytes(page.as_bytes())?;
    }
    if moved.known > 0 {
        output::say(&format!(
            "jobs that the target knew already, and that were not doubled: {}",
            moved.known
        ));
    }
    if moved.left > 0 {
        output::say(&format!(
            "jobs that a supervisor took meanwhile and that are left in the source: {} (stop it, \
             then repeat the command)",
            moved.left
        ));
    }
    Ok(())
}
