//! One file per command. A command reads, decides nothing, and says what it found.

mod output;

use std::io;

use crate::cli::{Cli, Command};
use crate::config::{ConfigError, Environment, RunConfig};
use crate::engine::{self, EngineError};
use crate::exit::Exit;
use crate::observe;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    /// What was typed makes no sense to the parser, or asks for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// What was typed makes no sense together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine stopped.
    #[error("the supervisor cannot go on")]
    Engine(#[from] EngineError),
    /// Standard output is gone or full.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(error) if error.use_stderr() => Exit::Usage,
            Self::Usage(_) => Exit::Done,
            Self::Config(_) => Exit::Usage,
            Self::Engine(error) => error.exit(),
            // Whoever read our output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Internal,
        }
    }
}

/// Runs what was asked for.
pub(crate) fn run(cli: Cli, environment: &Environment) -> Result<Exit, CommandError> {
    let Cli {
        command,
        store,
        run,
    } = cli;
    match command {
        None => serve(RunConfig::new(store, run, environment)?),
        Some(Command::Run(run)) => serve(RunConfig::new(store, run, environment)?),
    }
}

fn serve(config: RunConfig) -> Result<Exit, CommandError> {
    observe::log::start(config.log_format, config.log_level);
    Ok(engine::run(config)?)
}

/// Tells the user, once, why a command failed. The only place that does.
pub(crate) fn report(error: &CommandError) -> Exit {
    match error {
        CommandError::Usage(error) => {
            // Nobody is left to be told.
            let _ = error.print();
        }
        CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        error => output::say(&format!("error: {}", chain(error))),
    }
    error.exit()
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
