//! `supervisor schedule add`, and the options that say when.

use std::time::Duration;

use bulkhead_shared::backend::Missing;
use bulkhead_shared::client::Client;
use bulkhead_shared::message::Arguments;
use bulkhead_shared::time::millis;
use bulkhead_shared::trigger::{Misfire, On, Overlap, TriggerSpec};
use bulkhead_shared::units::duration;
use bulkhead_shared::{QueueName, ScheduleName, TaskName};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::commands::{CommandError, output};
use crate::exit::Exit;

/// Add a schedule. Exactly one of --cron, --every, --at and --at-start says when.
///
/// For example: `supervisor schedule add nightly --cron '0 3 * * *' --tz Europe/Berlin --task
/// report --args '["all"]'`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its name; unique in the store's namespace.
    name: ScheduleName,
    /// The task to start.
    #[arg(long, value_name = "T")]
    task: TaskName,
    /// Call it with these arguments: a JSON array.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Call it with these named arguments: a JSON object.
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Send its jobs to this queue (default: that of the task, else `default`).
    #[arg(long, value_name = "Q")]
    queue: Option<QueueName>,
    #[command(flatten)]
    when: When,
    /// Make up for firings that nobody saw within ten seconds: `skip` none of them, the last `one`,
    /// or `all:N`, the last N (up to 1000).
    #[arg(long, value_name = "POLICY", value_parser = misfire, default_value = "one")]
    misfire: Misfire,
    /// While the job of the firing before has not ended: `allow` a second one, `skip` the firing,
    /// or `queue-one`, so that one waits for its end.
    #[arg(long, value_enum, default_value = "allow")]
    overlap: OverlapArg,
    /// Let each firing's job wait up to this long; how long follows from the firing.
    #[arg(long, value_name = "D", value_parser = duration, default_value = "0")]
    jitter: Duration,
    /// Start a job on each supervisor that lives and serves the task, run by that one.
    #[arg(long)]
    on_each: bool,
    /// Print one JSON object: `{"name": NAME, "next": TIME}`.
    #[arg(long)]
    json: bool,
}

/// When.
#[derive(Debug, Args)]
pub(crate) struct When {
    /// Fire at these times of day: five fields (minute, hour, day of month, month, day of week),
    /// six with the second in front, or `@daily` and the like.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// Take --cron, or an --at without an offset, by the clocks of this zone, such as
    /// `Europe/Berlin` (default: UTC).
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Fire at this interval, counted from 1970-01-01T00:00Z; at least 1s.
    #[arg(long, value_name = "D", value_parser = duration)]
    every: Option<Duration>,
    /// Fire once, at this time, such as `2030-01-31T09:30:00Z`.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Fire when a supervisor starts; needs --on-each.
    #[arg(long)]
    at_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OverlapArg {
    /// Both run.
    Allow,
    /// The later one is left out.
    Skip,
    /// The later one waits.
    QueueOne,
}

impl From<OverlapArg> for Overlap {
    fn from(arg: OverlapArg) -> Self {
        match arg {
            OverlapArg::Allow => Self::Allow,
            OverlapArg::Skip => Self::Skip,
            OverlapArg::QueueOne => Self::QueueOne,
        }
    }
}

fn misfire(text: &str) -> Result<Misfire, String> {
    match (text, text.strip_prefix("all:").map(str::parse)) {
        ("skip", _) => Ok(Misfire::Skip),
        ("one", _) => Ok(Misfire::One),
        (_, Some(Ok(most))) => Ok(Misfire::All(most)),
        _ => Err("unknown policy (use `skip`, `one` or `all:100`)".into()),
    }
}

impl When {
    /// Whether anything was given.
    pub(super) const fn is_given(&self) -> bool {
        self.cron.is_some() || self.every.is_some() || self.at.is_some() || self.at_start
    }

    pub(super) fn spec(&self) -> TriggerSpec {
        TriggerSpec {
            cron: self.cron.clone(),
            tz: self.tz.clone(),
            every_ms: self.every.map(millis),
            at: self.at.clone(),
            at_start: self.at_start,
            ..TriggerSpec::default()
        }
    }
}

pub(super) fn run(
    args: AddArgs,
    open: impl FnOnce(Missing) -> Result<Client, CommandError>,
) -> Result<Exit, CommandError> {
    let wrong = |option: &str, shape: &str, error: serde_json::Error| {
        CommandError::Input(format!("{option} is no JSON {shape}: {error}"))
    };
    let positional = args.args.as_deref().unwrap_or("[]");
    let named = args.kwargs.as_deref().unwrap_or("{}");
    let arguments = Arguments {
        args: serde_json::from_str(positional).map_err(|e| wrong("--args", "array", e))?,
        kwargs: serde_json::from_str(named).map_err(|e| wrong("--kwargs", "object", e))?,
    };
    let spec = TriggerSpec {
        on: if args.on_each { On::Each } else { On::One },
        misfire: args.misfire,
        overlap: args.overlap.into(),
        jitter_ms: millis(args.jitter),
        arguments,
        ..args.when.spec()
    };
    // Before a store is made for nothing.
    spec.check()
        .map_err(|error| CommandError::Input(error.to_string()))?;
    let client = open(Missing::Create)?;
    client.add_schedule(&args.name, &args.task, args.queue.as_ref(), spec)?;
    let added = client.schedule(&args.name)?;
    let next = added.due.map(|due| due.to_string());
    if args.json {
        output::json(&json!({"name": args.name, "next": next}))?;
    } else {
        let next = next.unwrap_or_else(|| "each supervisor decides".into());
        output::line(&format!("{} added, next {next}", args.name))?;
    }
    if !client.is_served(&args.task)? {
        output::say(&format!(
            "no supervisor that lives serves the task `{}` yet",
            args.task
        ));
    }
    Ok(Exit::Done)
}
