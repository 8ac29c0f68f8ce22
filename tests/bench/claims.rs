//! Whether a long queue slows its claims down.

use std::time::Duration;

use anyhow::ensure;
use bulkhead_shared::broker::{Claim, Claimed, Selection, Settlement, SupervisorId};
use bulkhead_shared::client::Client;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{QueueName, TaskName, Timestamp, Uuid};

use crate::measure::{rate, timed};
use crate::report::{Figure, Wanted};
use crate::stage::{Stage, job, jobs};

/// Jobs claimed and settled in one turn.
const BATCH: usize = 64;

/// Turns in a round.
const TURNS: usize = 100;

/// Jobs that are ready in the small store.
pub(crate) const FEW: usize = 1000;

/// Submits `count` jobs that wait, and `delayed` that wait for tomorrow.
pub(crate) fn fill(stage: &Stage, count: usize, delayed: usize) -> anyhow::Result<()> {
    let client = stage.client()?;
    let tomorrow = Duration::from_secs(24 * 3600);
    let mut left = delayed;
    while left > 0 {
        let some = left.min(50_000);
        let message = || job().delay(tomorrow).build();
        let messages = (0..some)
            .map(|_| message())
            .collect::<Result<Vec<_>, _>>()?;
        client.submit_many(&messages)?;
        left -= some;
    }
    let mut left = count;
    while left > 0 {
        // Not all at once: a million messages are memory that would slow what comes after.
        let some = left.min(50_000);
        client.submit_many(&jobs("echo", some)?)?;
        left -= some;
    }
    Ok(())
}

/// Claims in a store of many against claims in a store of few, in turns.
pub(crate) fn measure(
    few: &Stage,
    many: &Stage,
    counts: (usize, usize),
    rounds: usize,
) -> anyhow::Result<Figure> {
    let (few, many) = (few.client()?, many.client()?);
    let (mut values, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        limits.push(round(&few, true)?);
        values.push(round(&many, false)?);
    }
    let (ready, delayed) = counts;
    Ok(Figure {
        name: format!("claims, {ready} ready, {delayed} delayed, against {FEW} ready"),
        unit: "jobs/s",
        values,
        limits,
        wanted: Wanted::Ratio(0.8),
    })
}

/// Claims and settles; keeps the store as full as it was, if that is `kept`.
fn round(client: &Client, kept: bool) -> anyhow::Result<f64> {
    let selection = Selection {
        queues: vec![QueueName::default()],
        tasks: vec![TaskName::new("echo")?],
    };
    let owner = SupervisorId(Uuid::now_v7());
    let broker = &client.backend().broker;
    let mut time = Duration::ZERO;
    let mut held: Vec<Claimed> = Vec::new();
    for _ in 0..TURNS {
        if kept {
            client.submit_many(&jobs("echo", BATCH)?)?;
        }
        let settlements = held.drain(..).map(success).collect();
        let claim = Claim {
            owner,
            selection: &selection,
            room: BATCH,
            lease: Duration::from_secs(30),
        };
        let (took, turned) = timed(|| Ok(broker.turn(settlements, Some(claim))?))?;
        ensure!(turned.claimed.len() == BATCH, "too few jobs were ready");
        held = turned.claimed;
        time += took;
    }
    broker.turn(held.drain(..).map(success).collect(), None)?;
    broker.leave(owner)?;
    Ok(rate(TURNS * BATCH, time))
}

pub(crate) fn success(claimed: Claimed) -> Settlement {
    let at = Timestamp::now();
    let until = Some(at.plus(Duration::from_secs(7 * 24 * 3600)));
    Settlement {
        receipt: claimed.receipt,
        next: Move::Succeed {
            result: Some(claimed.payload),
            result_until: until,
            purge_at: until,
        },
        history: br#"{"attempt":1}"#.to_vec(),
        at,
        errands: Default::default(),
    }
}
