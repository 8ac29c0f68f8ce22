//! Attacks on the supervisor's ears.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, task};
use bulkhead_shared::ask::Ask;
use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{Answer, Failure, FromTask, ReportedUsage};
use nix::unistd::{dup, pause, pipe, read, write};
use serde_json::Value;

use crate::sys;

pub(crate) fn say(mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[write(sys::results(), bytes)?..];
    }
    Ok(())
}

/// Learns the secret number of its call: lets the runtime report into a pipe of its own.
pub(crate) fn nonce(ctx: &Context) -> anyhow::Result<u64> {
    let results: OwnedFd = dup(sys::results())?;
    let (reader, writer) = pipe()?;
    sys::replace_results(&writer);
    let reported = ctx.progress(Value::Null);
    sys::replace_results(&results);
    reported?;
    let mut buffer = [0; 256];
    let len = read(reader.as_fd(), &mut buffer)?;
    let mut frames = Assembler::default();
    frames.push(&buffer[..len]);
    match frames.next_frame()? {
        Some(FromTask::Progress { nonce, .. }) => Ok(nonce),
        other => anyhow::bail!("no progress but {other:?}"),
    }
}

pub(crate) fn done(nonce: u64, result: &str) -> anyhow::Result<Vec<u8>> {
    let usage = ReportedUsage {
        cpu_user_us: u64::MAX,
        cpu_system_us: u64::MAX,
        max_rss_kb: Some(u64::MAX),
    };
    let answer = Answer::Returned(result.as_bytes().to_vec().into());
    let done = FromTask::Done {
        nonce,
        answer,
        usage,
    };
    Ok(codec::encode(&done)?)
}

/// Answers, says so twice more, and returns something else.
#[task]
pub(crate) fn answer_twice(ctx: &Context) -> anyhow::Result<String> {
    let nonce = nonce(ctx)?;
    say(&done(nonce, r#""first""#)?)?;
    say(&done(nonce, r#""second""#)?)?;
    Ok("third".into())
}

/// Answers for a call that is not its own.
#[task]
pub(crate) fn forge(ctx: &Context) -> anyhow::Result<()> {
    let other = nonce(ctx)?.wrapping_add(1);
    say(&done(other, r#""forged""#)?).context("nobody listens")
}

/// Announces a frame of `len` bytes, and sends that many or as many as anybody reads.
#[task]
pub(crate) fn long_frame(len: u32) -> anyhow::Result<()> {
    say(&len.to_le_bytes())?;
    let part = [0; 1 << 16];
    let mut left = usize::try_from(len)?;
    while left > 0 {
        say(&part[..left.min(part.len())])?;
        left = left.saturating_sub(part.len());
    }
    Ok(())
}

/// Reports `kilobytes` of progress past the library, `times` over.
#[task]
pub(crate) fn long_progress(ctx: &Context, kilobytes: usize, times: u32) -> anyhow::Result<u32> {
    let nonce = nonce(ctx)?;
    let text = format!("\"{}\"", "x".repeat((kilobytes << 10) - 2));
    let details = text.into_bytes().into();
    let frame = codec::encode(&FromTask::Progress { nonce, details })?;
    for _ in 0..times {
        say(&frame)?;
    }
    Ok(times)
}

/// Fails past the library with `bytes` of what grows most when it is written as JSON.
#[task]
pub(crate) fn long_failure(ctx: &Context, bytes: usize) -> anyhow::Result<()> {
    let text = "\0".repeat(bytes);
    let failure = Failure {
        name: text.clone(),
        text: text.clone(),
        traceback: Some(text),
        is_final: true,
    };
    let done = FromTask::Done {
        nonce: nonce(ctx)?,
        answer: Answer::Failed(failure),
        usage: ReportedUsage {
            cpu_user_us: 0,
            cpu_system_us: 0,
            max_rss_kb: None,
        },
    };
    say(&codec::encode(&done)?)
}

/// Says `times` that its sandbox could not be set up.
#[task]
pub(crate) fn unfit(times: u32) -> anyhow::Result<()> {
    let unfit = FromTask::SetupFailed {
        step: "enter the sandbox".into(),
        errno: 1,
    };
    let frame = codec::encode(&unfit)?;
    for _ in 0..times {
        say(&frame)?;
    }
    Ok(())
}

/// Closes the pipe its answer belongs into, and waits for ever.
#[task]
pub(crate) fn close_results() -> ! {
    sys::close_results();
    loop {
        pause();
    }
}

fn ask(nonce: u64, id: u32, lock: &str, wait_ms: u64) -> anyhow::Result<Vec<u8>> {
    let ask = Ask::Acquire {
        lock: lock.into(),
        ttl_ms: None,
        wait_ms,
    };
    Ok(codec::encode(&FromTask::Ask { nonce, id, ask })?)
}

/// Asks `times` for a lock, reads no answer, and waits for a stop.
#[task]
pub(crate) fn flood_of_asks(ctx: &Context, times: u32, lock: String) -> anyhow::Result<()> {
    let nonce = nonce(ctx)?;
    for id in 0..times {
        say(&ask(nonce, id, &lock, 0)?)?;
    }
    Ok(ctx.sleep(std::time::Duration::from_secs(3600))?)
}

/// Asks for a lock that somebody holds, and returns without waiting for the answer.
#[task]
pub(crate) fn ask_and_go(ctx: &Context, lock: String) -> anyhow::Result<()> {
    let nonce = nonce(ctx)?;
    for id in 0..16 {
        say(&ask(nonce, id, &lock, 3_600_000)?)?;
    }
    Ok(())
}

/// Asks in the name of another call.
#[task]
pub(crate) fn ask_for_another(ctx: &Context) -> anyhow::Result<()> {
    let other = nonce(ctx)?.wrapping_add(1);
    say(&ask(other, 0, "till", 0)?)?;
    Ok(ctx.sleep(std::time::Duration::from_secs(3600))?)
}

/// What asks are told that cannot be: the texts.
#[task]
pub(crate) fn odd_asks(ctx: &Context) -> Vec<String> {
    let names = ["", "\u{0}", &"x".repeat(1 << 20), "a b"];
    let told = names
        .into_iter()
        .map(|name| match ctx.lock(name).acquire() {
            Ok(held) => format!("fence {}", held.fence()),
            Err(error) => error.to_string(),
        });
    told.collect()
}

/// Takes a lock from each of `threads` threads at once, again and again; how often it was had.
#[task]
pub(crate) fn crowd(ctx: &Context, threads: u32, times: u32) -> anyhow::Result<u32> {
    let turns = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let turns = &turns;
            scope.spawn(move || {
                for _ in 0..times {
                    let lock = ctx.lock(&format!("crowd/{thread}"));
                    if lock.acquire().is_ok_and(|held| held.release().is_ok()) {
                        turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Ok(turns.into_inner())
}
