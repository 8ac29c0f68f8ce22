//! `supervisor doctor`: what is well, what is not, and what to do about it.

mod child;
mod host;
mod limits;
mod store;

use std::num::NonZeroU16;
use std::path::PathBuf;

use bulkhead_shared::backend::{self, Missing};
use bulkhead_shared::finding::{Depth, Finding, Severity};
use clap::Args;
use serde_json::{Value, json};

use super::{CommandError, output, show};
use crate::cli::StoreArgs;
use crate::config::{Environment, RunConfig, run_args};
use crate::exit::Exit;
use crate::sandbox::plan::Plan;
use crate::sandbox::probe::Host;
use crate::sandbox::profile::Profile;

/// Examine the store, this host and the tasks' program, and explain what is found.
///
/// Each finding is `ok`, a `hint` (nothing has to be done), a `warning` (a guarantee is missing,
/// or something may go wrong) or an `error` (work is not possible, or is lost). All but the first
/// say why it matters and what to do. The exit code tells the worst: 0 for nothing above a hint,
/// 8 for a warning, 9 for an error, 4 if the store cannot be reached or used.
///
/// No job is changed, and no store is made.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look whether N tasks at once are possible (default: the number of CPUs).
    #[arg(long, value_name = "N")]
    processes: Option<NonZeroU16>,
    /// Examine this program of tasks (default: `child` beside the supervisor).
    #[arg(long, value_name = "PATH")]
    child: Option<PathBuf>,
    /// Read all of the store, however long it takes.
    #[arg(long)]
    thorough: bool,
    /// Print one JSON object: `worst` and `findings`, each with `group check severity found why
    /// way_out`.
    #[arg(long)]
    json: bool,
}

/// What belongs together.
struct Group {
    name: &'static str,
    findings: Vec<Finding>,
}

pub(super) fn run(
    args: DoctorArgs,
    store: StoreArgs,
    environment: &Environment,
) -> Result<Exit, CommandError> {
    let (mut run, _) = run_args(None, environment)?;
    run.processes = args.processes.or(run.processes);
    run.child = args.child.or(run.child);
    let config = RunConfig::new(store, run, environment)?;
    // Probing forks, so it comes before the store's first thread.
    let host = Host::probe(&config.without);
    // The name was found when the configuration was read.
    let profile = config.profiles.get(&config.sandbox).cloned();
    let profile = profile.unwrap_or_else(Profile::process);
    let plan = Plan::resolve(&profile, &config, &host);
    let depth = if args.thorough {
        Depth::Thorough
    } else {
        Depth::Quick
    };
    let options = backend::Options {
        missing: Missing::Refuse,
        ..config.store.clone()
    };
    let (store, is_away) = store::examine(&options, depth);
    let groups = [
        Group {
            name: "store",
            findings: store,
        },
        Group {
            name: "host",
            findings: host::examine(&config, &host, &plan),
        },
        Group {
            name: "limits",
            findings: limits::examine(&config),
        },
        Group {
            name: "child",
            findings: child::examine(&config.child),
        },
    ];
    let all = groups.iter().flat_map(|group| &group.findings);
    let worst = all.map(|finding| finding.severity).max();
    let worst = worst.unwrap_or(Severity::Ok);
    if args.json {
        output::json(&object(&groups, worst))?;
    } else {
        output::bytes(page(&groups, worst).as_bytes())?;
    }
    Ok(match worst {
        _ if is_away => Exit::StoreAway,
        Severity::Ok | Severity::Hint => Exit::Done,
        Severity::Warning => Exit::FoundWarning,
        Severity::Error => Exit::FoundError,
    })
}

fn object(groups: &[Group], worst: Severity) -> Value {
    let mut findings = Vec::new();
    for group in groups {
        for finding in &group.findings {
            let mut object = json!(finding);
            object["group"] = group.name.into();
            findings.push(object);
        }
    }
    json!({"worst": worst, "findings": findings})
}

fn page(groups: &[Group], worst: Severity) -> String {
    let mut page = String::new();
    for group in groups {
        page.push_str(&format!("{}\n", group.name));
        for finding in &group.findings {
            let Finding {
                check,
                severity,
                found,
                why,
                way_out,
            } = finding;
            let severity = severity.as_str();
            page.push_str(&format!(
                "  {severity:7}  {check:15}  {}\n",
                show::safe(found)
            ));
            for (word, text) in [("why", why), ("way out", way_out)] {
                if let Some(text) = text {
                    page.push_str(&format!("{:28}{word}: {}\n", "", show::safe(text)));
                }
            }
        }
        page.push('\n');
    }
    let count = |severity| {
        let all = groups.iter().flat_map(|group| &group.findings);
        all.filter(|finding| finding.severity == severity).count()
    };
    page.push_str(&format!(
        "errors: {}, warnings: {}, hints: {}; the worst is: {}\n",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Hint),
        worst.as_str()
    ));
    page
}
