//! `supervisor clear`: a namespace is emptied.

use std::io::{self, BufRead, IsTerminal};

use bulkhead_shared::client::Client;
use clap::Args;

use super::{CommandError, output};
use crate::exit::Exit;

/// Forget every job of the namespace, whatever it is: waiting, running, ended.
///
/// Asks first. A running job's supervisor finds its lease gone and kills it. Groups, schedules
/// and streams go with the jobs; queues that were paused or draining are open again. Locks and checkpoints stay.
#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &ClearArgs, client: &Client) -> Result<Exit, CommandError> {
    let catalog = &client.backend().catalog;
    let sum = |n: &bulkhead_shared::catalog::QueueCounts| {
        n.ready + n.delayed + n.leased + n.succeeded + n.dead
    };
    let jobs: u64 = catalog.queues()?.iter().map(sum).sum();
    let place = catalog.place();
    if !args.yes {
        if !io::stdin().is_terminal() {
            let why = format!("{jobs} jobs in {place} would be forgotten (say so with --yes)");
            return Err(CommandError::Refused(why));
        }
        output::say(&format!("forget {jobs} jobs in {place}? Type `yes`:"));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        let name = "standard input".into();
        read.map_err(|source| CommandError::Read { name, source })?;
        if answer.trim() != "yes" {
            return Err(CommandError::Refused("nothing was forgotten".into()));
        }
    }
    let gone = client.clear_namespace(|gone| {
        if gone % 100_000 == 0 {
            output::say(&format!("{gone} jobs forgotten"));
        }
    })?;
    output::line(&format!("{gone} jobs forgotten"))?;
    Ok(Exit::Done)
}
