//! Measures this machine's limits, and how near to them Bulkhead comes.
//!
//! Every figure is the median of several rounds; where there is a limit, limit and figure take
//! turns, and what counts is the ratio within a round. `scripts/bench` builds what this needs.

mod claims;
mod deadline;
mod durable;
mod engine;
mod forks;
mod latency;
mod limit;
mod measure;
mod memory;
mod naps;
mod profiles;
mod redis;
mod report;
mod rounds;
mod stage;
mod streams;
mod triggers;
mod turns;
mod zygote;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use report::Figure;
use stage::{Programs, Stage};

/// Print how near to this machine's limits Bulkhead comes.
///
/// A figure that misses its aim is printed as `short` and is no error; a measurement that cannot
/// be made is.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Measure these only (default: all).
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Keep jobs in a store of this kind.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Measure less: fewer jobs, shorter queues.
    #[arg(long)]
    quick: bool,
    /// Take the median of this many rounds; at least 3.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..))]
    rounds: u8,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the dynamically linked programs are.
    #[arg(long, value_name = "DIR")]
    dynamic: PathBuf,
    /// Where the statically linked programs are.
    #[arg(long = "static", value_name = "DIR")]
    fixed: PathBuf,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Limit: fork, `_exit`, wait.
    Fork,
    /// Limit: a bare zygote.
    Zygote,
    /// Limit: bare SQLite.
    Turns,
    /// Jobs with a fresh process each.
    Fresh,
    /// Jobs in processes that are used again.
    Warm,
    /// Jobs under each profile.
    Profiles,
    /// Jobs on threads and as futures of one group.
    Groups,
    /// Submit to result.
    Latency,
    /// Lateness of 1,000 triggers.
    Triggers,
    /// Durable calls.
    Durable,
    /// Events of streams.
    Streams,
    /// Deadline to SIGTERM.
    Deadline,
    /// Memory.
    Memory,
    /// Claims in a long queue.
    Claims,
    /// Submits and turns against a bare client (Redis only).
    Moves,
    /// Submit to claim by one who waits (Redis only).
    Wake,
}

/// Kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// A SQLite file.
    Sqlite,
    /// A Redis server that is started for it: moves, wake, fresh, latency, triggers, streams and claims.
    Redis,
}

impl Options {
    fn wants(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let done = limit::play(&arguments).unwrap_or_else(|| run(&Options::parse()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    raise_file_limit()?;
    let machine = machine()?;
    if !options.json {
        writeln!(io::stdout(), "{}", heading(&machine))?;
    }
    let figures = figures(options)?;
    if options.json {
        report::print_json(&machine, &figures)?;
    } else {
        report::print(&figures)?;
    }
    Ok(())
}

fn figures(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let store = options.store;
    let rounds = usize::from(options.rounds);
    let fixed = Programs::copy(&options.fixed)?;
    let dynamic = Programs::copy(&options.dynamic)?;
    let is_redis = store == Store::Redis;
    let mut figures = if is_redis {
        redis::measure(options, &fixed)?
    } else {
        rounds::measure(options, &fixed, &dynamic)?
    };
    if options.wants(Section::Profiles) && !is_redis {
        figures.extend(profiles::measure(options, &fixed)?);
    }
    if options.wants(Section::Latency) {
        let count = if options.quick { 100 } else { 300 };
        say("latency")?;
        figures.extend(latency::measure(store, &fixed, count, rounds)?);
    }
    if options.wants(Section::Triggers) {
        let seconds = if options.quick { 20 } else { 60 };
        say("triggers")?;
        figures.extend(triggers::measure(store, &fixed, seconds, rounds)?);
    }
    if options.wants(Section::Durable) {
        let count = if options.quick { 100 } else { 500 };
        say("durable calls")?;
        figures.extend(durable::measure(store, &fixed, count, rounds)?);
    }
    if options.wants(Section::Streams) {
        let count = if options.quick { 50_000 } else { 200_000 };
        say("streams")?;
        figures.extend(streams::measure(store, &fixed, count, rounds)?);
    }
    if options.wants(Section::Deadline) && !is_redis {
        let count = if options.quick { 50 } else { 200 };
        say("deadline")?;
        figures.extend(deadline::measure(store, &fixed, 500, count, rounds)?);
    }
    if options.wants(Section::Memory) && !is_redis {
        say("memory")?;
        figures.push(memory::idle_tree(store, &fixed, rounds)?);
    }
    if options.wants(Section::Memory) || options.wants(Section::Claims) {
        figures.extend(long_queues(options, &fixed)?);
    }
    Ok(figures)
}

fn long_queues(options: &Options, programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let rounds = usize::from(options.rounds);
    let (ready, delayed) = match (options.store, options.quick) {
        (Store::Sqlite, true) => (50_000, 5_000),
        (Store::Sqlite, false) => (1_000_000, 100_000),
        (Store::Redis, true) => (20_000, 20_000),
        (Store::Redis, false) => (500_000, 500_000),
    };
    let mut figures = Vec::new();
    say("filling a long queue")?;
    let many = Stage::new(options.store)?;
    claims::fill(&many, ready, delayed)?;
    if options.wants(Section::Claims) {
        say("claims")?;
        let few = Stage::new(options.store)?;
        claims::fill(&few, claims::FEW, 0)?;
        figures.push(claims::measure(&few, &many, (ready, delayed), rounds)?);
    }
    if options.wants(Section::Memory) && options.store == Store::Sqlite {
        say("memory with a long queue")?;
        figures.push(memory::long_queue(&many, programs, ready, rounds)?);
    }
    Ok(figures)
}

/// Says on standard error what is being done.
pub(crate) fn say(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "bench: {what}")
}

fn machine() -> anyhow::Result<Value> {
    let name = nix::sys::utsname::uname()?;
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "kernel": format!("{} {}", text(name.sysname()), text(name.release())),
        "machine": text(name.machine()),
        "load": load.split_whitespace().next(),
    }))
}

fn heading(machine: &Value) -> String {
    let text = |key: &str| machine[key].to_string().replace('"', "");
    format!(
        "{} cores, {}, {}, load {} at the start",
        text("cores"),
        text("kernel"),
        text("machine"),
        text("load")
    )
}

/// Five hundred processes take some thousand descriptors.
fn raise_file_limit() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
