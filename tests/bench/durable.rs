//! What durable calls cost.

use bulkhead_shared::Message;
use bulkhead_shared::client::Client;

use crate::Store;
use crate::measure::percentile;
use crate::report::{Figure, Wanted};
use crate::stage::{PATIENCE, Programs, Stage};

/// Tasks at once, under load.
const MANY: usize = 8;

/// Steps that are gone through again.
const STEPS: u32 = 1_000;

pub(crate) fn measure(
    store: Store,
    programs: &Programs,
    count: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let (mut alone, mut crowd, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let stage = Stage::new(store)?;
        let client = stage.client()?;
        let processes = MANY.to_string();
        let options = ["--processes", processes.as_str()];
        let supervisor = stage.supervisor(programs, "bench-tasks", &options)?;
        alone.push(percentile(&mut records(&client, 1, count)?, 0.5));
        crowd.push(percentile(&mut records(&client, MANY, count)?, 0.5));
        let replay = client.submit(Message::new("replay").arg(STEPS))?;
        let ns: f64 = client.result_as(replay, Some(PATIENCE))?;
        again.push(ns / 1e6);
        supervisor.stop()?;
    }
    let name = |what| format!("a recorded now(), {what}, p50");
    Ok(vec![
        Figure::plain(name("one task"), "ms", alone, Wanted::AtMost(1.5)),
        Figure::plain(name("8 tasks at once"), "ms", crowd, Wanted::AtMost(1.5)),
        Figure::plain(
            "1,000 steps gone through again",
            "ms",
            again,
            Wanted::Nothing,
        ),
    ])
}

/// How long each call of so many tasks took, in milliseconds.
fn records(client: &Client, tasks: usize, count: usize) -> anyhow::Result<Vec<f64>> {
    let jobs: Vec<_> = (0..tasks)
        .map(|_| client.submit(Message::new("record").arg(count)))
        .collect::<Result<_, _>>()?;
    let mut times = Vec::with_capacity(tasks * count);
    for job in jobs {
        let ns: Vec<f64> = client.result_as(job, Some(PATIENCE))?;
        times.extend(ns.into_iter().map(|ns| ns / 1e6));
    }
    Ok(times)
}
