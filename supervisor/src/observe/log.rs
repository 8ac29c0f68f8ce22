//! The log: lines on standard error, for people or for programs.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;

use crate::cli::{LogFormat, LogLevel};

/// Starts the log. A second call changes nothing.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        // A log that cannot be written must not take the supervisor down.
        .log_internal_errors(false)
        .with_target(false);
    // An error means that a log has been started before: in tests.
    let _ = match format {
        LogFormat::Pretty => log
            .with_ansi(io::stderr().is_terminal())
            .compact()
            .try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
