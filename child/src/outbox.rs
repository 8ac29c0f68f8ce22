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
pub(crate) struct Outbox(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    pipe: File,
    /// Of each call that runs: when it last reported progress, and what waits since. A call that
    /// has ended says nothing more: a thread it left behind may still try.
    calls: HashMap<u64, Spoken>,
}

#[derive(Debug, Default)]
struct Spoken {
    last: Option<Instant>,
    pending: Option<FromTask>,
}

impl Outbox {
    pub(crate) fn new(pipe: File) -> Self {
        Self(Arc::new(Mutex::new(State {
            pipe,
            calls: HashMap::new(),
        })))
    }

    /// Writes `bytes` as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| state.write(bytes))
    }

    /// Call `nonce` runs from now on.
    pub(crate) fn begin(&self, nonce: u64) {
        let _ = self.with(|state| {
            state.calls.insert(nonce, Spoken::default());
            Ok(())
        });
    }

    /// Says this for call `nonce`, in one write.
    pub(crate) fn say(&self, nonce: u64, words: &[FromTask]) -> io::Result<()> {
        self.with(|state| match state.calls.contains_key(&nonce) {
            true => state.send_all(words),
            false => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Writes the progress of call `nonce`, or keeps it if the last one was just now.
    pub(crate) fn progress(&self, nonce: u64, details: Vec<u8>, now: Instant) -> io::Result<()> {
        self.with(|state| {
            let Some(spoken) = state.calls.get_mut(&nonce) else {
                return Ok(());
            };
            let details = ByteBuf::from(details);
            let message = FromTask::Progress { nonce, details };
            let since = spoken.last.map(|last| now.saturating_duration_since(last));
            if since.is_some_and(|since| since < PROGRESS_INTERVAL) {
                spoken.pending = Some(message);
                return Ok(());
            }
            spoken.last = Some(now);
            spoken.pending = None;
            state.send(&message)
        })
    }

    /// Ends call `nonce`: writes the progress that waits, then the `last` words.
    pub(crate) fn finish(&self, nonce: u64, last: &[Option<FromTask>]) -> io::Result<()> {
        self.with(|state| {
            if let Some(progress) = state.calls.remove(&nonce).and_then(|spoken| spoken.pending) {
                state.send(&progress)?;
            }
            last.iter().flatten().try_for_each(|word| state.send(word))
        })
    }

    fn with(&self, speak: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        speak(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn send(&mut self, message: &FromTask) -> io::Result<()> {
        self.send_all(std::slice::from_ref(message))
    }

    fn send_all(&mut self, messages: &[FromTask]) -> io::Result<()> {
        let frames: Result<Vec<_>, _> = messages.iter().map(codec::encode).collect();
        self.write(&frames.map_err(io::Error::other)?.concat())
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
        outbox.begin(1);
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
        outbox.begin(2);
        outbox.progress(2, b"1".to_vec(), start).unwrap();
        // Of a thread that the first call left behind.
        outbox.progress(1, b"2".to_vec(), start).unwrap();
        let passed = FromTask::Passed {
            nonce: 1,
            position: 1,
        };
        assert!(outbox.say(1, &[passed]).is_err());
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
