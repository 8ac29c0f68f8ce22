//! One file per command. A command reads, decides nothing, and says what it found.

pub(crate) mod child;
pub(crate) mod clear;
pub(crate) mod config;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod jobs;
pub(crate) mod journal;
pub(crate) mod lock;
pub(crate) mod migrate;
pub(crate) mod queues;
pub(crate) mod remove;
pub(crate) mod result;
pub(crate) mod revoke;
pub(crate) mod sandbox;
pub(crate) mod schedule;
pub(crate) mod signal;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod submit;
pub(crate) mod tasks;

mod describe;
mod error;
mod interrupt;
mod output;
mod show;

use bulkhead_shared::Uuid;
use bulkhead_shared::backend::Missing;
use bulkhead_shared::client::Client;
use bulkhead_shared::turned;
use clap::ArgMatches;

use crate::cli::{Cli, Command, LogFormat, LogLevel, StoreArgs};
use crate::config::{Again, Environment, store_args, store_options};
use crate::engine::{self, EngineError};
use crate::exit::Exit;
use crate::observe;

pub(crate) use error::{CommandError, chain, report};

/// Runs what was asked for.
pub(crate) fn run(
    cli: Cli,
    matches: &ArgMatches,
    environment: Environment,
) -> Result<Exit, CommandError> {
    let Cli {
        command, config, ..
    } = cli;
    let named = config.as_deref();
    let command = match command {
        // It tells what is wrong with the file itself.
        Some(Command::Config(command)) => {
            return config::run(&command, matches, environment, named);
        }
        other => other,
    };
    let environment = &environment.with_file(named)?;
    let command = match command {
        None | Some(Command::Run(_)) => {
            return serve(Again::new(matches.clone(), environment, config));
        }
        Some(command) => command,
    };
    if let Command::Child(command) = command {
        return child::run(&command);
    }
    let (store, _) = store_args(matches, environment)?;
    if let Some(path) = environment.test_clock() {
        turned::follow(&path).map_err(EngineError::from)?;
    }
    // What a store has to say while a command asks it.
    observe::log::start(LogFormat::Pretty, LogLevel::Warn);
    if let Command::Submit(args) = command {
        return submit::run(args, environment, |missing| {
            open(store, environment, missing)
        });
    }
    if let Command::Stream(command) = &command {
        let missing = match command.makes_store() {
            true => Missing::Create,
            false => Missing::Refuse,
        };
        return stream::run(command, &open(store, environment, missing)?);
    }
    if let Command::Schedule(command) = command {
        return schedule::run(command, |missing| open(store, environment, missing));
    }
    if let Command::Doctor(args) = command {
        return doctor::run(args, store, environment);
    }
    if let Command::Sandbox(command) = &command {
        return sandbox::run(command, store, environment);
    }
    if let Command::Migrate(args) = command {
        return migrate::run(args, store, environment);
    }
    // Only `run`, `submit` and `migrate` make a store: a look at a mistyped path leaves nothing behind.
    let client = open(store, environment, Missing::Refuse)?;
    match command {
        Command::Status(args) => status::run(&args, &client),
        Command::Result(args) => result::run(&args, &client),
        Command::Revoke(args) => revoke::run(&args, &client),
        Command::Jobs(args) => jobs::run(&args, &client),
        Command::Remove(args) => remove::run(&args, &client),
        Command::Clear(args) => clear::run(&args, &client),
        Command::Queues(args) => queues::run(&args, &client),
        Command::Tasks(args) => tasks::run(&args, &client),
        Command::Dlq(args) => dlq::run(&args, &client),
        Command::Fleet(args) => fleet::run(&args, &client),
        Command::Lock(args) => lock::run(&args, &client),
        Command::Signal(args) => signal::run(&args, &client),
        Command::Journal(args) => journal::run(&args, &client),
        Command::Run(_)
        | Command::Submit(_)
        | Command::Schedule(_)
        | Command::Stream(_)
        | Command::Doctor(_)
        | Command::Config(_)
        | Command::Child(_)
        | Command::Sandbox(_)
        | Command::Migrate(_) => {
            unreachable!("handled above")
        }
    }
}

fn serve(again: Again) -> Result<Exit, CommandError> {
    let start = again.read()?;
    observe::log::start(start.0.log_format, start.0.log_level);
    Ok(engine::run(again, start)?)
}

fn open(
    store: StoreArgs,
    environment: &Environment,
    missing: Missing,
) -> Result<Client, CommandError> {
    let options = store_options(store, environment, missing)?;
    Ok(Client::with_options(&options)?)
}

/// Reads a uuid as `submit` printed it.
fn uuid(text: &str) -> Result<Uuid, String> {
    let wrong = |_| "not a uuid (copy it as `submit` printed it)".to_owned();
    Uuid::try_parse(text.trim()).map_err(wrong)
}
