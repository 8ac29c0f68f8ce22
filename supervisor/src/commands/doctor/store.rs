//! The store, and what its jobs and supervisors say.

use bulkhead_shared::Timestamp;
use bulkhead_shared::backend::{self, Backend, Options};
use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::finding::{Depth, Finding, Severity};
use bulkhead_shared::transit::Underway;

use crate::commands::show;

/// Also whether the store cannot be reached or used.
pub(super) fn examine(options: &Options, depth: Depth) -> (Vec<Finding>, bool) {
    let backend = match backend::open(options) {
        Ok(backend) => backend,
        Err(error) => return (vec![away(error)], true),
    };
    let mut findings = Vec::new();
    let mut is_away = false;
    let mut add = |found: Result<Vec<Finding>, BrokerError>| match found {
        Ok(found) => findings.extend(found),
        Err(error) => {
            is_away = true;
            findings.push(away(error));
        }
    };
    add(backend.catalog.examine(depth));
    add(fleet(&backend));
    add(underway(&backend));
    (findings, is_away)
}

fn away(error: BrokerError) -> Finding {
    let (found, way_out) = match error {
        BrokerError::Away { reason } => (
            format!("the store is away: {reason}"),
            "see that it runs and can be reached from here".into(),
        ),
        BrokerError::Full { reason } => (
            format!("the store is full: {reason}"),
            "free some space: nothing is lost".into(),
        ),
        BrokerError::Refused { reason, way_out } => (reason, way_out),
        BrokerError::Damaged { reason, way_out } => {
            (format!("the store is damaged: {reason}"), way_out)
        }
        error => (error.to_string(), "see what it says".into()),
    };
    Finding::ok("store", found)
        .because(Severity::Error, "no job can be submitted, run or ended")
        .way_out(way_out)
}

/// What an interrupted move has left between two stores.
fn underway(backend: &Backend) -> Result<Vec<Finding>, BrokerError> {
    let Underway { leaving, arriving } = backend.transit.underway()?;
    if leaving + arriving == 0 {
        return Ok(Vec::new());
    }
    let found = format!("jobs that leave: {leaving}, that arrive: {arriving}");
    Ok(vec![
        Finding::ok("underway", found)
            .because(
                Severity::Warning,
                "unless a `supervisor migrate` is at work now, one was interrupted, and these \
                 jobs run nowhere",
            )
            .way_out("repeat it, with the same --from and --to: it goes on where it stopped"),
    ])
}

/// Whether somebody is there for what waits.
fn fleet(backend: &Backend) -> Result<Vec<Finding>, BrokerError> {
    let fleet = backend.catalog.fleet()?;
    let queues = backend.catalog.queues()?;
    let alive = fleet.iter().filter(|member| member.is_alive);
    let alive: Vec<_> = alive.filter(|member| member.slots != Some(0)).collect();
    let ready: u64 = queues.iter().map(|queue| queue.ready).sum();
    let finding = Finding::ok(
        "fleet",
        format!("supervisors alive: {}, jobs ready: {ready}", alive.len()),
    );
    let mut findings = vec![if alive.is_empty() && ready > 0 {
        finding
            .because(Severity::Warning, "nobody runs the jobs that wait")
            .way_out("start `supervisor`")
    } else {
        finding
    }];
    let now = Timestamp::now();
    for queue in queues {
        let is_served = alive
            .iter()
            .any(|m| m.selection.queues.contains(&queue.queue));
        if !is_served && queue.ready > 0 && !alive.is_empty() {
            let since = queue.oldest_ready.map(|at| show::duration(now.since(at)));
            let since = since.unwrap_or_else(|| "a moment".into());
            let found = format!("`{}`: {} ready, for {since}", queue.queue, queue.ready);
            findings.push(
                Finding::ok("queue", found)
                    .because(Severity::Warning, "no living supervisor serves this queue")
                    .way_out(format!("start one with `--queues {}`", queue.queue)),
            );
        }
    }
    Ok(findings)
}
