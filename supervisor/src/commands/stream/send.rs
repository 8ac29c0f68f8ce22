//! `stream make`, `stream send` and `stream send-many`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_shared::StreamName;
use bulkhead_shared::client::{Client, push};
use bulkhead_shared::stream::keep::{Record, Sent};
use bulkhead_shared::stream::{
    DEFAULT_PARTITIONS, DEFAULT_SIZE, EventId, Full, RECORD_LIMIT, StreamSpec, encode, partition_of,
};
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::Value;

use super::{CommandError, output, stream};
use crate::exit::Exit;
use bulkhead_shared::units::duration;

/// Records sent in one move.
const BATCH: usize = 500;

/// Longest line: the largest record, and as much around it.
const LINE_LIMIT: u64 = 2 * RECORD_LIMIT as u64;

/// Make a stream, or change what can be changed of it: its size, and what happens when it is full.
///
/// Not needed where producers or processors declare it.
#[derive(Debug, Args)]
pub(crate) struct MakeArgs {
    /// The stream.
    stream: StreamName,
    /// How many partitions; this never changes.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PARTITIONS)]
    partitions: u16,
    /// How many events each of them keeps, about.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SIZE)]
    size: u64,
    /// What happens to a record whose partition is full of events that a processor has not passed.
    #[arg(long, value_enum, default_value = "block")]
    full: WhenFull,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhenFull {
    /// Its sender waits.
    Block,
    /// Its sender is told.
    Error,
    /// The oldest events go, also those that nobody has seen.
    DropOldest,
}

/// Send a record of JSON to a stream. Prints its partition and its id.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["key", "by", "partition"]))]
pub(crate) struct SendArgs {
    /// The stream.
    stream: StreamName,
    /// The record.
    #[arg(value_name = "JSON")]
    record: String,
    /// Its key: records with one key keep their order. JSON, or else a text.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    to: To,
    /// Its id, greater than all before it in its partition, such as 1700000000000-0; else the store's time.
    #[arg(long, value_name = "ID")]
    id: Option<EventId>,
}

/// Send the lines of a file, a record of JSON each. Prints how many were sent.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["by", "partition"]))]
pub(crate) struct SendManyArgs {
    /// The stream.
    stream: StreamName,
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Args)]
struct To {
    /// The field of the record that is its key: a name, or a JSON pointer such as /user/id.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,
    /// The partition itself.
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// Wait so long for room.
    #[arg(long, value_name = "D", value_parser = duration, default_value = "10s")]
    wait: Duration,
}

pub(super) fn make(args: &MakeArgs, client: &Client) -> Result<Exit, CommandError> {
    let spec = StreamSpec {
        name: args.stream.clone(),
        partitions: args.partitions,
        size: args.size,
        full: match args.full {
            WhenFull::Block => Full::Block,
            WhenFull::Error => Full::Error,
            WhenFull::DropOldest => Full::DropOldest,
        },
    };
    let wrong = |error: bulkhead_shared::stream::SpecError| CommandError::Input(error.to_string());
    spec.check().map_err(wrong)?;
    client.backend().streams.declare(&spec)?;
    output::line(&format!(
        "stream {} has {} partitions",
        spec.name, spec.partitions
    ))?;
    Ok(Exit::Done)
}

pub(super) fn send(args: &SendArgs, client: &Client) -> Result<Exit, CommandError> {
    let Some(found) = stream(client, &args.stream)? else {
        return Ok(Exit::NotFound);
    };
    let value: Value = serde_json::from_str(&args.record).map_err(|error| {
        CommandError::Input(format!(
            "the record is no JSON: {error} (a text needs quotes of its own: '\"text\"')"
        ))
    })?;
    let key = args
        .key
        .as_ref()
        .map(|key| serde_json::from_str(key).unwrap_or_else(|_| Value::String(key.clone())));
    let record = Record {
        id: args.id,
        ..record(&value, key.as_ref(), &args.to, found.spec.partitions)?
    };
    let partition = record.partition;
    let sent = push(
        &*client.backend().streams,
        &found.spec,
        &[record],
        args.to.wait,
    )?;
    match sent.last() {
        Some(Sent::Stored(place)) => {
            output::line(&format!("{partition} {}", place.id))?;
            Ok(Exit::Done)
        }
        Some(Sent::NotNewer { last }) => {
            output::say(&format!(
                "error: the id is not greater than the last one of its partition, {last} (choose a greater one, or leave --id out)"
            ));
            Ok(Exit::Refused)
        }
        Some(Sent::Full) | None => Ok(full(&args.stream, 0)),
    }
}

pub(super) fn send_many(args: &SendManyArgs, client: &Client) -> Result<Exit, CommandError> {
    let Some(found) = stream(client, &args.stream)? else {
        return Ok(Exit::NotFound);
    };
    let mut lines = Lines::open(&args.from)?;
    let mut count = 0;
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < RECORD_LIMIT {
            let Some((number, line)) = lines.next().map_err(|error| with_count(error, count))?
            else {
                break;
            };
            bytes += line.len();
            let value = serde_json::from_slice(&line).map_err(|error| error.to_string());
            let one = value
                .map_err(CommandError::Input)
                .and_then(|value: Value| record(&value, None, &args.to, found.spec.partitions));
            batch.push(one.map_err(|error| {
                let text = format!("line {number} of `{}`: {error}", args.from.display());
                with_count(CommandError::Input(text), count)
            })?);
        }
        if batch.is_empty() {
            break;
        }
        let sent = push(
            &*client.backend().streams,
            &found.spec,
            &batch,
            args.to.wait,
        )?;
        let stored = sent.iter().filter(|one| matches!(one, Sent::Stored(_)));
        count += stored.count();
        if sent.iter().any(|one| !matches!(one, Sent::Stored(_))) {
            return Ok(full(&args.stream, count));
        }
    }
    output::line(&count.to_string())?;
    Ok(Exit::Done)
}

fn with_count(error: CommandError, count: usize) -> CommandError {
    match error {
        CommandError::Input(text) => {
            CommandError::Input(format!("{text} (sent before its batch: {count})"))
        }
        error => error,
    }
}

fn full(name: &StreamName, count: usize) -> Exit {
    output::say(&format!(
        "error: stream `{name}` is full: a processor has not passed its oldest events (see `supervisor stream lag {name}`; sent before: {count})"
    ));
    Exit::Refused
}

fn record(
    value: &Value,
    key: Option<&Value>,
    to: &To,
    partitions: u16,
) -> Result<Record, CommandError> {
    let wrong =
        |error: bulkhead_shared::stream::RecordError| CommandError::Input(error.to_string());
    let fields = encode(value).map_err(wrong)?;
    let of_record = |field: &str| {
        let found = match field.starts_with('/') {
            true => value.pointer(field),
            false => value.get(field),
        };
        found.ok_or_else(|| {
            CommandError::Input(format!("the record has no field `{field}` (see --by)"))
        })
    };
    let partition = match (key, &to.by, to.partition) {
        (Some(key), ..) => partition_of(key, partitions).map_err(wrong)?,
        (None, Some(field), _) => partition_of(of_record(field)?, partitions).map_err(wrong)?,
        (None, None, partition) => partition.unwrap_or(0),
    };
    if partition >= partitions {
        return Err(CommandError::Input(format!(
            "there is no partition {partition} (they are 0 to {})",
            partitions - 1
        )));
    }
    Ok(Record {
        partition,
        id: None,
        fields,
    })
}

/// The lines of a file or of standard input.
struct Lines {
    name: String,
    from: BufReader<Box<dyn Read>>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, CommandError> {
        let name = path.display().to_string();
        let from: Box<dyn Read> = match name.as_str() {
            "-" => Box::new(io::stdin()),
            _ => Box::new(File::open(path).map_err(|source| CommandError::Read {
                name: name.clone(),
                source,
            })?),
        };
        Ok(Self {
            name,
            from: BufReader::new(from),
            number: 0,
        })
    }

    /// The next line that is not empty, and its number.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, CommandError> {
        loop {
            let mut line = Vec::new();
            let mut from = self.from.by_ref().take(LINE_LIMIT + 1);
            let read = from.read_until(b'\n', &mut line);
            let len = read.map_err(|source| CommandError::Read {
                name: self.name.clone(),
                source,
            })?;
            if len == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() as u64 > LINE_LIMIT {
                return Err(CommandError::Input(format!(
                    "line {} of `{}` is longer than {LINE_LIMIT} bytes (records have at most {RECORD_LIMIT})",
                    self.number, self.name
                )));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }
}
