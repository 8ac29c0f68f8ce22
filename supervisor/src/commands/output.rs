//! The only place that prints: data on standard output, talk on standard error.

use std::io::{self, Write};

use super::CommandError;

/// Writes one line of data and flushes it, so that a reader sees it at once.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes data as it is.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(CommandError::Output)
}

/// Says something to the user.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
