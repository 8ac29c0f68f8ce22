//! Events: how many a second a processor passes, how long one is on its way, and how long a partition
//! stands still after its process, or its supervisor, has died.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::ensure;
use bulkhead_shared::StreamName;
use bulkhead_shared::stream::keep::{Record, Sent, Streams};
use bulkhead_shared::stream::{StreamSpec, encode};
use nix::time::{ClockId, clock_gettime};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::Store;
use crate::measure::{now, percentile, rate, rest, timed};
use crate::report::{Figure, Wanted};
use crate::stage::{PATIENCE, Programs, Stage, wait_until};

const CHILD: &str = "bench-streams";

/// A lease short enough to wait for its end.
const LEASE: &str = "2s";

pub(crate) fn measure(
    store: Store,
    programs: &Programs,
    count: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut one = Figure::plain("events, one by one", "/s", Vec::new(), Wanted::Ratio(0.5));
    let mut hundred = Figure::plain("events, take(100)", "/s", Vec::new(), Wanted::Ratio(0.7));
    let (mut p50, mut p99, mut crash, mut kill) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        // By the hundred they pass so fast that it takes more of them to see how fast.
        let hundreds = (&mut hundred, "hundreds", 100, 5 * count);
        for (figure, processor, batch, count) in [(&mut one, "each", 1, count), hundreds] {
            figure.limits.push(bare(store, count, batch)?);
            figure
                .values
                .push(passed(store, programs, processor, count)?);
        }
        let (mut ways, mut gaps) = journeys(store, programs, 200, 50)?;
        p50.push(percentile(&mut ways, 0.5));
        p99.push(percentile(&mut ways, 0.99));
        crash.push(percentile(&mut gaps, 0.99));
        kill.push(after_a_kill(store, programs)?);
    }
    Ok(vec![
        one,
        hundred,
        Figure::plain("event sent to processed, p50", "ms", p50, Wanted::Nothing),
        Figure::plain("event sent to processed, p99", "ms", p99, Wanted::Nothing),
        Figure::plain(
            "event behind a crash, p99",
            "ms",
            crash,
            Wanted::AtMost(100.0),
        ),
        Figure::plain(
            "event behind a killed supervisor (lease 2 s)",
            "ms",
            kill,
            Wanted::AtMost(4_000.0),
        ),
    ])
}

fn spec(name: &str) -> anyhow::Result<StreamSpec> {
    Ok(StreamSpec {
        partitions: 1,
        size: if name == "items" { 10_000_000 } else { 50_000 },
        ..StreamSpec::new(StreamName::new(name)?)
    })
}

fn send(streams: &dyn Streams, name: &str, values: &[Value]) -> anyhow::Result<()> {
    for batch in values.chunks(500) {
        let records = batch.iter().map(|value| {
            Ok(Record {
                partition: 0,
                id: None,
                fields: encode(value)?,
            })
        });
        let records = records.collect::<anyhow::Result<Vec<_>>>()?;
        let sent = streams.send(&StreamName::new(name)?, &records)?;
        ensure!(
            sent.iter().all(|one| matches!(one, Sent::Stored(_))),
            "the stream took not all: {sent:?}"
        );
    }
    Ok(())
}

/// Events a second that a processor passes, of a stream that is full of them.
fn passed(store: Store, programs: &Programs, processor: &str, count: usize) -> anyhow::Result<f64> {
    let stage = Stage::new(store)?;
    let streams = stage.backend()?.streams;
    streams.declare(&spec("items")?)?;
    let values: Vec<_> = (0..count).map(|number| json!({"number": number})).collect();
    send(&*streams, "items", &values)?;
    let name = StreamName::new("items")?;
    let position = || -> anyhow::Result<usize> {
        let found = streams.streams(Some(&name))?;
        let shares = found.iter().flat_map(|one| &one.processors);
        let passed = shares.flat_map(|(_, view)| &view.shares);
        let passed: u64 = passed.map(|share| share.passed.position).sum();
        Ok(usize::try_from(passed)?)
    };
    let supervisor =
        stage.supervisor(programs, CHILD, &["--processes", "1", "--tasks", processor])?;
    // What was passed before this look is not counted, nor is the start.
    let until = now() + PATIENCE;
    let wait_for = |wanted, pause| loop {
        match position()? {
            reached if reached >= wanted => break Ok(reached),
            reached => ensure!(now() < until, "the processor stands still at {reached}"),
        }
        rest(pause);
    };
    let first = wait_for(1, Duration::from_millis(1))?;
    let (time, _) = timed(|| wait_for(count, Duration::from_millis(10)))?;
    supervisor.stop()?;
    Ok(rate(count - first, time))
}

/// The limit: the same number of events of the same size by the bare store's client.
fn bare(store: Store, count: usize, batch: usize) -> anyhow::Result<f64> {
    let stage = Stage::new(store)?;
    match store {
        Store::Redis => bare_redis(&stage, count, batch),
        Store::Sqlite => bare_sqlite(&stage, count, batch),
    }
}

/// What XREADGROUP answers: of each stream the ids and the fields of events.
type Read = Vec<(String, Vec<(String, Vec<String>)>)>;

/// XREADGROUP, then XACK.
fn bare_redis(stage: &Stage, count: usize, batch: usize) -> anyhow::Result<f64> {
    let mut bare = redis::Client::open(stage.url.as_str())?.get_connection()?;
    let mut pipe = redis::pipe();
    let _: () = redis::cmd("XGROUP")
        .arg(&["CREATE", "items", "group", "0", "MKSTREAM"])
        .query(&mut bare)?;
    for number in 0..count {
        let data = json!({"number": number}).to_string();
        pipe.cmd("XADD")
            .arg(&["items", "*", "data", &data])
            .ignore();
        if number % 500 == 499 || number + 1 == count {
            let _: () = pipe.query(&mut bare)?;
            pipe.clear();
        }
    }
    let (time, ()) = timed(|| {
        let mut left = count;
        while left > 0 {
            let reply: Read = redis::cmd("XREADGROUP")
                .arg(&["GROUP", "group", "one", "COUNT"])
                .arg(batch)
                .arg(&["STREAMS", "items", ">"])
                .query(&mut bare)?;
            let events = reply.iter().flat_map(|(_, events)| events);
            let ids: Vec<_> = events.map(|(id, _)| id.as_str()).collect();
            left -= ids.len();
            let _: u64 = redis::cmd("XACK")
                .arg("items")
                .arg("group")
                .arg(&ids)
                .query(&mut bare)?;
        }
        Ok(())
    })?;
    Ok(rate(count, time))
}

/// SELECT, then UPDATE of the place that was reached.
fn bare_sqlite(stage: &Stage, count: usize, batch: usize) -> anyhow::Result<f64> {
    let mut conn = Connection::open(stage.path("bare.db"))?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
        CREATE TABLE event(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
        CREATE TABLE place(id INTEGER PRIMARY KEY, passed INTEGER NOT NULL) STRICT;
        INSERT INTO place VALUES (1, 0);",
    )?;
    let filling = conn.transaction()?;
    for number in 1..=count {
        let data = json!({"number": number}).to_string().into_bytes();
        let mut insert = filling.prepare_cached("INSERT INTO event VALUES (?1, ?2)")?;
        insert.execute(params![i64::try_from(number)?, data])?;
    }
    filling.commit()?;
    let (time, ()) = timed(|| {
        let mut passed = 0;
        while passed < i64::try_from(count)? {
            let mut select = conn
                .prepare_cached("SELECT id, data FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let read = select.query_map(params![passed, i64::try_from(batch)?], |row| {
                let _: Vec<u8> = row.get(1)?;
                row.get::<_, i64>(0)
            })?;
            for id in read {
                passed = id?;
            }
            let mut update = conn.prepare_cached("UPDATE place SET passed = ?1 WHERE id = 1")?;
            update.execute([passed])?;
        }
        Ok(())
    })?;
    Ok(rate(count, time))
}

fn monotonic_ns() -> anyhow::Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

/// The file that letters are noted in, and a look at how many there are.
struct Post<'a> {
    stage: &'a Stage,
    streams: std::sync::Arc<dyn Streams>,
    arrived: usize,
}

impl<'a> Post<'a> {
    fn open(stage: &'a Stage) -> anyhow::Result<Self> {
        let streams = stage.backend()?.streams;
        streams.declare(&spec("letters")?)?;
        File::create(stage.path("letters"))?;
        Ok(Self {
            stage,
            streams,
            arrived: 0,
        })
    }

    /// Sends one, behind one that crashes its process if `crash`, and waits for it; how long it was on
    /// its way, in milliseconds.
    fn send(&mut self, crash: bool) -> anyhow::Result<f64> {
        let file = self.stage.path("letters");
        let letter = |sent| json!({"sent": sent, "file": file});
        let mut letters = vec![letter(monotonic_ns()?)];
        if crash {
            letters.insert(0, letter(0));
        }
        send(&*self.streams, "letters", &letters)?;
        self.arrived += 1;
        let until = now() + Duration::from_secs(60);
        loop {
            let text = fs::read_to_string(&file)?;
            let lines: Vec<_> = text.split_inclusive('\n').collect();
            if let Some(line) = lines
                .get(self.arrived - 1)
                .filter(|line| line.ends_with('\n'))
            {
                let ns: f64 = line.trim().parse()?;
                return Ok(ns / 1e6);
            }
            ensure!(now() < until, "a letter did not arrive");
            rest(Duration::from_millis(2));
        }
    }
}

/// How long events were on their way, alone and behind a crash, in milliseconds.
fn journeys(
    store: Store,
    programs: &Programs,
    count: usize,
    crashes: usize,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let stage = Stage::new(store)?;
    let mut post = Post::open(&stage)?;
    let options = [
        "--processes",
        "1",
        "--tasks",
        "arrive",
        "--task-user",
        "keep",
    ];
    let supervisor = stage.supervisor(programs, CHILD, &options)?;
    // The first one waits for the start.
    post.send(false)?;
    let ways = (0..count)
        .map(|_| post.send(false))
        .collect::<Result<_, _>>()?;
    let gaps = (0..crashes)
        .map(|_| post.send(true))
        .collect::<Result<_, _>>()?;
    supervisor.stop()?;
    Ok((ways, gaps))
}

/// How long an event was on its way whose partition's owner was killed just before, in milliseconds.
fn after_a_kill(store: Store, programs: &Programs) -> anyhow::Result<f64> {
    let stage = Stage::new(store)?;
    let mut post = Post::open(&stage)?;
    let options = [
        "--processes",
        "1",
        "--tasks",
        "arrive",
        "--task-user",
        "keep",
        "--lease",
        LEASE,
    ];
    let owner = stage.supervisor(programs, CHILD, &options)?;
    post.send(false)?;
    let heir = stage.supervisor(programs, CHILD, &options)?;
    wait_until("the heir to be a member", || {
        let found = post.streams.streams(Some(&StreamName::new("letters")?))?;
        let members = found.iter().flat_map(|one| &one.processors);
        Ok(members
            .map(|(_, view)| view.members.len())
            .find(|&members| members == 2))
    })?;
    // Killed, and reaped.
    drop(owner);
    let took = post.send(false)?;
    heir.stop()?;
    Ok(took)
}
