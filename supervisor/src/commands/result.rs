//! `supervisor result`: what a job returned.

use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::client::Client;
use bulkhead_shared::units::duration;
use clap::Args;
use serde_json::Value;

use super::{CommandError, output};
use crate::exit::Exit;

/// Print what a job returned, as one line of JSON.
///
/// It does not wait unless told to: a job that has not ended gives code 6. A failed job gives
/// code 1 and its failure on standard error.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// The job's id, as `submit` printed it.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// Wait this long for the job's end; then end with code 124.
    #[arg(long, value_name = "D", value_parser = duration)]
    wait_timeout: Option<Duration>,
    /// Forget the result once it is printed.
    #[arg(long)]
    take: bool,
    /// Print the result's bytes as they are.
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(args: &ResultArgs, client: &Client) -> Result<Exit, CommandError> {
    let mut result = client.result(args.uuid, args.wait_timeout)?;
    let printed = |bytes| match args.raw {
        true => Ok(bytes),
        false => match one_line(args.uuid, bytes) {
            Ok(line) => Ok(format!("{line}\n").into_bytes()),
            Err(reason) => Err(CommandError::Input(reason)),
        },
    };
    if args.take {
        // What cannot be printed is not taken; of several takers only one gets it.
        printed(result)?;
        result = client.take_result(args.uuid, None)?;
    }
    output::bytes(&printed(result)?)?;
    Ok(Exit::Done)
}

/// The JSON in `bytes`, without line breaks; else what is to be said of them.
pub(super) fn one_line(uuid: Uuid, bytes: Vec<u8>) -> Result<String, String> {
    let not_json = || {
        format!(
            "the result of job {uuid} is not JSON (print its bytes with `supervisor result {uuid} \
             --raw`)"
        )
    };
    let text = String::from_utf8(bytes).map_err(|_| not_json())?;
    // Read for the check only: numbers stay as they were written.
    let _: serde::de::IgnoredAny = serde_json::from_str(&text).map_err(|_| not_json())?;
    if text.contains('\n') {
        let value: Value = serde_json::from_str(&text).map_err(|_| not_json())?;
        Ok(value.to_string())
    } else {
        Ok(text)
    }
}
