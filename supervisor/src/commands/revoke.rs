//! `supervisor revoke`: a job is no longer wanted.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::Revocation;
use bulkhead_shared::client::Client;
use clap::Args;
use serde_json::json;

use super::{CommandError, output};
use crate::exit::Exit;

/// Stop a job, waiting or running.
///
/// A waiting job ends at once. A running one gets SIGTERM, and SIGKILL after its patience; its
/// result is discarded. Revoking a job that has ended changes nothing and is no error (code 0);
/// a running job left alone gives code 5, an unknown one code 3.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The job's id, as `submit` printed it.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// Leave the job alone if it is running.
    #[arg(long)]
    skip_if_running: bool,
    /// Print one JSON object: `{"uuid": ..., "revocation": ...}`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RevokeArgs, client: &Client) -> Result<Exit, CommandError> {
    let (word, text, exit) = match client.revoke(args.uuid, args.skip_if_running)? {
        Revocation::Ended => ("ended", "was waiting and has ended as revoked", Exit::Done),
        Revocation::Told => (
            "told",
            "is running; its supervisor has been told to stop it",
            Exit::Done,
        ),
        Revocation::Skipped => (
            "skipped",
            "is running and was left alone, as asked",
            Exit::Refused,
        ),
        Revocation::AlreadyEnded => (
            "already-ended",
            "had ended before; this changes nothing",
            Exit::Done,
        ),
        Revocation::Unknown => (
            "unknown",
            "is not known (check the uuid, the store and the namespace)",
            Exit::NotFound,
        ),
    };
    if args.json {
        output::json(&json!({"uuid": args.uuid, "revocation": word}))?;
    } else if exit == Exit::NotFound {
        output::say(&format!("error: job {} {text}", args.uuid));
    } else {
        output::line(&format!("job {} {text}", args.uuid))?;
    }
    Ok(exit)
}
