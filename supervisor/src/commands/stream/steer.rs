//! Commands that change where processors go on, and whether they do.

use bulkhead_shared::client::Client;
use bulkhead_shared::stream::EventId;
use bulkhead_shared::stream::keep::{Rest, Seek};
use bulkhead_shared::{StreamName, TaskName, Timestamp};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::{CommandError, Which, check, lag, output, stream};
use crate::exit::Exit;

/// Deliver nothing to a stream's processors until they are resumed. Records are taken all the same.
///
/// What a processor has in hand it may pass.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The stream.
    stream: StreamName,
    /// Only this processor.
    #[arg(long, value_name = "NAME")]
    processor: Option<TaskName>,
    /// Why, for those who see it in `stream ls`.
    #[arg(long, value_name = "TEXT", default_value = "by an operator")]
    why: String,
}

/// Let processors go on that were paused.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The stream.
    stream: StreamName,
    /// Only this processor.
    #[arg(long, value_name = "NAME")]
    processor: Option<TaskName>,
}

/// End the rest of partitions that are halted or quarantined: the event that failed is tried again.
///
/// Prints the partitions that rested, one a line.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    which: Which,
    /// Only this partition; may be repeated.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
}

/// Pass events that were not processed: the first ones that wait in a partition. Ends its rest.
#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    #[command(flatten)]
    which: Which,
    /// The partition; without it, all that rest.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
    /// How many events.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Let a processor go on elsewhere: back to events that are still kept, or forward.
///
/// Its supervisors see it within about a second; what is in hand may be passed first, and then counts for
/// nothing.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).args(["id", "time", "start", "end"]))]
pub(crate) struct SeekArgs {
    #[command(flatten)]
    which: Which,
    /// Only this partition; may be repeated.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
    /// At the first event with this id or a greater one, such as 1700000000000-0.
    #[arg(long, value_name = "ID")]
    id: Option<EventId>,
    /// At the first event of this time or later, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    time: Option<Timestamp>,
    /// At the first event that is kept.
    #[arg(long)]
    start: bool,
    /// Behind the last event.
    #[arg(long)]
    end: bool,
}

/// Let a processor process everything that is kept once more, or everything from an event on.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    which: Which,
    /// From this id on, in each partition.
    #[arg(long, value_name = "ID")]
    start: Option<EventId>,
}

/// Forget a processor that is served no more, so that its stream need not keep events for it.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) fn pause(args: &PauseArgs, client: &Client) -> Result<Exit, CommandError> {
    set_pause(
        &args.stream,
        args.processor.as_ref(),
        Some(&args.why),
        client,
    )
}

pub(super) fn resume(args: &ResumeArgs, client: &Client) -> Result<Exit, CommandError> {
    set_pause(&args.stream, args.processor.as_ref(), None, client)
}

fn set_pause(
    name: &StreamName,
    processor: Option<&TaskName>,
    why: Option<&str>,
    client: &Client,
) -> Result<Exit, CommandError> {
    let Some(found) = stream(client, name)? else {
        return Ok(Exit::NotFound);
    };
    if let Some(wanted) = processor
        && !found.processors.iter().any(|(name, _)| name == wanted)
    {
        output::say(&format!(
            "error: stream `{name}` has no processor `{wanted}` (see `supervisor stream ls`)"
        ));
        return Ok(Exit::NotFound);
    }
    client.backend().streams.pause(name, processor, why)?;
    let state = if why.is_some() { "paused" } else { "goes on" };
    output::line(&format!("stream {name} {state}"))?;
    Ok(Exit::Done)
}

pub(super) fn release(args: &ReleaseArgs, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match args.which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    check(&args.partition, &view)?;
    let rested = client.backend().streams.release(&duty, &args.partition)?;
    if rested.is_empty() {
        output::say("no partition rested");
    }
    for partition in rested {
        output::line(&partition.to_string())?;
    }
    Ok(Exit::Done)
}

pub(super) fn skip(args: &SkipArgs, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match args.which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    check(&args.partition, &view)?;
    let rests = |rest: Option<Rest>| rest.is_some();
    let resting = view.shares.iter().filter(|share| {
        let trouble = share.trouble.as_ref();
        rests(trouble.and_then(|trouble| trouble.rest))
    });
    let partitions: Vec<u16> = match args.partition.is_empty() {
        true => resting.map(|share| share.partition).collect(),
        false => args.partition.clone(),
    };
    if partitions.is_empty() {
        output::say(
            "error: no partition rests (name one with --partition; see `supervisor stream lag`)",
        );
        return Ok(Exit::NotFound);
    }
    let streams = &client.backend().streams;
    streams.seek(&duty, &partitions, Seek::Skip(args.count))?;
    for partition in partitions {
        let share = view
            .shares
            .iter()
            .find(|share| share.partition == partition);
        let skipped = args.count.min(share.map_or(0, lag));
        output::line(&json!({"partition": partition, "skipped": skipped}).to_string())?;
    }
    Ok(Exit::Done)
}

pub(super) fn seek(args: &SeekArgs, client: &Client) -> Result<Exit, CommandError> {
    let to = match (args.id, args.time, args.start) {
        (Some(id), ..) => Seek::Id(id),
        (_, Some(time), _) => Seek::Id(EventId {
            ms: time.as_millis(),
            seq: 0,
        }),
        (_, _, true) => Seek::Start,
        (_, _, false) => Seek::End,
    };
    go(&args.which, &args.partition, to, client)
}

pub(super) fn reset(args: &ResetArgs, client: &Client) -> Result<Exit, CommandError> {
    let to = args.start.map_or(Seek::Start, Seek::Id);
    go(&args.which, &[], to, client)
}

fn go(which: &Which, partitions: &[u16], to: Seek, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    check(partitions, &view)?;
    client.backend().streams.seek(&duty, partitions, to)?;
    let count = match partitions.len() {
        0 => view.shares.len(),
        some => some,
    };
    output::line(&format!(
        "processor {} of stream {} goes on elsewhere in {count} partitions",
        duty.processor, duty.stream
    ))?;
    Ok(Exit::Done)
}

pub(super) fn forget(args: &ForgetArgs, client: &Client) -> Result<Exit, CommandError> {
    let (duty, view) = match args.which.find(client)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    if !view.members.is_empty() {
        let text = format!(
            "processor `{}` is served by {} supervisors (stop them, or start them without it, first)",
            duty.processor,
            view.members.len()
        );
        return Err(CommandError::Refused(text));
    }
    client.backend().streams.forget(&duty)?;
    output::line(&format!("processor {} is forgotten", duty.processor))?;
    Ok(Exit::Done)
}
