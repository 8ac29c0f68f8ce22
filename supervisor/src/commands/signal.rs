//! `supervisor signal`: what a job waits for has come.

use bulkhead_shared::Uuid;
use bulkhead_shared::client::Client;
use bulkhead_shared::journal::Signalled;
use clap::Args;
use serde_json::Value;

use super::{CommandError, output};
use crate::exit::Exit;

/// Send a job a signal that it waits for, or will.
///
/// A job that sleeps for it wakes up and is given the payload; for one that does not wait yet it is
/// kept. A signal sent again under the same key is one, and no error (code 0). A job that has ended
/// takes none (code 5); an unknown one gives code 3.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// The job's id, as `submit` printed it.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// The signal's name, as the task waits for it.
    name: String,
    /// What comes with it: JSON, at most 64 KiB.
    #[arg(long, value_name = "JSON", default_value = "null", value_parser = payload)]
    json: Value,
    /// Names this very signal: sent twice under one key, it counts once.
    #[arg(long)]
    key: Option<String>,
}

fn payload(text: &str) -> Result<Value, String> {
    let wrong = |error| format!("not JSON: {error} (quote texts: '\"yes\"')");
    serde_json::from_str(text).map_err(wrong)
}

pub(super) fn run(args: &SignalArgs, client: &Client) -> Result<Exit, CommandError> {
    let SignalArgs {
        uuid,
        name,
        json,
        key,
    } = args;
    let (text, exit) = match client.signal(*uuid, name, json, key.as_deref())? {
        Signalled::Kept => (format!("job {uuid} has the signal `{name}`"), Exit::Done),
        Signalled::Known => (
            format!("job {uuid} had the signal `{name}` under this key already"),
            Exit::Done,
        ),
        Signalled::Ended => (
            format!("job {uuid} has ended and takes no signal"),
            Exit::Refused,
        ),
        Signalled::Full => (
            format!("job {uuid} has as many signals as it may keep (it takes none of them)"),
            Exit::Refused,
        ),
        Signalled::Unknown => (
            format!("job {uuid} is not known (check the uuid, the store and the namespace)"),
            Exit::NotFound,
        ),
    };
    match exit {
        Exit::Done => output::line(&text)?,
        _ => output::say(&format!("error: {text}")),
    }
    Ok(exit)
}
