//! Why a command failed, and the exit code of each reason.

use std::io;

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::client::{ClientError, ScheduleError};

use super::output;
use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::exit::Exit;

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
    /// What was given to read makes no sense.
    #[error("{0}")]
    Input(String),
    /// What was given to read cannot be read.
    #[error("cannot read `{name}`")]
    Read {
        /// The file.
        name: String,
        #[source]
        source: io::Error,
    },
    /// The store could not do its work, or what it holds is not what was asked for.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It would do harm as things stand.
    #[error("{0}")]
    Refused(String),
    /// A move of jobs was cut short.
    #[error(
        "the move stopped after {moved} jobs (repeat the same command and it goes on; nothing is lost, but jobs that are on their way run nowhere until then)"
    )]
    Stopped {
        /// Jobs moved before.
        moved: u64,
        #[source]
        source: Box<Self>,
    },
    /// The engine stopped.
    #[error("the supervisor cannot go on")]
    Engine(#[from] EngineError),
    /// Signals cannot be caught.
    #[error("cannot catch Ctrl-C")]
    Signals(#[source] io::Error),
    /// Standard output is gone or full.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl From<BrokerError> for CommandError {
    fn from(error: BrokerError) -> Self {
        Self::Client(error.into())
    }
}

impl CommandError {
    /// Whoever read our output has seen enough: no error, but no reason to go on.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The same, of a move that had begun.
    pub(crate) fn after(self, moved: u64) -> Self {
        Self::Stopped {
            moved,
            source: Box::new(self),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Stopped { source, .. } => source.exit(),
            Self::Usage(error) if !error.use_stderr() => Exit::Done,
            Self::Usage(_) | Self::Config(_) | Self::Input(_) | Self::Read { .. } => Exit::Usage,
            Self::Client(error) => of_client(error),
            Self::Engine(error) => error.exit(),
            Self::Output(_) if self.is_broken_pipe() => Exit::Done,
            Self::Signals(_) | Self::Output(_) => Exit::Internal,
        }
    }
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Message(_) | ClientError::Signal { .. } | ClientError::Decode { .. } => {
            Exit::Usage
        }
        ClientError::Known { .. }
        | ClientError::Draining { .. }
        | ClientError::NotUnique { .. } => Exit::Refused,
        ClientError::NotFound { .. } | ClientError::NoResult { .. } => Exit::NotFound,
        ClientError::Failed(_) | ClientError::EndedOtherwise(_) => Exit::TaskFailed,
        ClientError::Schedule(error) => of_schedule(error),
        ClientError::NotEnded(_) | ClientError::Interrupted { .. } => Exit::NotEnded,
        ClientError::TimedOut { .. } => Exit::WaitedTooLong,
        ClientError::Partly { source, .. } | ClientError::Store(source) => of_store(source),
        _ => Exit::Internal,
    }
}

const fn of_schedule(error: &ScheduleError) -> Exit {
    match error {
        ScheduleError::Unknown { .. } => Exit::NotFound,
        ScheduleError::Body(_) | ScheduleError::Past { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

const fn of_store(error: &BrokerError) -> Exit {
    match error {
        BrokerError::Full { .. } => Exit::Refused,
        _ => Exit::StoreAway,
    }
}

/// Tells the user, once, why a command failed. The only place that does.
pub(crate) fn report(error: &CommandError) -> Exit {
    match error {
        CommandError::Usage(error) => {
            // Nobody is left to be told.
            let _ = error.print();
        }
        error if error.is_broken_pipe() => {}
        error => output::say(&format!("error: {}", chain(error))),
    }
    error.exit()
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
