//! The result pipe of a task process: everything it says goes through here, frame by frame.
//!
//! Any thread of a task may report progress, so there is a lock. A write of a frame is marked
//! for the handler of SIGABRT, which must not speak in the middle of it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_shared::codec;
use bulkhead_shared::frame::FromTask;
use serde_bytes::ByteBuf;

use crate::process::WRITING;

/// At most one progress frame in this time: a status is for people.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// The way out, shared by the runtime and the contexts it hands out.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    pipe: File,
    /// Of each call that has reported: when it last did, and what waits since. As many as run.
    calls: HashMap<u64, (Instant, Option<FromTask>)>,
}

impl Outbox {
    pub(crate) fn new(pipe: File) -> Self {
        Self(Some(Arc::new(Mutex::new(State {
            pipe,
            calls: HashMap::new(),
        }))))
    }

    /// Swallows everything.
    pub(crate) const fn nowhere() -> Self {
        Self(None)
    }

    /// Writes `bytes` as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| state.write(bytes))
    }

    /// Writes the progress of call `nonce`, or keeps it if the last one was just now.
    pub(crate) fn progress(&self, nonce: u64, details: Vec<u8>, now: Instant) -> io::Result<()> {
        self.with(|state| {
            let details = ByteBuf::from(details);
            let message = FromTask::Progress { nonce, details };
            if let Some((sent, pending)) = state.calls.get_mut(&nonce)
                && now.saturating_duration_since(*sent) < PROGRESS_INTERVAL
            {
                *pending = Some(message);
                return Ok(());
            }
            state.calls.insert(nonce, (now, None));
            state.send(&message)
        })
    }

    /// Ends call `nonce`: writes the progress that waits, then the `last` words.
    pub(crate) fn finish(&self, nonce: u64, last: &[Option<FromTask>]) -> io::Result<()> {
        self.with(|state| {
            if let Some((_, Some(progress))) = state.calls.remove(&nonce) {
                state.send(&progress)?;
            }
            last.iter().flatten().try_for_each(|word| state.send(word))
        })
    }

    fn with(&self, speak: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        match &self.0 {
            Some(state) => speak(&mut state.lock().unwrap_or_else(PoisonError::into_inner)),
            None => Ok(()),
        }
    }
}

impl State {
    fn send(&mut self, message: &FromTask) -> io::Result<()> {
        let frame = codec::encode(message).map_err(io::Error::other)?;
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _mark = WRITING.begin();
        self.pipe.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::now;
    use bulkhead_shared::frame::{Answer, ReportedUsage};
    use std::io::Read;
    use std::os::fd::OwnedFd;

    #[test]
    fn of_progress_in_quick_succession_the_first_and_the_last_are_sent() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outbox = Outbox::new(File::from(OwnedFd::from(writer)));
        let start = now();
        for step in 1..=9 {
            outbox.progress(1, vec![b'0' + step], start).unwrap();
        }
        let done = FromTask::Done {
            nonce: 1,
            answer: Answer::Returned(ByteBuf::from("null")),
            usage: ReportedUsage {
                cpu_user_us: 0,
                cpu_system_us: 0,
                max_rss_kb: None,
            },
        };
        outbox.finish(1, &[None, Some(done.clone())]).unwrap();
        outbox.progress(2, b"1".to_vec(), start).unwrap();
        drop(outbox);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let mut frames = codec::Assembler::default();
        frames.push(&bytes);
        let progress = |nonce, details: &[u8]| FromTask::Progress {
            nonce,
            details: ByteBuf::from(details),
        };
        for expected in [
            progress(1, b"1"),
            progress(1, b"9"),
            done,
            progress(2, b"1"),
        ] {
            assert_eq!(frames.next_frame().unwrap(), Some(expected));
        }
        assert_eq!(frames.pending(), 0);
    }
}
