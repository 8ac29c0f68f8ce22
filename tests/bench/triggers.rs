//! How late 1,000 triggers fire.

use std::time::Duration;

use bulkhead_shared::catalog::Filter;
use bulkhead_shared::message::Arguments;
use bulkhead_shared::trigger::TriggerSpec;
use bulkhead_shared::{QueueName, ScheduleName, TaskName, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::measure::{percentile, rest};
use crate::report::{Figure, Wanted};
use crate::stage::{Programs, Stage};

/// Triggers, ...
const COUNT: usize = 1000;

/// ... each of which fires once in so many seconds, a part of them in each second.
const PERIOD: usize = 20;

pub(crate) fn measure(
    store: Store,
    programs: &Programs,
    seconds: u64,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut late = round(store, programs, seconds)?;
        p50.push(percentile(&mut late, 0.5));
        p99.push(percentile(&mut late, 0.99));
    }
    let name = |part| format!("1,000 triggers, time to submitted, {part}");
    Ok(vec![
        Figure::plain(name("p50"), "ms", p50, Wanted::AtMost(50.0)),
        Figure::plain(name("p99"), "ms", p99, Wanted::AtMost(100.0)),
    ])
}

fn round(store: Store, programs: &Programs, seconds: u64) -> anyhow::Result<Vec<f64>> {
    let stage = Stage::new(store)?;
    let client = stage.client()?;
    let task = TaskName::new("echo")?;
    let queue = QueueName::default();
    for number in 0..COUNT {
        let name = ScheduleName::new(&format!("trigger-{number}"))?;
        let spec = TriggerSpec {
            cron: Some(format!("{}/{PERIOD} * * * * *", number % PERIOD)),
            arguments: Arguments {
                args: vec!["x".into()],
                ..Arguments::default()
            },
            ..TriggerSpec::default()
        };
        client.add_schedule(&name, &task, Some(&queue), spec)?;
    }
    let supervisor = stage.supervisor(programs, "child", &["--processes", "4"])?;
    rest(Duration::from_secs(5));
    // What was made up for at the start does not count.
    let from = Timestamp::now();
    rest(Duration::from_secs(seconds));
    let until = Timestamp::now();
    supervisor.stop()?;
    let mut late = Vec::new();
    for job in stage.backend()?.catalog.list(&Filter::default(), 100_000)? {
        let header: Value = serde_json::from_slice(&job.header)?;
        let firing = header["metadata"]["firing"].as_str().unwrap_or_default();
        let firing = Timestamp::parse(firing)?;
        if firing > from && firing < until {
            late.push(job.submitted_at.since(firing).as_secs_f64() * 1e3);
        }
    }
    anyhow::ensure!(!late.is_empty(), "no trigger has fired");
    Ok(late)
}
