//! Durable tasks that die, or change, at a chosen place.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::durable::{self, Step};
use bulkhead_child::{Context, task};
use bulkhead_shared::ask::Ask;
use bulkhead_shared::codec;
use bulkhead_shared::frame::FromTask;
use nix::sys::signal::{Signal, raise};
use serde::Serialize;
use serde_json::{Value, json};

use crate::wire;

/// Appends one line, in one write.
fn append(file: &Path, line: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let mut opened = opened.with_context(|| format!("opening {}", file.display()))?;
    Ok(opened.write_all(format!("{line}\n").as_bytes())?)
}

/// Takes its time.
fn work(ms: u64) {
    let length = nix::poll::PollTimeout::try_from(Duration::from_millis(ms));
    let _ = nix::poll::poll(&mut [], length.unwrap_or(nix::poll::PollTimeout::ZERO));
}

/// A run of a journey.
struct Traveller<'a> {
    file: &'a Path,
    /// Where it dies, the first time that it comes there.
    die_at: (u32, &'a str),
    calls: u32,
}

impl Traveller<'_> {
    fn dies(&self, when: &str) -> bool {
        let is_there = (self.calls, when) == self.die_at;
        let marker = self.file.with_extension("died");
        is_there
            && OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(marker)
                .is_ok()
    }

    fn step_on<T: Serialize>(
        &mut self,
        call: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.calls += 1;
        if self.dies("before") {
            raise(Signal::SIGKILL)?;
        }
        let value = call()?;
        append(
            &self.file.with_extension("seen"),
            &json!([self.calls, value]).to_string(),
        )?;
        if self.dies("after") {
            raise(Signal::SIGKILL)?;
        }
        Ok(value)
    }
}

/// One durable call of each kind. Everything that a run sees is appended to `file.seen`, every
/// effect of a step to `file`; the process dies once, before or after the call `die_at`.
#[task(max_retries = none, backoff = constant("1ms"))]
pub(crate) fn journey(
    ctx: &Context,
    file: PathBuf,
    die_at: u32,
    when: String,
) -> anyhow::Result<Vec<Value>> {
    let mut run = Traveller {
        file: &file,
        die_at: (die_at, &when),
        calls: 0,
    };
    if run.dies("during") {
        // Asks, and is gone before the answer.
        let ask = Ask::Record {
            key: "1".into(),
            body: br#"{"kind":"now"}"#.to_vec().into(),
            is_first: true,
        };
        let (nonce, id) = (wire::nonce(ctx)?, 1_000_000);
        wire::say(&codec::encode(&FromTask::Ask { nonce, id, ask })?)?;
        raise(Signal::SIGKILL)?;
    }
    let effect = |word: &str| append(&file, word).map(|()| word.to_owned());
    let mut seen = Vec::new();
    let now = run.step_on(|| Ok(durable::now()?))?;
    seen.push(json!(now.as_millis()));
    seen.push(json!(run.step_on(|| Ok(durable::uuid()?))?));
    seen.push(json!(run.step_on(|| Ok(durable::random()?))?));
    seen.push(json!(
        run.step_on(|| durable::step("one", |_| effect("one")))?
    ));
    run.step_on(|| Ok(durable::sleep(Duration::from_millis(20))?))?;
    let outer = run.step_on(|| {
        durable::step("outer", |_| {
            let inner = durable::step("inner", |_| effect("inner"))?;
            anyhow::Ok((inner, durable::random()?, effect("outer")?))
        })
    })?;
    seen.push(json!(outer));
    let part = ctx.durable().branch("part")?;
    let to = file.clone();
    let beside = move || part.step("beside", |_| append(&to, "beside"));
    let beside = std::thread::spawn(beside);
    beside.join().ok().context("the thread panicked")??;
    seen.push(json!(run.step_on(|| Ok(durable::now()?.as_millis()))?));
    let word: Option<Value> =
        run.step_on(|| Ok(durable::wait_for("go", Duration::from_secs(600))?))?;
    seen.push(json!(word));
    Ok(seen)
}

/// Makes a call, fails, and makes another one in its place.
#[task(max_retries = 1, backoff = constant("1ms"))]
pub(crate) fn wander(ctx: &Context) -> anyhow::Result<()> {
    match ctx.attempt() {
        1 => durable::step("first", |_| anyhow::Ok(1)).map(|_| ()),
        _ => Ok(durable::sleep(Duration::from_millis(1))?),
    }?;
    anyhow::bail!("attempt {}", ctx.attempt())
}

/// Steps that are tried again, and what they are told.
#[task]
pub(crate) fn stubborn(ctx: &Context, failures: u32) -> anyhow::Result<(u32, bool)> {
    let mut keys = Vec::new();
    let step = Step::new("stubborn")
        .retries(5)
        .wait(Duration::from_millis(5));
    let tries = step.run(&ctx.durable(), |this| {
        keys.push(this.key());
        match this.number() {
            number if number <= failures => Err(anyhow::anyhow!("try {number}")),
            number => Ok(number),
        }
    })?;
    keys.dedup();
    Ok((tries, keys.len() == 1))
}

/// Uses its time bit by bit, with long sleeps between.
#[task(timeout = "400ms", max_retries = 0)]
pub(crate) fn doze(times: u32, busy_ms: u64) -> anyhow::Result<u32> {
    for _ in 0..times {
        durable::sleep(Duration::from_secs(3600))?;
    }
    work(busy_ms);
    Ok(times)
}

/// Works before each sleep, in a step, so that no run does it twice.
#[task(timeout = "400ms", max_retries = 0)]
pub(crate) fn toil(times: u32, busy_ms: u64) -> anyhow::Result<u32> {
    for _ in 0..times {
        durable::step("toil", |_| {
            work(busy_ms);
            anyhow::Ok(())
        })?;
        durable::sleep(Duration::from_secs(3600))?;
    }
    Ok(times)
}

/// What is wrong with a call, in words.
#[task]
pub(crate) fn odd_calls(ctx: &Context) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    let large = durable::step("large", |_| anyhow::Ok("x".repeat(2 << 20)));
    told.push(large.err().context("a large value")?.to_string());
    let durable = ctx.durable();
    let _ = durable.named("a")?.now()?;
    told.push(
        durable
            .named("a")?
            .now()
            .err()
            .context("a name twice")?
            .to_string(),
    );
    told.push(durable.branch("1st").err().context("a digit")?.to_string());
    let elsewhere = std::thread::spawn(durable::now).join();
    let elsewhere = elsewhere.ok().context("it panicked")?;
    told.push(elsewhere.err().context("another thread")?.to_string());
    let signal = durable::wait_for::<Value>("no such name", Duration::from_secs(1));
    told.push(signal.err().context("a bad signal")?.to_string());
    Ok(told)
}

/// Twenty steps and five sleeps. Each step appends its number; the sum of all.
#[task(max_retries = none, backoff = constant("1ms"))]
pub(crate) fn pilgrimage(ctx: &Context, file: PathBuf) -> anyhow::Result<u64> {
    let durable = ctx.durable().snooze_after(Duration::from_millis(50));
    let mut sum = 0;
    for number in 1..=20u64 {
        sum += durable.step(&format!("stage {number}"), |this| {
            append(&file, &format!("{number} {}", this.number()))?;
            // Long enough to be killed in.
            work(20);
            append(&file, &format!("{number} done"))?;
            anyhow::Ok(number)
        })?;
        if number % 4 == 0 {
            durable.sleep(Duration::from_millis(300))?;
        }
    }
    File::create(file.with_extension("over"))?;
    Ok(sum)
}
