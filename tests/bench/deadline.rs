//! From a job's deadline to its SIGTERM, while many others wait.
//!
//! All processes but one run a job that waits. In the last one, job after job runs into its
//! timeout. Both times are the task's own: its clock starts when its job has arrived, some tens of
//! microseconds after the deadline's.

use std::time::Duration;

use bulkhead_shared::Message;
use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::client::Client;

use crate::Store;
use crate::measure::percentile;
use crate::report::{Figure, Wanted};
use crate::stage::{PATIENCE, Programs, Stage, wait_until};

/// The timeout of the jobs that are measured.
const TIMEOUT: Duration = Duration::from_millis(20);

pub(crate) fn measure(
    store: Store,
    programs: &Programs,
    children: u16,
    count: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::new(store)?;
    let client = stage.client()?;
    let processes = children.to_string();
    let options = ["--processes", &processes, "--memory", "none"];
    let supervisor = stage.supervisor(programs, "bench-tasks", &options)?;
    let waiting = usize::from(children - 1);
    submit(&client, "wait", PATIENCE, waiting)?;
    let filter = Filter {
        states: vec![State::Leased],
        ..Filter::default()
    };
    wait_until("all children to wait", || {
        let rows = client.backend().catalog.list(&filter, waiting)?;
        let running = rows.iter().filter(|row| row.started_at.is_some()).count();
        Ok((running == waiting).then_some(()))
    })?;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut late = Vec::with_capacity(count);
        for uuid in submit(&client, "note_term", TIMEOUT, count)? {
            let nanos: f64 = client.result_as(uuid, Some(PATIENCE))?;
            late.push(nanos / 1e6 - TIMEOUT.as_secs_f64() * 1e3);
        }
        p50.push(percentile(&mut late, 0.5));
        p99.push(percentile(&mut late, 0.99));
    }
    supervisor.stop()?;
    let name = |part| format!("deadline to SIGTERM, {children} children, {part}");
    Ok(vec![
        Figure::plain(name("p50"), "ms", p50, Wanted::AtMost(0.2)),
        Figure::plain(name("p99"), "ms", p99, Wanted::AtMost(5.0)),
    ])
}

fn submit(
    client: &Client,
    task: &str,
    timeout: Duration,
    count: usize,
) -> anyhow::Result<Vec<bulkhead_shared::Uuid>> {
    let message = || Message::new(task).queue("default").timeout(timeout).build();
    let messages = (0..count)
        .map(|_| message())
        .collect::<Result<Vec<_>, _>>()?;
    client.submit_many(&messages)?;
    Ok(messages.iter().map(|message| message.uuid).collect())
}
