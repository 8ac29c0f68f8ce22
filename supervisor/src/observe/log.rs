//! The log: lines on standard error, for people or for programs.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, registry, reload};

use crate::cli::{LogFormat, LogLevel};

/// The level of the log that was started.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Has the log leave out what matters less than this, from now on.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(log) = LEVEL.get() {
        // The log is gone only when the process is.
        let _ = log.reload(filter(level));
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts the log. A second call changes nothing.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let (level, handle) = reload::Layer::new(filter(level));
    let log = layer()
        .with_writer(io::stderr)
        // A log that cannot be written must not take the supervisor down.
        .log_internal_errors(false)
        .with_target(false);
    let lines = registry().with(level);
    // An error means that a log has been started before: in tests.
    let _ = match format {
        LogFormat::Pretty => {
            let log = log.with_ansi(io::stderr().is_terminal()).compact();
            lines.with(log).try_init()
        }
        LogFormat::Json => lines.with(log.json().flatten_event(true)).try_init(),
    };
    let _ = LEVEL.set(handle);
}
