//! A profile in words.

use bulkhead_shared::isolation::Network;
use bulkhead_shared::units::{Size, show_duration};
use serde_json::{Value, json};

use crate::sandbox::plan::{Plan, network_name};
use crate::sandbox::profile::{LimitsOf, OnForbidden, Profile, RootKind, Syscalls};

pub(super) fn object(profile: &Profile, plan: &Plan) -> Value {
    let lines: serde_json::Map<_, _> = lines(profile, plan)
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    json!({
        "profile": profile.name,
        "isolation": plan.description,
        "is_there": plan.lacks.is_empty(),
        "does": lines,
        "missing": plan.missing,
        "lacks": super::lacks(plan),
    })
}

pub(super) fn page(profile: &Profile, plan: &Plan) -> String {
    let mut page = format!("{}\n\n", plan.description);
    for (name, text) in lines(profile, plan) {
        page.push_str(&format!("  {name:13} {text}\n"));
    }
    for missing in &plan.missing {
        page.push_str(&format!("\nmissing here: {missing}\n"));
    }
    for lack in &plan.lacks {
        page.push_str(&format!(
            "\nCANNOT BE HAD here: `{}` needs {}\n  way out: {}\n",
            lack.asked, lack.lacks, lack.way_out
        ));
    }
    page
}

/// What it does, one thing a line.
fn lines(profile: &Profile, plan: &Plan) -> Vec<(&'static str, String)> {
    let walls = plan.setup.walls.as_deref();
    let size =
        |bytes: Option<u64>| bytes.map_or_else(|| "no limit".into(), |b| Size(b).to_string());
    let number = |n: Option<u64>| n.map_or_else(|| "no limit".into(), |n| n.to_string());
    let paths = |paths: &std::collections::BTreeSet<std::path::PathBuf>| {
        let shown: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        match shown.is_empty() {
            true => "nothing else".into(),
            false => shown.join(" "),
        }
    };
    let has_root = walls.is_some_and(|walls| walls.root.is_some());
    let files = match (profile.root, has_root) {
        (RootKind::Minimal, true) => "a root of its own, with what is named here",
        (RootKind::Minimal, false) => "the host's (a root of its own cannot be had)",
        (RootKind::Host, _) => "the host's, as its user may",
    };
    let user = match (&plan.user, plan.own_users) {
        (Some(name), _) => name.clone(),
        (None, true) => "one of its own for each process".into(),
        (None, false) if walls.is_some_and(|walls| walls.user_namespace) => {
            "the supervisor's, in a user namespace of its own".into()
        }
        (None, false) => "the supervisor's".into(),
    };
    let network = match walls.map_or(Network::Host, |walls| walls.network) {
        Network::None => "none: no device is up".into(),
        Network::Loopback => "its own loopback device".into(),
        Network::Host => match profile.network {
            Network::Host => "the host's".into(),
            asked => format!("the host's (`{}` cannot be had)", network_name(asked)),
        },
    };
    let calls = match (profile.syscalls, profile.on_forbidden) {
        (Syscalls::All, _) => "all",
        (Syscalls::Denylist, OnForbidden::Error) => "all but a list; others fail with EPERM",
        (Syscalls::Denylist, OnForbidden::Kill) => "all but a list; others end the task",
        (Syscalls::Allowlist, OnForbidden::Error) => "those of a list; others fail with EPERM",
        (Syscalls::Allowlist, OnForbidden::Kill) => "those of a list; others end the task",
    };
    let counted = match (plan.amounts, profile.limits_of) {
        (_, LimitsOf::Task) if plan.watches_memory => {
            "a task; its memory is looked at while it runs (no cgroup can be had)"
        }
        (Some(_), _) => "a task, by cgroup",
        (None, LimitsOf::Task) => "each process (no cgroup can be had)",
        (None, LimitsOf::Process) => "each process",
    };
    let mut lines = vec![
        ("held by", plan.setup.containment.to_string()),
        ("user", user),
        ("files", files.into()),
        ("network", network),
        ("system calls", calls.into()),
        ("limits of", counted.into()),
        (
            "memory",
            match profile.memory {
                Some(bytes) => format!("{}, or less by --memory or the task", Size(bytes)),
                None => "as --memory or the task says".into(),
            },
        ),
        ("processes", number(profile.processes)),
        (
            "CPU time",
            profile
                .cpu_time
                .map_or_else(|| "no limit".into(), show_duration),
        ),
        (
            "CPUs",
            profile
                .cpu_percent
                .map_or_else(|| "all".into(), |n| format!("{n} % of one")),
        ),
        ("file size", size(profile.file_size)),
        ("open files", number(profile.open_files)),
        (
            "output",
            format!("the last {} of each", Size(profile.output.into())),
        ),
        (
            "jobs",
            match profile.single_use {
                true => "one for each process".into(),
                false => "as --tasks-per-process says".into(),
            },
        ),
        ("may ask for", may(profile)),
    ];
    if has_root {
        lines.insert(3, ("  read", paths(&profile.read_only)));
        lines.insert(4, ("  written", paths(&profile.writable)));
    }
    if let Some(bytes) = plan.tmp {
        let files = profile.tmp_files;
        lines.push(("/tmp", format!("its own: {}, {files} files", Size(bytes))));
    }
    lines
}

fn may(profile: &Profile) -> String {
    let may = &profile.may;
    let locks = may.locks.iter().map(|prefix| format!("locks({prefix})"));
    let progress = may.progress.then(|| "progress".to_owned());
    let durable = may.durable.then(|| "durable".to_owned());
    let submit = may.submit.iter().map(ToString::to_string);
    let results = may.read_results.then(|| "read-results".to_owned());
    let words = progress.into_iter().chain(durable).chain(locks);
    let words: Vec<_> = words.chain(submit).chain(results).collect();
    match words.is_empty() {
        true => "nothing".into(),
        false => words.join(", "),
    }
}
