//! From submit to result while nothing else is to do.

use std::time::Duration;

use crate::Store;
use crate::measure::{percentile, rest, timed};
use crate::report::{Figure, Wanted};
use crate::stage::{PATIENCE, Programs, Stage, job};

/// Jobs whose latency is measured after this many.
const WARM: usize = 20;

pub(crate) fn measure(
    store: Store,
    programs: &Programs,
    count: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut times = round(store, programs, count)?;
        p50.push(percentile(&mut times, 0.5));
        p99.push(percentile(&mut times, 0.99));
    }
    let name = |part| format!("submit to result, idle, {part}");
    Ok(vec![
        Figure::plain(name("p50"), "ms", p50, Wanted::AtMost(1.5)),
        Figure::plain(name("p99"), "ms", p99, Wanted::AtMost(10.0)),
    ])
}

fn round(store: Store, programs: &Programs, count: usize) -> anyhow::Result<Vec<f64>> {
    let stage = Stage::new(store)?;
    let client = stage.client()?;
    let supervisor = stage.supervisor(programs, "child", &["--processes", "8"])?;
    let mut times = Vec::with_capacity(count);
    for place in 0..WARM + count {
        let (time, _) = timed(|| {
            let uuid = client.submit(job())?;
            Ok(client.result(uuid, Some(PATIENCE))?)
        })?;
        if place >= WARM {
            times.push(time.as_secs_f64() * 1e3);
        }
        // Long enough for the slot to have its next process.
        rest(Duration::from_millis(10));
    }
    supervisor.stop()?;
    Ok(times)
}
