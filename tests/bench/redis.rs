//! How near the Redis store comes to a bare client of the same server.

use std::time::Duration;

use anyhow::{Context, ensure};
use bulkhead_shared::Uuid;
use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{Claim, Claimed, Heed, Listen, Selection, SupervisorId, Turned};
use bulkhead_shared::{QueueName, TaskName};
use redis::Connection;

use crate::claims::success;
use crate::measure::{now, percentile, rate, rest, timed};
use crate::report::{Figure, Wanted};
use crate::rounds::Counts;
use crate::stage::{PATIENCE, Programs, Stage, job, jobs};
use crate::{Options, Section, Store, engine, say};

/// Bytes of a bare value: about those of a job with its header.
const BYTES: usize = 300;

/// Commands in a pipeline and messages in a batch.
const PIPELINE: usize = 100;

/// Settled and claimed in one turn, and what is wanted of it against bare single SETs.
const TURNS: [(usize, f64); 3] = [(1, 0.5), (8, 1.8), (64, 4.5)];

/// The batch for which the server's own time is looked at, and the most it may take, in us a job.
const LOOKED_AT: (usize, f64) = (8, 30.0);

/// One value per round of everything.
#[derive(Default)]
struct Values {
    single: Vec<f64>,
    pipelined: Vec<f64>,
    submit: Vec<f64>,
    batch: Vec<f64>,
    turns: [Vec<f64>; TURNS.len()],
    server_us: Vec<f64>,
}

pub(crate) fn measure(options: &Options, programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let rounds = usize::from(options.rounds);
    let count = if options.quick { 1500 } else { 6000 };
    let mut figures = Vec::new();
    if options.wants(Section::Moves) {
        say("moves")?;
        let mut values = Values::default();
        let stage = Stage::new(Store::Redis)?;
        for _ in 0..rounds {
            moves(&stage, count, &mut values)?;
        }
        figures.extend(values.figures());
    }
    if options.wants(Section::Wake) {
        say("wake-up")?;
        figures.extend(wake(rounds, if options.quick { 100 } else { 400 })?);
    }
    if options.wants(Section::Fresh) {
        say("a fresh process each, on both stores")?;
        figures.push(fresh(options, programs)?);
    }
    Ok(figures)
}

fn moves(stage: &Stage, count: usize, values: &mut Values) -> anyhow::Result<()> {
    let mut bare = redis::Client::open(stage.url.as_str())?.get_connection()?;
    let value = [b'v'; BYTES];
    let key = |n: usize| format!("bare:{n}");
    let (time, ()) = timed(|| {
        for n in 0..count {
            redis::cmd("SET").arg(key(n)).arg(&value).exec(&mut bare)?;
        }
        Ok(())
    })?;
    values.single.push(rate(count, time));
    let many = (4 * count).next_multiple_of(PIPELINE);
    let (time, ()) = timed(|| {
        for first in (0..many).step_by(PIPELINE) {
            let mut pipe = redis::pipe();
            for n in first..first + PIPELINE {
                pipe.cmd("SET").arg(key(n)).arg(&value).ignore();
            }
            pipe.exec(&mut bare)?;
        }
        Ok(())
    })?;
    values.pipelined.push(rate(many, time));
    submits(stage, count, many, values)?;
    for (place, (size, _)) in TURNS.into_iter().enumerate() {
        let before = script_us(&mut bare)?;
        let (done, time) = turns(stage, size, count)?;
        values.turns[place].push(rate(done, time));
        if size == LOOKED_AT.0 {
            let took = script_us(&mut bare)? - before;
            values.server_us.push(took / count_f(done));
        }
    }
    // The next round begins with an empty server, as this one did.
    Ok(redis::cmd("FLUSHALL").exec(&mut bare)?)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn count_f(count: usize) -> f64 {
    count as f64
}

fn submits(stage: &Stage, single: usize, many: usize, values: &mut Values) -> anyhow::Result<()> {
    let client = stage.client()?;
    let messages = jobs("echo", single)?;
    let (time, ()) = timed(|| {
        for message in &messages {
            client.submit_many(std::slice::from_ref(message))?;
        }
        Ok(())
    })?;
    values.submit.push(rate(single, time));
    let messages = jobs("echo", many)?;
    let (time, ()) = timed(|| {
        for some in messages.chunks(PIPELINE) {
            client.submit_many(some)?;
        }
        Ok(())
    })?;
    values.batch.push(rate(many, time));
    Ok(())
}

fn selection() -> anyhow::Result<Selection> {
    Ok(Selection {
        queues: vec![QueueName::default()],
        tasks: vec![TaskName::new("echo")?],
    })
}

fn turn(
    backend: &Backend,
    owner: SupervisorId,
    selection: &Selection,
    held: Vec<Claimed>,
    room: usize,
) -> anyhow::Result<Turned> {
    let claim = (room > 0).then_some(Claim {
        owner,
        selection,
        room,
        lease: Duration::from_secs(30),
    });
    let settlements = held.into_iter().map(success).collect();
    Ok(backend.broker.turn(settlements, claim)?)
}

/// Settles `size` jobs and claims as many, again and again: how many, and how long it took.
fn turns(stage: &Stage, size: usize, count: usize) -> anyhow::Result<(usize, Duration)> {
    let (backend, selection) = (stage.backend()?, selection()?);
    let owner = SupervisorId(Uuid::now_v7());
    let mut held = turn(&backend, owner, &selection, Vec::new(), size)?.claimed;
    let mut done = 0;
    let (time, ()) = timed(|| {
        while done < count {
            done += held.len();
            let turned = turn(&backend, owner, &selection, std::mem::take(&mut held), size)?;
            held = turned.claimed;
            ensure!(held.len() == size, "too few jobs were ready");
        }
        Ok(())
    })?;
    turn(&backend, owner, &selection, held, 0)?;
    Ok((done, time))
}

/// Microseconds that the server has spent in scripts so far.
fn script_us(bare: &mut Connection) -> anyhow::Result<f64> {
    let text: String = redis::cmd("INFO").arg("commandstats").query(bare)?;
    let mut sum = 0.0;
    for line in text.lines().filter(|line| line.starts_with("cmdstat_eval")) {
        let (_, rest) = line.split_once("usec=").context("a time")?;
        let (number, _) = rest.split_once(',').context("a number")?;
        sum += number.parse::<f64>()?;
    }
    Ok(sum)
}

/// From submit to claimed by somebody who was waiting.
fn wake(rounds: usize, count: usize) -> anyhow::Result<Vec<Figure>> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut times = wakes(count)?;
        p50.push(percentile(&mut times, 0.5));
        p99.push(percentile(&mut times, 0.99));
    }
    let name = |part| format!("submit to claimed by one who waits, {part}");
    Ok(vec![
        Figure::plain(name("p50"), "ms", p50, Wanted::AtMost(0.5)),
        Figure::plain(name("p99"), "ms", p99, Wanted::AtMost(5.0)),
    ])
}

fn wakes(count: usize) -> anyhow::Result<Vec<f64>> {
    let stage = Stage::new(Store::Redis)?;
    let (client, backend, selection) = (stage.client()?, stage.backend()?, selection()?);
    let owner = SupervisorId(Uuid::now_v7());
    let (tell, told) = crossbeam::channel::unbounded();
    let waiter = std::thread::spawn(move || -> anyhow::Result<()> {
        let listen = Listen::Work {
            owner,
            selection: &selection,
        };
        let mut bell = backend.broker.bell(listen)?;
        let mut claimed = 0;
        while claimed < count {
            let turned = turn(&backend, owner, &selection, Vec::new(), 8)?;
            for job in &turned.claimed {
                claimed += 1;
                tell.send((job.receipt.uuid, now()))?;
            }
            turn(&backend, owner, &selection, turned.claimed, 0)?;
            bell.wait(Heed::Everything, None, Duration::from_secs(1))?;
        }
        Ok(())
    });
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        // Long enough for the other one to wait again.
        rest(Duration::from_millis(3));
        let start = now();
        let uuid = client.submit(job())?;
        let (claimed, at) = told.recv_timeout(PATIENCE)?;
        ensure!(claimed == uuid, "another job was claimed");
        times.push(at.saturating_duration_since(start).as_secs_f64() * 1e3);
    }
    waiter
        .join()
        .map_err(|_| anyhow::anyhow!("the waiter panicked"))??;
    Ok(times)
}

/// Jobs a second with a fresh process each, against those on SQLite.
fn fresh(options: &Options, programs: &Programs) -> anyhow::Result<Figure> {
    let count = Counts::of(options).fresh;
    let (mut values, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        limits.push(engine::burst(Store::Sqlite, programs, count, 1)?.per_second);
        values.push(engine::burst(Store::Redis, programs, count, 1)?.per_second);
    }
    Ok(Figure {
        name: "a fresh process each, static, against SQLite".into(),
        unit: "jobs/s",
        values,
        limits,
        wanted: Wanted::Ratio(0.75),
    })
}

impl Values {
    fn figures(self) -> Vec<Figure> {
        let limit = |name: &str, values| Figure::plain(name, "/s", values, Wanted::Nothing);
        let against = |name: String, values, limits: &[f64], wanted| Figure {
            name,
            unit: "jobs/s",
            values,
            limits: limits.to_vec(),
            wanted: Wanted::Ratio(wanted),
        };
        let mut figures = vec![
            limit("limit: bare SET of 300 B", self.single.clone()),
            limit("limit: bare SET, pipelines of 100", self.pipelined.clone()),
            against("submit".into(), self.submit, &self.single, 0.8),
            against(
                "submit, batches of 100".into(),
                self.batch,
                &self.pipelined,
                0.3,
            ),
        ];
        for ((size, wanted), values) in TURNS.into_iter().zip(self.turns) {
            let name = format!("settle and claim, turns of {size}");
            figures.push(against(name, values, &self.single, wanted));
        }
        let (size, most) = LOOKED_AT;
        figures.push(Figure::plain(
            format!("the server's time per job, turns of {size}"),
            "us",
            self.server_us,
            Wanted::AtMost(most),
        ));
        figures
    }
}
