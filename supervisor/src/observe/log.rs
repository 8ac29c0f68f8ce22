//! The log: lines on standard error, for people or for programs.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
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

/// A pipe takes no more bytes at once so that lines of several writers stay whole (pipe(7)).
const AT_ONCE: usize = 4096;

thread_local! {
    /// Lines that this thread gathers.
    static GATHERED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes what this thread logs as long as it lives in few pieces, the last when it is dropped.
#[must_use]
pub(crate) struct Gathering(());

/// Begins to gather what this thread logs.
pub(crate) fn gather() -> Gathering {
    GATHERED.with_borrow_mut(|lines| {
        lines.get_or_insert_default();
    });
    Gathering(())
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if let Some(lines) = GATHERED.take() {
            // A log that cannot be written must not take the supervisor down.
            let _ = io::stderr().write_all(&lines);
        }
    }
}

/// Where lines go, each written whole.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        GATHERED.with_borrow_mut(|gathered| {
            let Some(lines) = gathered else {
                return io::stderr().write(line);
            };
            add(lines, line, &mut io::stderr())?;
            Ok(line.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Adds a line to others, which are written first if it has no room with them.
fn add(lines: &mut Vec<u8>, line: &[u8], out: &mut impl Write) -> io::Result<()> {
    let written = match lines.len() + line.len() > AT_ONCE {
        true => out.write_all(&std::mem::take(lines)),
        false => Ok(()),
    };
    lines.extend_from_slice(line);
    written
}

/// Starts the log. A second call changes nothing.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let (level, handle) = reload::Layer::new(filter(level));
    let log = layer()
        .with_writer(|| Lines)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps each piece that is written.
    struct Pieces(Vec<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.0.push(piece.to_vec());
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_whole_in_order_and_in_pieces_that_a_pipe_takes_at_once() {
        let line = |n: usize| format!("{n} {}\n", "x".repeat(n * 37 % 1500)).into_bytes();
        let (mut lines, mut out) = (Vec::new(), Pieces(Vec::new()));
        for n in 0..100 {
            add(&mut lines, &line(n), &mut out).unwrap();
        }
        out.write_all(&lines).unwrap();
        assert!((2..100).contains(&out.0.len()));
        assert!(out.0.iter().all(|piece| piece.len() <= AT_ONCE));
        assert!(out.0.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(out.0.concat(), (0..100).flat_map(line).collect::<Vec<_>>());
    }
}
