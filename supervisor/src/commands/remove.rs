//! `supervisor remove`: jobs are forgotten.

use bulkhead_shared::Uuid;
use bulkhead_shared::client::{Client, ClientError};
use clap::Args;

use super::{CommandError, output};
use crate::exit::Exit;

/// Forget jobs that have ended, with their results.
///
/// A job that waits is only removed with --force: it never runs then, and nobody learns why. A
/// running job is never removed: revoke it first. Refusals give code 5, unknown jobs code 3.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The jobs' ids, as `submit` printed them.
    #[arg(value_parser = super::uuid, required = true)]
    uuids: Vec<Uuid>,
    /// Remove jobs that wait, too.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &RemoveArgs, client: &Client) -> Result<Exit, CommandError> {
    let mut exit = Exit::Done;
    for &uuid in &args.uuids {
        match remove(uuid, args.force, client) {
            Ok(()) => output::line(&format!("job {uuid} is forgotten"))?,
            Err(ClientError::NotEnded(job)) => {
                exit = Exit::Refused;
                let way_out = if args.force {
                    "`supervisor revoke` stops it"
                } else {
                    "`supervisor revoke` ends it, --force removes it while it waits"
                };
                let status = job.status;
                output::say(&format!("error: job {uuid} is {status} ({way_out})"));
            }
            Err(error @ ClientError::NotFound { .. }) => {
                if exit == Exit::Done {
                    exit = Exit::NotFound;
                }
                output::say(&format!("error: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}

fn remove(uuid: Uuid, force: bool, client: &Client) -> Result<(), ClientError> {
    if force && client.remove(uuid)? {
        return Ok(());
    }
    client.forget(uuid)
}
