//! The limits of this machine, each measured in a fresh, small process: this program once more.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::measure::{children_cpu, rate, timed};
use crate::{forks, naps, zygote};

/// Processes under way at any time.
pub(crate) const WINDOW: usize = 8;

/// The first argument of such a process.
const ROLE: &str = "limit";

/// How fast something goes, and at what price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub per_second: f64,
    /// CPU time of all processes that take part, from start to end.
    pub cpu_seconds_per_1000: f64,
}

/// A limit that takes a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// fork, `_exit`, wait.
    Forks,
    /// A job and a result through a bare zygote.
    Zygote,
    /// Ten milliseconds on a bare runtime, a hundred at once.
    Naps,
}

impl Limit {
    const fn name(self) -> &'static str {
        match self {
            Self::Forks => "forks",
            Self::Zygote => "zygote",
            Self::Naps => "naps",
        }
    }

    /// Measures it with `count` of them.
    pub(crate) fn measure(self, count: usize) -> anyhow::Result<Pace> {
        let program = std::env::current_exe()?;
        let before = children_cpu()?;
        let per_second = measure(&program, self.name(), count)?;
        let cpu = children_cpu()?.saturating_sub(before);
        Ok(Pace {
            per_second,
            cpu_seconds_per_1000: 1000.0 / rate(count, cpu),
        })
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
        "naps" => timed(|| naps::run(count))?,
        _ => bail!("no limit is called `{name}`"),
    };
    Ok(writeln!(io::stdout(), "{}", rate(count, time))?)
}
