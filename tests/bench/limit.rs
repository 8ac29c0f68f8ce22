//! The limits of this machine, each measured in a fresh, small process: this program once more.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::measure::{rate, timed};
use crate::{forks, zygote};

/// Processes under way at any time.
pub(crate) const WINDOW: usize = 8;

/// The first argument of such a process.
const ROLE: &str = "limit";

/// A limit that takes a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// fork, `_exit`, wait.
    Forks,
    /// A job and a result through a bare zygote.
    Zygote,
}

impl Limit {
    const fn name(self) -> &'static str {
        match self {
            Self::Forks => "forks",
            Self::Zygote => "zygote",
        }
    }

    /// Measures it: processes a second, of `count`.
    pub(crate) fn measure(self, count: usize) -> anyhow::Result<f64> {
        let program = std::env::current_exe()?;
        measure(&program, self.name(), count)
    }
}

fn measure(program: &Path, name: &str, count: usize) -> anyhow::Result<f64> {
    let output = Command::new(program)
        .args([ROLE, name, &count.to_string()])
        .env_clear()
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "the measurement of `{name}` ended with {}: {said}",
            output.status
        );
    }
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().context("a rate")
}

/// Plays the part of such a process, if this is one.
pub(crate) fn play(arguments: &[OsString]) -> Option<anyhow::Result<()>> {
    let words: Vec<&str> = arguments
        .iter()
        .filter_map(|word| OsStr::to_str(word))
        .collect();
    match words[..] {
        [_, ROLE, zygote::SERVER] => Some(zygote::serve()),
        [_, ROLE, name, count] => Some(
            count
                .parse()
                .map_err(Into::into)
                .and_then(|n| part(name, n)),
        ),
        _ => None,
    }
}

fn part(name: &str, count: usize) -> anyhow::Result<()> {
    let (time, ()) = match name {
        "forks" => timed(|| forks::run(count))?,
        "zygote" => {
            let mut zygote = zygote::Driver::start(ROLE)?;
            // The first few pay for pages that are touched for the first time.
            zygote.run(WINDOW * 4)?;
            timed(|| zygote.run(count))?
        }
        _ => bail!("no limit is called `{name}`"),
    };
    Ok(writeln!(io::stdout(), "{}", rate(count, time))?)
}
