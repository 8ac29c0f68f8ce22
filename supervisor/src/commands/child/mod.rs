//! `supervisor child`: whether a program speaks as task programs do.

mod examine;
mod talk;

use std::path::PathBuf;

use bulkhead_shared::finding::{Finding, Severity};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, output, show};
use crate::exit::Exit;

/// Look at programs of tasks, in whatever language they are written.
#[derive(Debug, Subcommand)]
pub(crate) enum ChildCommand {
    #[command(after_help = crate::exit::HELP)]
    Check(CheckArgs),
}

/// Put a program of tasks through the protocol, and tell where it goes wrong.
///
/// The program is started several times as a supervisor starts it, without a sandbox, and is told to run
/// a task that it does not have and one with arguments that make no sense: none of its own functions
/// is called. The exit code is 9 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The program.
    program: PathBuf,
    /// Print one JSON object: `program`, `is_right` and `findings`, each with `check severity found why
    /// way_out`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ChildCommand) -> Result<Exit, CommandError> {
    let ChildCommand::Check(args) = command;
    let program = std::path::absolute(&args.program).map_err(|source| CommandError::Read {
        name: args.program.display().to_string(),
        source,
    })?;
    let findings = examine::examine(&program);
    let is_right = findings.iter().all(|one| one.severity != Severity::Error);
    if args.json {
        let shown = program.to_string_lossy();
        output::json(&json!({"program": shown, "is_right": is_right, "findings": findings}))?;
    } else {
        output::bytes(page(&findings).as_bytes())?;
    }
    Ok(match is_right {
        true => Exit::Done,
        false => Exit::FoundError,
    })
}

fn page(findings: &[Finding]) -> String {
    let mut page = String::new();
    for finding in findings {
        let (severity, check) = (finding.severity.as_str(), &finding.check);
        let found = show::safe(&finding.found);
        page.push_str(&format!("{severity:7}  {check:12}  {found}\n"));
        for (word, text) in [("why", &finding.why), ("way out", &finding.way_out)] {
            if let Some(text) = text {
                page.push_str(&format!("{:23}{word}: {}\n", "", show::safe(text)));
            }
        }
    }
    page
}
