//! Jobs a second through the whole engine: a burst over jobs that wait in the store.

use anyhow::{Context, ensure};
use bulkhead_shared::history::History;
use bulkhead_shared::{Timestamp, Uuid};

use crate::Store;
use crate::limit::Pace;
use crate::measure::{children_cpu, rate};
use crate::stage::{Programs, Stage, jobs};

/// Runs `count` jobs in processes that run `per_process` jobs each. The time is that between the
/// start of the first job and the end of the last.
pub(crate) fn burst(
    store: Store,
    programs: &Programs,
    count: usize,
    per_process: u32,
) -> anyhow::Result<Pace> {
    let per_process = per_process.to_string();
    let options = ["--processes", "8", "--tasks-per-process", &per_process];
    burst_of(store, programs, ("child", "echo"), count, &options)
}

/// Runs `count` jobs of a task of a program, with these options.
pub(crate) fn burst_of(
    store: Store,
    programs: &Programs,
    (child, task): (&str, &str),
    count: usize,
    options: &[&str],
) -> anyhow::Result<Pace> {
    let stage = Stage::new(store)?;
    let uuids: Vec<Uuid> = {
        let messages = jobs(task, count)?;
        stage.client()?.submit_many(&messages)?;
        messages.iter().map(|message| message.uuid).collect()
    };
    let options: Vec<_> = ["--burst"]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    let before = children_cpu()?;
    stage.supervisor(programs, child, &options)?.ended()?;
    let cpu = children_cpu()?.saturating_sub(before);
    let (first, last) = span(&stage, &uuids)?;
    Ok(Pace {
        per_second: rate(count, last.since(first)),
        cpu_seconds_per_1000: 1000.0 / rate(count, cpu),
    })
}

/// When the first job was started and when the last was ended, by the store's own account.
fn span(stage: &Stage, uuids: &[Uuid]) -> anyhow::Result<(Timestamp, Timestamp)> {
    let backend = stage.backend()?;
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for some in uuids.chunks(500) {
        for row in backend.catalog.jobs_by_id(some)? {
            let history = History::from_json(&row.context("a job is there")?.history)?;
            ensure!(history.attempts.len() == 1, "a job was run more than once");
            let attempt = &history.attempts[0];
            ensure!(attempt.cause.is_none(), "a job failed: {:?}", attempt.error);
            let started = attempt.started_at.context("it was started")?;
            let finished = attempt.finished_at;
            span = Some(span.map_or((started, finished), |(first, last)| {
                (first.min(started), last.max(finished))
            }));
        }
    }
    span.context("there were jobs")
}
