//! The only place that prints: data on standard output, talk on standard error.

use std::io::{self, Write};

use serde::Serialize;

use super::CommandError;
use super::show::safe;

/// Writes one line of data and flushes it, so that a reader sees it at once.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value).map_err(|e| CommandError::Output(e.into()))?;
    line(&text)
}

/// Writes data as it is.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(CommandError::Output)
}

/// Says something to the user; words of tasks that are in it do not command the terminal.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{}", safe(text));
}

/// Writes a table with its columns aligned; says that there are no `what` if it has no rows.
pub(crate) fn table<const N: usize>(
    what: &str,
    head: [&str; N],
    rows: &[[String; N]],
) -> Result<(), CommandError> {
    if rows.is_empty() {
        say(&format!("no {what}"));
        return Ok(());
    }
    let head = head.map(str::to_owned);
    let mut widths = [0; N];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    bytes(text.as_bytes())
}
