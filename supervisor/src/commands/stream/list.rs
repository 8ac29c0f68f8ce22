//! `stream ls` and `stream lag`.

use std::time::Duration;

use bulkhead_shared::client::Client;
use bulkhead_shared::stream::Full;
use bulkhead_shared::stream::keep::{Overview, Rest, Share, View};
use bulkhead_shared::{StreamName, TaskName, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use super::{CommandError, lag as behind, output, show, stream};
use crate::exit::Exit;

/// List streams and their processors: one line for each processor.
///
/// LAG is how many events it has not passed, BEHIND the age of the oldest of them. A processor that is
/// paused is delivered nothing; partitions that rest have failed at an event, see `stream lag`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only this one.
    stream: Option<StreamName>,
    /// Print a JSON array of objects: `stream partitions size full events processors[{processor members
    /// paused lag behind_ms resting dead}]`.
    #[arg(long)]
    json: bool,
}

/// Show how far processors are in each partition: who holds it, what was passed, what is left.
#[derive(Debug, Args)]
pub(crate) struct LagArgs {
    /// The stream.
    stream: StreamName,
    /// Only this processor.
    #[arg(long, value_name = "NAME")]
    processor: Option<TaskName>,
    /// Print a JSON array of objects: `processor partition owner fence passed last lag behind_ms moved_to
    /// trouble{event tries at cause error rest} dead`.
    #[arg(long)]
    json: bool,
}

pub(super) fn ls(args: &LsArgs, client: &Client) -> Result<Exit, CommandError> {
    let found = match &args.stream {
        None => client.backend().streams.streams(None)?,
        Some(name) => match stream(client, name)? {
            Some(found) => vec![found],
            None => return Ok(Exit::NotFound),
        },
    };
    if args.json {
        output::json(&found.iter().map(object).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let rows: Vec<_> = found.iter().flat_map(|one| rows(one, now)).collect();
    let head = [
        "STREAM",
        "PARTITIONS",
        "EVENTS",
        "FULL",
        "PROCESSOR",
        "MEMBERS",
        "STATE",
        "LAG",
        "BEHIND",
        "DEAD",
    ];
    output::table("streams", head, &rows)?;
    Ok(Exit::Done)
}

pub(super) fn lag(args: &LagArgs, client: &Client) -> Result<Exit, CommandError> {
    let Some(mut found) = stream(client, &args.stream)? else {
        return Ok(Exit::NotFound);
    };
    if let Some(wanted) = &args.processor {
        found.processors.retain(|(name, _)| name == wanted);
        if found.processors.is_empty() {
            output::say(&format!(
                "error: stream `{}` has no processor `{wanted}` (see `supervisor stream ls`)",
                args.stream
            ));
            return Ok(Exit::NotFound);
        }
    }
    let shares = found.processors.iter().flat_map(|(name, view)| {
        let each = view.shares.iter();
        each.map(move |share| (name, share))
    });
    let now = Timestamp::now();
    if args.json {
        let all: Vec<_> = shares
            .map(|(name, share)| share_object(name, share, now))
            .collect();
        output::json(&all)?;
    } else {
        let rows: Vec<_> = shares
            .map(|(name, share)| share_row(name, share, now))
            .collect();
        let head = [
            "PROCESSOR",
            "PARTITION",
            "OWNER",
            "PASSED",
            "LAST",
            "LAG",
            "BEHIND",
            "DEAD",
            "STATE",
        ];
        output::table("processors", head, &rows)?;
    }
    Ok(Exit::Done)
}

const fn full(full: Full) -> &'static str {
    match full {
        Full::Block => "block",
        Full::Error => "error",
        Full::DropOldest => "drop-oldest",
    }
}

/// How long the oldest event that was not passed has waited.
fn age(share: &Share, now: Timestamp) -> Option<Duration> {
    share.waiting_since.map(|since| now.since(since))
}

fn oldest(view: &View, now: Timestamp) -> Option<Duration> {
    view.shares.iter().filter_map(|share| age(share, now)).max()
}

fn rest(share: &Share) -> Option<Rest> {
    share.trouble.as_ref().and_then(|trouble| trouble.rest)
}

fn object(found: &Overview) -> Value {
    let now = Timestamp::now();
    let processors: Vec<_> = (found.processors.iter())
        .map(|(name, view)| {
            json!({
                "processor": name,
                "members": view.members.len(),
                "paused": view.paused,
                "lag": view.shares.iter().map(behind).sum::<u64>(),
                "behind_ms": oldest(view, now).map(bulkhead_shared::time::millis),
                "resting": view.shares.iter().filter(|share| rest(share).is_some()).count(),
                "dead": view.shares.iter().map(|share| share.dead).sum::<u64>(),
            })
        })
        .collect();
    json!({
        "stream": found.spec.name,
        "partitions": found.spec.partitions,
        "size": found.spec.size,
        "full": full(found.spec.full),
        "events": found.partitions.iter().map(|kept| kept.len).sum::<u64>(),
        "processors": processors,
    })
}

fn rows(found: &Overview, now: Timestamp) -> Vec<[String; 10]> {
    let events: u64 = found.partitions.iter().map(|kept| kept.len).sum();
    let begin = || {
        [
            found.spec.name.to_string(),
            found.spec.partitions.to_string(),
            events.to_string(),
            full(found.spec.full).into(),
        ]
    };
    if found.processors.is_empty() {
        let [name, partitions, events, full] = begin();
        let none = || "-".to_owned();
        let rest = [none(), none(), none(), none(), none(), none()];
        let [a, b, c, d, e, f] = rest;
        return vec![[name, partitions, events, full, a, b, c, d, e, f]];
    }
    let row = |(processor, view): &(TaskName, View)| {
        let [name, partitions, events, full] = begin();
        let lag: u64 = view.shares.iter().map(behind).sum();
        let dead: u64 = view.shares.iter().map(|share| share.dead).sum();
        [
            name,
            partitions,
            events,
            full,
            processor.to_string(),
            view.members.len().to_string(),
            state(view),
            lag.to_string(),
            oldest(view, now).map_or_else(|| "-".into(), show::duration),
            dead.to_string(),
        ]
    };
    found.processors.iter().map(row).collect()
}

fn state(view: &View) -> String {
    if let Some(why) = &view.paused {
        return format!("paused: {}", show::safe(why));
    }
    let resting = view.shares.iter().filter(|share| rest(share).is_some());
    match (resting.count(), view.members.is_empty()) {
        (0, false) => "served".into(),
        (0, true) => "not served".into(),
        (1, _) => "1 partition rests".into(),
        (count, _) => format!("{count} partitions rest"),
    }
}

fn share_object(processor: &TaskName, share: &Share, now: Timestamp) -> Value {
    let trouble = share.trouble.as_ref().map(|trouble| {
        json!({
            "event": trouble.place.id.to_string(),
            "tries": trouble.tries,
            "at": trouble.at.to_string(),
            "cause": trouble.cause,
            "error": serde_json::from_str::<Value>(&trouble.error).unwrap_or(Value::Null),
            "rest": trouble.rest,
        })
    });
    json!({
        "processor": processor,
        "partition": share.partition,
        "owner": share.owner.map(|owner| owner.0),
        "fence": share.fence,
        "passed": share.passed.id.to_string(),
        "last": share.last.id.to_string(),
        "lag": behind(share),
        "behind_ms": age(share, now).map(bulkhead_shared::time::millis),
        "moved_to": share.moved_to,
        "trouble": trouble,
        "dead": share.dead,
    })
}

fn share_row(processor: &TaskName, share: &Share, now: Timestamp) -> [String; 9] {
    let none = || "-".to_owned();
    let state = match (&share.trouble, share.moved_to) {
        (_, Some(_)) => "to be moved".into(),
        (None, None) => none(),
        (Some(trouble), None) => {
            let kind = match trouble.rest {
                Some(Rest::Halted) => "halted",
                Some(Rest::Quarantined) => "quarantined",
                None => "tried",
            };
            let error = serde_json::from_str::<Value>(&trouble.error).unwrap_or(Value::Null);
            let text = error["text"].as_str().unwrap_or_default();
            let (id, cause, tries) = (trouble.place.id, &trouble.cause, trouble.tries);
            let text: String = show::safe(text).chars().take(80).collect();
            format!("{kind} at {id} ({cause}, {tries}x): {text}")
        }
    };
    [
        processor.to_string(),
        share.partition.to_string(),
        share.owner.map_or_else(none, |owner| owner.to_string()),
        share.passed.id.to_string(),
        share.last.id.to_string(),
        behind(share).to_string(),
        age(share, now).map_or_else(none, show::duration),
        share.dead.to_string(),
        state,
    ]
}
