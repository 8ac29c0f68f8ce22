//! When a command task runs by itself: the keys of a schedule in `[task.NAME]`.

use std::time::Duration;

use bulkhead_shared::command::CommandSpec;
use bulkhead_shared::message::Arguments;
use bulkhead_shared::time::millis;
use bulkhead_shared::trigger::{Misfire, On, Overlap, TriggerError, TriggerSpec};
use bulkhead_shared::units::duration;

use super::super::file::{FileError, Table};
use super::{arguments, parsed};

/// The keys; those that say when come first.
pub(super) const KEYS: [&str; 11] = [
    "cron", "every", "at", "at-start", "tz", "on", "misfire", "overlap", "jitter", "args", "kwargs",
];

/// How many of them say when.
const WHEN: usize = 4;

/// The trigger, if there is one: checked, with arguments that the command takes.
pub(super) fn trigger(
    table: &Table,
    command: &CommandSpec,
) -> Result<Option<TriggerSpec>, FileError> {
    let given: Vec<_> = KEYS
        .into_iter()
        .filter(|key| table.get(key).is_some())
        .collect();
    let Some(first) = given.first() else {
        return Ok(None);
    };
    let own = |key: &str| Ok::<_, FileError>(table.text(key)?.map(str::to_owned));
    let span = |key| Ok::<_, FileError>(parsed(table, key, duration)?.map(millis));
    let spec = TriggerSpec {
        cron: own("cron")?,
        tz: own("tz")?,
        every_ms: span("every")?,
        at: own("at")?,
        at_start: table.flag("at-start")?.unwrap_or(false),
        on: parsed(table, "on", on)?.unwrap_or_default(),
        misfire: parsed(table, "misfire", misfire)?.unwrap_or_default(),
        overlap: parsed(table, "overlap", overlap)?.unwrap_or_default(),
        jitter_ms: span("jitter")?.unwrap_or_else(|| millis(Duration::ZERO)),
        arguments: Arguments {
            args: arguments::by_position(table, "args")?,
            kwargs: arguments::by_name(table, "kwargs")?,
        },
    };
    spec.check().map_err(|error| {
        let key = match &error {
            TriggerError::Zone { .. } | TriggerError::StrayZone { .. } => "tz",
            TriggerError::Misfire { .. } => "misfire",
            TriggerError::Jitter { .. } => "jitter",
            _ => first,
        };
        let reason = match error {
            TriggerError::StartOnOne => {
                "starts a job on each supervisor (write on = \"each\")".into()
            }
            TriggerError::Kinds { .. } => format!(
                "is for a schedule, which has exactly one of `{}`",
                KEYS[..WHEN].join("`, `")
            ),
            error => format!("makes no schedule: {error}"),
        };
        table.wrong(key, reason)
    })?;
    suits(&spec.arguments, table, first, command)?;
    Ok(Some(spec))
}

/// Whether the command can be run with what the schedule gives it.
fn suits(
    given: &Arguments,
    table: &Table,
    when: &str,
    command: &CommandSpec,
) -> Result<(), FileError> {
    let key = match (given.args.is_empty(), given.kwargs.is_empty()) {
        (_, false) => "kwargs",
        (false, true) => "args",
        (true, true) => when,
    };
    let bound = command.bind(given.args.clone(), given.kwargs.clone());
    let bound = bound.map_err(|error| table.wrong(key, error.to_string()))?;
    if let Some(param) = command.missing(&bound) {
        let reason = format!(
            "starts jobs without `{param}` (give it in `args` or `kwargs`, or in `defaults`)"
        );
        return Err(table.wrong(when, reason));
    }
    // Secrets are looked at elsewhere.
    let filled = command.fill(&bound, |_| Some(String::new()));
    filled.map_err(|error| table.wrong(key, error.to_string()))?;
    Ok(())
}

fn on(text: &str) -> Result<On, &'static str> {
    match text {
        "one" => Ok(On::One),
        "each" => Ok(On::Each),
        _ => Err("takes \"one\" or \"each\""),
    }
}

fn misfire(text: &str) -> Result<Misfire, &'static str> {
    match (text, text.strip_prefix("all ").map(str::parse)) {
        ("skip", _) => Ok(Misfire::Skip),
        ("one", _) => Ok(Misfire::One),
        (_, Some(Ok(most))) => Ok(Misfire::All(most)),
        _ => Err("takes \"skip\", \"one\" or, for the last hundred, \"all 100\""),
    }
}

fn overlap(text: &str) -> Result<Overlap, &'static str> {
    match text {
        "allow" => Ok(Overlap::Allow),
        "skip" => Ok(Overlap::Skip),
        "queue-one" => Ok(Overlap::QueueOne),
        _ => Err("takes \"allow\", \"skip\" or \"queue-one\""),
    }
}
