//! The job pipe of a task process: jobs for its runtime, answers for those who have asked.
//!
//! While a process runs one job, nobody reads the pipe but whoever waits for an answer: of several
//! threads that wait, one reads for all. In a group a thread of its own does.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
#[cfg(feature = "async")]
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use bulkhead_shared::ask::Reply;
use bulkhead_shared::codec::{self, Assembler, FrameError};
use bulkhead_shared::frame::ToTask;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process;

/// What is read at once: most frames. Each page more is a page fault in a fresh process.
const READ_SIZE: usize = 2 << 10;

/// What is read at once after there was more than that: what a pipe holds.
const READ_SIZE_MOST: usize = 64 << 10;

/// Longest stretch of a wait for an answer: between two, the reader makes way for others.
const STRETCH_MS: u8 = 50;

#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    #[error("pipe broke: {0}")]
    Pipe(#[from] io::Error),
    #[error("job pipe: {0}")]
    Frame(#[from] FrameError),
    #[error("job pipe ends inside a frame")]
    Cut,
}

/// Which ask of which call.
type Key = (u64, u32);

/// The way in, shared by the runtime and the contexts it hands out.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reader: Mutex<Reader>,
    asks: Mutex<HashMap<Key, Wait>>,
    /// What calls were given beside their jobs.
    extras: Mutex<HashMap<u64, Extras>>,
    news: Condvar,
    /// A thread reads all the time.
    is_read: AtomicBool,
}

#[derive(Debug)]
struct Reader {
    pipe: File,
    /// For long frames; empty until there was one.
    buffer: Vec<u8>,
    frames: Assembler,
    /// What was read by one who waited for something else.
    early: VecDeque<ToTask>,
}

/// What a call is given before its job.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    pub(crate) secrets: Vec<(String, Vec<u8>)>,
    /// A command that is to be run instead of a function: JSON.
    pub(crate) command: Option<Vec<u8>>,
    /// Resource limits of its own: number, soft, hard.
    pub(crate) limits: Vec<(u32, u64, u64)>,
}

impl std::fmt::Debug for Extras {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secrets.
        let names: Vec<_> = self.secrets.iter().map(|(name, _)| name).collect();
        f.debug_struct("Extras")
            .field("secrets", &names)
            .finish_non_exhaustive()
    }
}

/// An ask without an answer, or with one that was not fetched yet.
#[derive(Debug)]
enum Wait {
    Open(Option<Waker>),
    Answered(Reply),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole after every single operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    pub(crate) fn new(pipe: File) -> Self {
        Self(Arc::new(Shared {
            reader: Mutex::new(Reader {
                pipe,
                buffer: Vec::new(),
                frames: Assembler::up_to(codec::RUN_LIMIT),
                early: VecDeque::new(),
            }),
            asks: Mutex::default(),
            extras: Mutex::default(),
            news: Condvar::new(),
            is_read: AtomicBool::new(false),
        }))
    }

    /// Whether something is there to be read, or the pipe has ended.
    pub(crate) fn has_input(&self) -> io::Result<bool> {
        locked(&self.0.reader).has_input(PollTimeout::ZERO)
    }

    /// From now on a thread reads all the time.
    pub(crate) fn is_read_from_now_on(&self) {
        self.0.is_read.store(true, Ordering::Relaxed);
    }

    /// The next message that is no answer; `None` at the end of the pipe, which is also a SIGTERM
    /// that finds no job.
    pub(crate) fn receive(&self) -> Result<Option<ToTask>, InboxError> {
        let mut reader = locked(&self.0.reader);
        loop {
            if let Some(message) = reader.early.pop_front() {
                return Ok(Some(message));
            }
            if self.sort(&mut reader)? {
                continue;
            }
            let is_between = reader.frames.pending() == 0;
            match reader.read() {
                Ok(0) if is_between => return Ok(None),
                Ok(0) => return Err(InboxError::Cut),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    // A job that is there already was sent before the stop: it gets its answer.
                    // A group goes on: each of its calls sees the request to stop for itself.
                    let is_group = self.0.is_read.load(Ordering::Relaxed);
                    let is_over = is_between && process::is_stopping() && !is_group;
                    if is_over && !reader.has_input(PollTimeout::ZERO)? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a frame that is there to whom it belongs; whether there was one.
    fn sort(&self, reader: &mut Reader) -> Result<bool, FrameError> {
        match reader.frames.next_frame()? {
            Some(ToTask::Reply { nonce, id, reply }) => self.deliver((nonce, id), reply),
            Some(ToTask::Secret { nonce, name, value }) => {
                let value = value.into_vec();
                self.extra(nonce, |extras| extras.secrets.push((name, value)));
            }
            Some(ToTask::Command { nonce, spec }) => {
                self.extra(nonce, |extras| extras.command = Some(spec.into_vec()));
            }
            Some(ToTask::Limits { nonce, limits }) => {
                self.extra(nonce, |extras| extras.limits = limits);
            }
            Some(other) => reader.early.push_back(other),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&self, nonce: u64, add: impl FnOnce(&mut Extras)) {
        add(locked(&self.0.extras).entry(nonce).or_default());
    }

    /// What a call was given beside its job.
    pub(crate) fn extras(&self, nonce: u64) -> Extras {
        locked(&self.0.extras)
            .get(&nonce)
            .cloned()
            .unwrap_or_default()
    }

    fn deliver(&self, key: Key, reply: Reply) {
        // Nobody waits any more if the call has ended, or was to stop.
        if let Some(wait) = locked(&self.0.asks).get_mut(&key) {
            let before = std::mem::replace(wait, Wait::Answered(reply));
            if let Wait::Open(Some(waker)) = before {
                waker.wake();
            }
        }
        self.0.news.notify_all();
    }

    /// Says that the answer to an ask is waited for; call it before it is sent.
    pub(crate) fn expect(&self, key: Key) {
        locked(&self.0.asks).insert(key, Wait::Open(None));
    }

    /// The answer is of no interest any more.
    pub(crate) fn give_up(&self, key: Key) {
        locked(&self.0.asks).remove(&key);
    }

    /// Nobody answers the asks of a call that has ended.
    pub(crate) fn end_call(&self, nonce: u64) {
        locked(&self.0.extras).remove(&nonce);
        let mut asks = locked(&self.0.asks);
        let before = asks.len();
        asks.retain(|key, _| key.0 != nonce);
        // Mostly nobody waits for anything.
        if asks.len() < before {
            self.0.news.notify_all();
        }
    }

    /// Waits for an answer; `None` if the call has ended, the pipe has, or `is_enough` says so.
    pub(crate) fn wait(&self, key: Key, is_enough: impl Fn() -> bool) -> Option<Reply> {
        loop {
            if let Some(reply) = self.take(key)? {
                return Some(reply);
            }
            if is_enough() {
                self.give_up(key);
                return None;
            }
            let stretch = Duration::from_millis(STRETCH_MS.into());
            if self.0.is_read.load(Ordering::Relaxed) {
                self.sleep(key, stretch);
                continue;
            }
            match self.0.reader.try_lock() {
                Ok(reader) => self.read_for_all(reader, key)?,
                Err(TryLockError::Poisoned(broken)) => {
                    self.read_for_all(broken.into_inner(), key)?
                }
                Err(TryLockError::WouldBlock) => self.sleep(key, stretch),
            }
        }
    }

    /// Looks for an answer without waiting. Where nobody reads the pipe, waits for it after all.
    #[cfg(feature = "async")]
    pub(crate) fn poll(&self, key: Key, waker: &Waker) -> Poll<Option<Reply>> {
        if !self.0.is_read.load(Ordering::Relaxed) {
            return Poll::Ready(self.wait(key, || false));
        }
        match locked(&self.0.asks).get_mut(&key) {
            None => return Poll::Ready(None),
            Some(wait @ Wait::Open(_)) => {
                *wait = Wait::Open(Some(waker.clone()));
                return Poll::Pending;
            }
            Some(Wait::Answered(_)) => {}
        }
        Poll::Ready(self.take(key).flatten())
    }

    /// The answer, if it is there; `None` if nobody waits for it any more.
    fn take(&self, key: Key) -> Option<Option<Reply>> {
        let mut asks = locked(&self.0.asks);
        match asks.remove(&key)? {
            Wait::Answered(reply) => Some(Some(reply)),
            open @ Wait::Open(_) => {
                asks.insert(key, open);
                Some(None)
            }
        }
    }

    /// Waits for another thread to read something.
    fn sleep(&self, key: Key, stretch: Duration) {
        let asks = locked(&self.0.asks);
        if matches!(asks.get(&key), Some(Wait::Open(_))) {
            let _ = self.0.news.wait_timeout(asks, stretch);
        }
    }

    /// Reads for a stretch; `None` if the pipe has nothing more to say, ever.
    fn read_for_all(&self, mut reader: MutexGuard<'_, Reader>, key: Key) -> Option<()> {
        let is_answered = || !matches!(locked(&self.0.asks).get(&key), Some(Wait::Open(_)));
        // Another reader may have brought the answer just before it made way.
        if is_answered() {
            return Some(());
        }
        if reader.has_input(PollTimeout::from(STRETCH_MS)).ok()? {
            // What is wrong with the pipe the runtime will find out, when it reads.
            match reader.read() {
                Ok(0) => return None,
                Ok(_) => while self.sort(&mut reader).ok()? {},
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        drop(reader);
        // Somebody else may have to read on.
        self.0.news.notify_all();
        Some(())
    }
}

impl Reader {
    fn read(&mut self) -> io::Result<usize> {
        let mut small = [0; READ_SIZE];
        let buffer = match self.buffer.as_mut_slice() {
            [] => &mut small,
            large => large,
        };
        let len = self.pipe.read(buffer)?;
        self.frames.push(&buffer[..len]);
        if len == READ_SIZE && self.buffer.is_empty() {
            self.buffer = vec![0; READ_SIZE_MOST];
        }
        Ok(len)
    }

    fn has_input(&self, within: PollTimeout) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, within) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
