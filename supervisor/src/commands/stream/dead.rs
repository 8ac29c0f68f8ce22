//! `stream dead` and `stream replay`: events that were put away.

use bulkhead_shared::client::Client;
use bulkhead_shared::stream::decode;
use bulkhead_shared::stream::keep::{DeadEvent, Record, Sent};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{CommandError, Which, check, output};
use crate::exit::Exit;

/// Events that are sent again in one move.
const BATCH: u32 = 100;

/// List events that a processor put away, partition by partition, oldest first: a line of JSON each,
/// `partition event record cause error tries at`.
#[derive(Debug, Args)]
pub(crate) struct DeadArgs {
    #[command(flatten)]
    which: Which,
    /// Only this partition; may be repeated.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
    /// At most so many of each partition.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// Send events that a processor put away to the end of their partitions again, with new ids, and forget
/// them as dead letters. All processors of the stream see them.
///
/// If it is interrupted, repeat it: at most 100 events of each partition are sent twice.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    which: Which,
    /// Only this partition; may be repeated.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
}

pub(super) fn list(args: &DeadArgs, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match args.which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    check(&args.partition, &view)?;
    let streams = &client.backend().streams;
    for share in view.shares.iter().filter(|share| share.dead > 0) {
        let partition = share.partition;
        if args.partition.is_empty() || args.partition.contains(&partition) {
            for dead in streams.dead(&duty, partition, args.limit)? {
                output::json(&object(&dead))?;
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) fn replay(args: &ReplayArgs, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match args.which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    check(&args.partition, &view)?;
    let streams = &client.backend().streams;
    let mut sent = 0;
    for share in view.shares.iter().filter(|share| share.dead > 0) {
        let partition = share.partition;
        if !args.partition.is_empty() && !args.partition.contains(&partition) {
            continue;
        }
        // Those that fail again come behind these.
        let mut left = share.dead;
        while left > 0 {
            let most = BATCH.min(u32::try_from(left).unwrap_or(BATCH));
            let dead = streams.dead(&duty, partition, most)?;
            let records: Vec<_> = dead
                .iter()
                .map(|dead| Record {
                    partition,
                    id: None,
                    fields: dead.event.fields.clone(),
                })
                .collect();
            let answers = streams.send(&duty.stream, &records)?;
            let stored = (answers.iter())
                .take_while(|answer| matches!(answer, Sent::Stored(_)))
                .count();
            if let Some(last) = stored.checked_sub(1).and_then(|last| dead.get(last)) {
                streams.drop_dead(&duty, partition, last.event.place)?;
            }
            sent += stored;
            if stored < dead.len() {
                output::say(&format!(
                    "error: partition {partition} is full (repeat this when its processors have gone on; sent so far: {sent})"
                ));
                return Ok(Exit::Refused);
            }
            left = left.saturating_sub(dead.len() as u64);
            if dead.is_empty() {
                break;
            }
        }
    }
    output::line(&format!("{sent} events sent again"))?;
    Ok(Exit::Done)
}

fn object(dead: &DeadEvent) -> Value {
    let trouble = &dead.trouble;
    let record = decode::<Value>(&dead.event.fields).unwrap_or_else(|_| {
        let field = |(name, value): (&str, &[u8])| {
            let text = String::from_utf8_lossy(value);
            (name.to_owned(), Value::String(text.into_owned()))
        };
        Value::Object(dead.event.fields.iter().map(field).collect::<Map<_, _>>())
    });
    json!({
        "partition": dead.partition,
        "event": dead.event.place.id.to_string(),
        "record": record,
        "cause": trouble.cause,
        "error": serde_json::from_str::<Value>(&trouble.error).unwrap_or(Value::Null),
        "tries": trouble.tries,
        "at": trouble.at.to_string(),
    })
}
