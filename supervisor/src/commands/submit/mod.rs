//! `supervisor submit`: one message, many alike, or one for each line of a file.

mod backoff;
mod flow;
mod limits;
mod line;
mod sender;
mod source;
mod waiting;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::backend::Missing;
use bulkhead_shared::backoff::Backoff;
use bulkhead_shared::client::{BATCH, Client};
use bulkhead_shared::flow::Flow;
use bulkhead_shared::limits::Limits;
use bulkhead_shared::message::Message;
use bulkhead_shared::policy::{Keep, Retries};
use bulkhead_shared::task::Mechanism;
use bulkhead_shared::units::{Size, duration};
use bulkhead_shared::{Timestamp, Uuid};
use clap::Args;
use serde_json::{Map, Value};

use super::CommandError;
use super::error::chain;
use crate::config::{Environment, child_path, extras};
use crate::exit::Exit;
use line::{AtOnce, Line, Once};
use sender::Sender;
use source::Source;

/// Submit jobs, and print the uuid of each.
///
/// With --from every line is one message: {"task": "add", "args": [2, 3], "kwargs": {}, "queue":
/// "math", "max_retries": 0, "timeout": "1s", ...}. Its keys are `task` and the options below
/// from --args to --result-ttl, with `_` for `-`; and {"unique": {"key": "k", "for": "10m"}},
/// {"concurrency": {"key": "k", "most": 2}}, {"lock": "l"}, {"limits": {"cpu-time": "10s"}}. What a line leaves out comes from the
/// options, else from the task's registration. `"max_retries": null` is no limit. What follows a
/// message is in its `callback`, a message or a list of them, or its `group`: {"members": [...],
/// "join": {...}, "on_failed": "stop", "null" or "error"}; a line with only a `group` starts that.
/// Options are no defaults for what follows. A file is checked whole before its first message is
/// submitted; `-` is standard input and goes in batches of 500 lines.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The task's name.
    #[arg(required_unless_present = "from")]
    task: Option<String>,
    /// Arguments by position, a JSON array such as `[2, 3]`.
    #[arg(long, value_name = "JSON", value_parser = line::array)]
    args: Option<JsonArray>,
    /// Arguments by name, a JSON object such as `{"to": "ada"}`.
    #[arg(long, value_name = "JSON", value_parser = line::object)]
    kwargs: Option<Map<String, Value>>,
    /// Send it to this queue (default: that of the task's registration, else `default`).
    #[arg(long, value_name = "Q")]
    queue: Option<String>,
    /// Lower runs first (default 0, the first).
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Start it no earlier than this long from now.
    #[arg(long, value_name = "D", value_parser = duration, conflicts_with = "at")]
    delay: Option<Duration>,
    /// Start it no earlier than at this time, such as `2030-01-31T09:30:00Z`.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
    /// Longest run of one attempt (default: the task's).
    #[arg(long, value_name = "D", value_parser = duration)]
    timeout: Option<Duration>,
    /// Wait this long between SIGTERM and SIGKILL (default: the task's, else that of `run`).
    #[arg(long, value_name = "D", value_parser = duration)]
    patience: Option<Duration>,
    /// End the job as `expired` when it has been ready, and not started, for this long.
    #[arg(long, value_name = "D", value_parser = duration)]
    ttl: Option<Duration>,
    /// End the job as `expired` this long from now, wherever it is.
    #[arg(long, value_name = "D", value_parser = duration)]
    expires: Option<Duration>,
    /// Attempts after the first (default: the task's); `none` is no limit.
    #[arg(long, value_name = "N", value_parser = line::retries)]
    max_retries: Option<Retries>,
    /// Wait this long before another attempt (default: the task's, else from 60s to 1h).
    ///
    /// Or an object: {"algorithm": "exponential", "base": 2, "factor": "10s", "floor": "1s",
    /// "ceiling": "1h"}, {"algorithm": "linear", "factor": "30s"}. Without them the floor is 60s
    /// and the ceiling 1h; `null` is none.
    #[arg(long, value_name = "D|JSON", value_parser = backoff::option)]
    backoff: Option<Backoff>,
    /// Limit the memory of its process (default: the task's); never above the limit of `run`.
    #[arg(long, value_name = "SIZE", value_parser = str::parse::<Size>)]
    memory: Option<Size>,
    /// Lower a limit of its profile: `processes=N`, `cpu-time=D`, `file-size=SIZE`, `open-files=N`.
    ///
    /// May be given several times. A limit that is not lower changes nothing.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = str::parse::<Limits>)]
    limits: Vec<Limits>,
    /// Run it in this: `process` gives a task of a thread group a process of its own for once.
    #[arg(long, value_name = "MECHANISM")]
    mechanism: Option<Mechanism>,
    /// Run it only under this sandbox profile (default: the task's, else any).
    #[arg(long, value_name = "PROFILE", value_parser = line::profile)]
    profile: Option<String>,
    /// Refuse it, with code 5, while the queue knows another job with this key.
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Hold the key for this long after the submission (default: until the job has ended).
    #[arg(long, value_name = "D", value_parser = duration, requires = "unique_key")]
    unique_for: Option<Duration>,
    /// Run it only while fewer than --concurrency jobs of its queue with this key run.
    #[arg(long, value_name = "KEY", requires = "concurrency")]
    concurrency_key: Option<String>,
    /// How many jobs of --concurrency-key may run at once.
    #[arg(long, value_name = "N", requires = "concurrency_key")]
    concurrency: Option<u32>,
    /// Run it only while it holds this lock, from its start to its end.
    #[arg(long, value_name = "NAME")]
    lock: Option<String>,
    /// The job's id (default: a new one). A known one is refused with code 5.
    #[arg(long, value_name = "U", value_parser = super::uuid, conflicts_with_all = ["from", "count"])]
    uuid: Option<Uuid>,
    /// Data of your own to keep with the job, a JSON object.
    #[arg(long, value_name = "JSON", value_parser = line::object)]
    metadata: Option<Map<String, Value>>,
    /// Keep the result this long (default: the task's, else 7d); `0` keeps none, `none` keeps it
    /// until it is removed.
    #[arg(long, value_name = "D", value_parser = line::keep)]
    result_ttl: Option<Keep>,
    /// Submit this many of it.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    count: Option<NonZeroU32>,
    /// Submit one message for each line of this file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// Wait for the jobs' ends, and print their results instead of their uuids.
    ///
    /// A single job: its result, one line of JSON. Several: one line for each, in the order of
    /// submission, {"uuid", "status", "result" or "error"}. A result that is not JSON is not
    /// printed (`null` among several): how to get it is told on standard error, as is the end of
    /// each attempt. Ctrl-C ends the wait; the jobs go on.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this, then end with code 124 (default: no limit).
    #[arg(long, value_name = "D", value_parser = duration, requires = "wait")]
    wait_timeout: Option<Duration>,
    /// Ask this program for the queues of tasks that no supervisor has registered (default:
    /// `child` beside the supervisor).
    #[arg(long, value_name = "PATH")]
    child: Option<PathBuf>,
}

/// A JSON array. To clap a bare `Vec` would mean several options.
#[derive(Debug, Clone)]
pub(crate) struct JsonArray(Vec<Value>);

/// What is to be submitted.
enum Plan {
    /// So many of this one.
    Same(Message, u32),
    /// The lines of a file, with these defaults.
    Lines(Source),
}

pub(super) fn run(
    args: SubmitArgs,
    environment: &Environment,
    open: impl FnOnce(Missing) -> Result<Client, CommandError>,
) -> Result<Exit, CommandError> {
    let is_single = args.from.is_none() && args.count.is_none();
    let wait = args.wait.then_some(args.wait_timeout);
    let child = args.child.clone();
    let child = child_path(child, environment)?;
    let commands = extras::specs(environment)?;
    // Before the store is touched, or made: what is typed wrong leaves nothing behind.
    let plan = plan(args)?;
    let mut client = open(Missing::Create)?;
    client.learn(commands);
    super::output::say(&format!("store: {}", client.backend().catalog.place()));
    let mut sender = Sender::new(client, child, wait.is_some(), is_single);
    match plan {
        Plan::Same(message, count) => send_same(&message, count, &mut sender)?,
        Plan::Lines(mut source) => {
            while let Some(batch) = source.next_batch(&sender)? {
                sender.send(&batch)?;
            }
        }
    }
    match wait {
        None => Ok(sender.exit()),
        Some(within) => waiting::run(&sender, within),
    }
}

fn plan(args: SubmitArgs) -> Result<Plan, CommandError> {
    let defaults = Line {
        task: args.task,
        args: args.args.map(|JsonArray(values)| values),
        kwargs: args.kwargs,
        queue: args.queue,
        priority: args.priority,
        delay: args.delay,
        at: args.at,
        timeout: args.timeout,
        patience: args.patience,
        ttl: args.ttl,
        expires: args.expires,
        max_retries: args.max_retries,
        backoff: args.backoff,
        memory: args.memory,
        limits: limits::together(&args.limits),
        profile: args.profile,
        mechanism: args.mechanism,
        uuid: args.uuid,
        metadata: args.metadata,
        result_ttl: args.result_ttl,
        callback: None,
        group: None,
        unique: args.unique_key.map(|key| Once {
            key,
            span: args.unique_for,
        }),
        concurrency: args
            .concurrency_key
            .zip(args.concurrency)
            .map(|(key, most)| AtOnce { key, most }),
        lock: args.lock,
    };
    match args.from {
        Some(path) => Ok(Plan::Lines(Source::open(path, defaults, args.wait)?)),
        None => {
            let builder = defaults.builder().map_err(CommandError::Input)?;
            let message = builder.build();
            let message = message.map_err(|error| CommandError::Input(chain(&error)))?;
            let count = args.count.map_or(1, NonZeroU32::get);
            Ok(Plan::Same(message, count))
        }
    }
}

fn send_same(message: &Message, count: u32, sender: &mut Sender) -> Result<(), CommandError> {
    let mut left = count as usize;
    while left > 0 {
        let some = left.min(BATCH);
        let copy = |_| match count {
            1 => Ok(message.clone()),
            _ => message.duplicate(),
        };
        let copies = (0..some).map(copy).map(|copy| copy.map(Flow::from));
        let copies = copies.collect::<Result<Vec<_>, _>>();
        let copies = copies.map_err(|error| CommandError::Input(chain(&error)))?;
        sender.send(&copies)?;
        left -= some;
    }
    Ok(())
}
