//! Bulkhead's supervisor: runs every task in a process of its own, and is the command line of
//! its store.

mod cli;
mod commands;
mod config;
mod engine;
mod exit;
mod job;
mod notice;
mod observe;
mod pool;
mod process;
mod reactor;
mod registrar;
mod reload;
mod sandbox;
mod schedule;
mod services;
mod source;
mod streams;
mod upkeep;
mod watch;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use cli::Cli;
use commands::CommandError;
use config::Environment;

fn main() -> ExitCode {
    let exit = match parse() {
        Ok((cli, matches)) => commands::run(cli, &matches, Environment::read()),
        Err(error) => Err(CommandError::Usage(error)),
    };
    exit.unwrap_or_else(|error| commands::report(&error)).into()
}

/// Options of `run` may stand alone, but not before another command: they would do nothing.
fn parse() -> Result<(Cli, ArgMatches), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    if let Some(name) = matches.subcommand_name() {
        cli::refuse_stray_run_options(&matches, name)?;
    }
    Ok((Cli::from_arg_matches(&matches)?, matches))
}
