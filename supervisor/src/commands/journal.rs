//! `supervisor journal`: what a job remembers from one run to the next.

use bulkhead_shared::client::{Client, JournalEntry, JournalSignal, JournalView};
use bulkhead_shared::{Timestamp, Uuid};
use clap::Args;

use super::{CommandError, output, show};
use crate::exit::Exit;

/// Longest value that a line shows, in characters.
const SHOWN: usize = 60;

/// Show a job's journal: its durable calls with what they recorded, and the signals it was sent.
///
/// The entries stand in the order in which the calls were first made. A job without durable calls
/// has an empty journal; of a job that nobody knows there is none (code 3).
#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    /// The job's id, as `submit` printed it.
    #[arg(value_parser = super::uuid)]
    uuid: Uuid,
    /// Print one JSON object: `{"entries": [...], "signals": [...]}`, with whole values.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &JournalArgs, client: &Client) -> Result<Exit, CommandError> {
    let Some(journal) = client.journal(args.uuid)? else {
        output::say(&format!(
            "error: job {} is not known (check the uuid, the store and the namespace)",
            args.uuid
        ));
        return Ok(Exit::NotFound);
    };
    if args.json {
        output::json(&journal)?;
    } else {
        for line in lines(&journal, Timestamp::now()) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// The journal, a call or a signal a line.
pub(super) fn lines(journal: &JournalView, now: Timestamp) -> Vec<String> {
    let entries = journal.entries.iter().map(|one| entry(one, now));
    let signals = journal.signals.iter().map(signal);
    entries.chain(signals).collect()
}

fn entry(entry: &JournalEntry, now: Timestamp) -> String {
    let JournalEntry { at, place, .. } = entry;
    let mut text = format!("{at}  {place:8}  {}", entry.kind.as_deref().unwrap_or("?"));
    if let Some(name) = &entry.name {
        text.push_str(&format!(" `{name}`"));
    }
    if let Some(tries @ 2..) = entry.tries {
        text.push_str(&format!(", try {tries}"));
    }
    if let Some(until) = entry.until.filter(|until| entry.is_open || *until > now) {
        text.push_str(&format!(", until {}", show::time(until, now)));
    }
    match &entry.value {
        Some(value) => text.push_str(&format!(": {}", short(&value.to_string()))),
        None if entry.is_open => text.push_str(" ..."),
        None => {}
    }
    show::safe(&text)
}

fn signal(signal: &JournalSignal) -> String {
    let payload = signal.payload.as_ref().map(ToString::to_string);
    let taken = signal
        .taken_by
        .as_deref()
        .map(|by| format!(", taken by {by}"));
    let text = format!(
        "{}  signal `{}`{}: {}",
        signal.at,
        signal.name,
        taken.unwrap_or_default(),
        short(&payload.unwrap_or_else(|| "?".into())),
    );
    show::safe(&text)
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
