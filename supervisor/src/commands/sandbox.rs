//! `supervisor sandbox`: what this host can do for the isolation of tasks, and what a profile makes
//! of it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, output};
use crate::cli::StoreArgs;
use crate::config::{Environment, RunConfig, run_args};
use crate::exit::Exit;
use crate::process::limits::{Controller, Version};
use crate::sandbox::plan::Plan;
use crate::sandbox::probe::Host;

mod explain;

/// Look at what tasks can be kept from on this host.
#[derive(Debug, Subcommand)]
pub(crate) enum Sandbox {
    #[command(after_help = crate::exit::HELP)]
    Probe(ProbeArgs),
    #[command(after_help = crate::exit::HELP)]
    Explain(ExplainArgs),
}

/// Try out what profiles are made of, and which of the profiles can be had.
///
/// Nothing is started, and no store is touched. The user counts: run it as the supervisor's.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// Print one JSON object: `features` and `profiles`, each of which has `is_there`.
    #[arg(long)]
    json: bool,
}

/// Show what a profile does to tasks on this host, and what the host lacks for it.
///
/// The exit code is 5 if the profile cannot be had.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// `none`, `process`, `strict`, or one of the configuration file.
    profile: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    command: &Sandbox,
    store: StoreArgs,
    environment: &Environment,
) -> Result<Exit, CommandError> {
    let (mut run, _) = run_args(None, environment)?;
    if let Sandbox::Explain(args) = command {
        run.sandbox.clone_from(&args.profile);
    }
    let config = RunConfig::new(store, run, environment)?;
    let host = Host::probe(&config.without);
    match command {
        Sandbox::Probe(args) => probe(args, &config, &host),
        Sandbox::Explain(args) => {
            // The name has just been found.
            let Some(profile) = config.profiles.get(&args.profile) else {
                return Ok(Exit::NotFound);
            };
            let plan = Plan::resolve(profile, &config, &host);
            if args.json {
                output::json(&explain::object(profile, &plan))?;
            } else {
                output::bytes(explain::page(profile, &plan).as_bytes())?;
            }
            Ok(match plan.lacks.is_empty() {
                true => Exit::Done,
                false => Exit::Refused,
            })
        }
    }
}

/// A feature of the host: its name, whether it is there, what it is for.
fn features(host: &Host) -> Vec<(&'static str, bool, String)> {
    let abi = match host.landlock_abi {
        0 => "files of a task are told apart by rules".into(),
        abi => format!("files of a task are told apart by rules (ABI {abi})"),
    };
    let limits = |controller: Controller, what: &str| {
        let found = host.controllers.as_ref();
        let version = found.map(|found| found.version);
        let is_there = found.is_some_and(|found| found.has(controller));
        let text = match version.filter(|_| is_there) {
            Some(Version::V1) => format!("{what} of all processes of a task (cgroup v1)"),
            Some(Version::V2) => format!("{what} of all processes of a task (cgroup v2)"),
            None => format!("{what} of all processes of a task (else of each)"),
        };
        (is_there, text)
    };
    let (memory, of_memory) = limits(Controller::Memory, "memory");
    let (processes, of_processes) = limits(Controller::Processes, "number");
    let (cpu, of_cpu) = limits(Controller::Cpu, "CPU time");
    vec![
        (
            "root",
            host.is_root,
            "a user of its own for each process".into(),
        ),
        (
            "pid-namespace",
            host.user_namespaces,
            "a task sees its own processes only".into(),
        ),
        (
            "mounts",
            host.mounts,
            "a root, a /tmp and a /proc of its own".into(),
        ),
        (
            "network-namespace",
            host.network_namespaces,
            "no network, or its own loopback".into(),
        ),
        (
            "ipc-namespace",
            host.ipc_namespaces,
            "shared memory and host name of its own".into(),
        ),
        ("landlock", host.landlock_abi >= 1, abi),
        (
            "landlock-scope",
            host.landlock_scope,
            "signals and abstract sockets stay inside".into(),
        ),
        (
            "seccomp",
            host.seccomp,
            "system calls can be refused".into(),
        ),
        (
            "cgroup",
            host.cgroup.is_some(),
            "processes are found and killed by their cgroup".into(),
        ),
        ("limit-memory", memory, of_memory),
        ("limit-processes", processes, of_processes),
        ("limit-cpu", cpu, of_cpu),
    ]
}

fn probe(args: &ProbeArgs, config: &RunConfig, host: &Host) -> Result<Exit, CommandError> {
    let features = features(host);
    let plans: Vec<_> = config
        .profiles
        .iter()
        .map(|profile| Plan::resolve(profile, config, host))
        .collect();
    if args.json {
        let features = features.iter().map(
            |(name, is_there, text)| json!({"name": name, "is_there": is_there, "gives": text}),
        );
        let profiles = plans.iter().map(|plan| {
            json!({
                "name": plan.profile,
                "is_there": plan.lacks.is_empty(),
                "isolation": plan.description,
                "lacks": lacks(plan),
            })
        });
        output::json(&json!({
            "features": features.collect::<Vec<_>>(),
            "profiles": profiles.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    let word = |is_there| if is_there { "yes" } else { "no" };
    let rows: Vec<_> = features
        .into_iter()
        .map(|(name, is_there, text)| [name.to_owned(), word(is_there).to_owned(), text])
        .collect();
    output::table("features", ["feature", "here", "gives"], &rows)?;
    output::line("")?;
    let rows: Vec<_> = plans
        .iter()
        .map(|plan| {
            let is_there = plan.lacks.is_empty();
            [
                plan.profile.clone(),
                word(is_there).to_owned(),
                plan.description.clone(),
            ]
        })
        .collect();
    output::table("profiles", ["profile", "here", "isolation"], &rows)?;
    Ok(Exit::Done)
}

fn lacks(plan: &Plan) -> Vec<Value> {
    let lacks = plan.lacks.iter();
    lacks
        .map(|lack| json!({"asked": lack.asked, "lacks": lack.lacks, "way_out": lack.way_out}))
        .collect()
}
