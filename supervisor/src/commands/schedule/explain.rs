//! `supervisor schedule explain`: what a trigger means.

use bulkhead_shared::backend::Missing;
use bulkhead_shared::client::{Client, ScheduleError};
use bulkhead_shared::trigger::{Note, Trigger};
use bulkhead_shared::{ScheduleName, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use super::add::When;
use crate::commands::{CommandError, output};
use crate::exit::Exit;

/// Say what a schedule means, and when it fires next: in its zone and in UTC, with what daylight
/// saving does to it. Takes the name of a schedule, or --cron, --every or --at.
///
/// A time of day that does not come on a day fires when the gap ends; one that comes twice fires
/// the first time. What fires in every hour goes by elapsed time.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The schedule's name.
    #[arg(required_unless_present_any = ["cron", "every", "at", "at_start"],
        conflicts_with_all = ["cron", "every", "at", "at_start", "tz"])]
    name: Option<ScheduleName>,
    #[command(flatten)]
    when: When,
    /// Show this many firings.
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Show those after this time (default: now).
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<Timestamp>,
    /// Print one JSON object: `means`, `zone` and `next`, an array of `{at, local, note}`.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(
    args: &ExplainArgs,
    open: impl FnOnce(Missing) -> Result<Client, CommandError>,
) -> Result<Exit, CommandError> {
    let spec = match &args.name {
        Some(name) if !args.when.is_given() => {
            let found = open(Missing::Refuse)?.schedule(name)?;
            found
                .body
                .map_err(ScheduleError::from)
                .map_err(bulkhead_shared::client::ClientError::from)?
                .trigger
        }
        _ => args.when.spec(),
    };
    // Whether it may fire at start on one supervisor is no question here.
    let spec = bulkhead_shared::trigger::TriggerSpec {
        on: bulkhead_shared::trigger::On::Each,
        ..spec
    };
    let plan = spec
        .check()
        .map_err(|error| CommandError::Input(error.to_string()))?;
    let firings = firings(&plan.trigger, args);
    if args.json {
        let next: Vec<_> = firings
            .iter()
            .map(|at| object(&plan.trigger, *at))
            .collect();
        let zone = plan
            .trigger
            .local(Timestamp::default())
            .map(|(_, zone)| zone);
        output::json(&json!({"means": plan.trigger.to_string(), "zone": zone, "next": next}))?;
    } else {
        let mut page = format!("means  {}\n", plan.trigger);
        for at in &firings {
            page.push_str(&line(&plan.trigger, *at));
        }
        if firings.is_empty() {
            page.push_str("next   never by the clock\n");
        }
        output::bytes(page.as_bytes())?;
    }
    Ok(Exit::Done)
}

fn firings(trigger: &Trigger, args: &ExplainArgs) -> Vec<Timestamp> {
    let first = trigger.next_after(args.after.unwrap_or_else(Timestamp::now));
    let all = std::iter::successors(first, |at| trigger.next_after(*at));
    all.take(args.count as usize).collect()
}

fn note(trigger: &Trigger, at: Timestamp) -> Option<&'static str> {
    Some(match trigger.note(at)? {
        Note::Gap => "its time does not come on this day: it fires when the gap ends",
        Note::Fold => "this local time comes twice on this day",
    })
}

fn object(trigger: &Trigger, at: Timestamp) -> Value {
    json!({
        "at": at.to_string(),
        "local": trigger.local(at).map(|(local, _)| local),
        "note": note(trigger, at),
    })
}

fn line(trigger: &Trigger, at: Timestamp) -> String {
    let local = trigger.local(at).map(|(local, _)| format!("  {local}"));
    let note = note(trigger, at).map(|note| format!("  ({note})"));
    format!(
        "next   {at}{}{}\n",
        local.unwrap_or_default(),
        note.unwrap_or_default()
    )
}
