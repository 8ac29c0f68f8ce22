//! What a running task may know and say about its job.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bulkhead_shared::ask::{Ask, Reply};
use bulkhead_shared::frame::Run;
use bulkhead_shared::hook::HookKind;
use bulkhead_shared::message::Header;
use bulkhead_shared::time::millis;
use bulkhead_shared::units::LONGEST;
use bulkhead_shared::{Timestamp, Uuid};
use nix::poll::{PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::desk::{AskError, Desk, Patience, Sent};
use crate::durable::Memory;
use crate::lock::Lock;
use crate::process;
use crate::state::State;

/// Largest progress details, in bytes of JSON: they are stored with the job's status.
pub(crate) const PROGRESS_LIMIT: usize = 64 << 10;

/// Longest stretch of a sleep: a stop that arrives between a look at the flag and the wait is
/// noticed this much later.
const STRETCH: Duration = Duration::from_millis(50);

/// Why progress was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// Too many bytes.
    #[error("progress details have {len} bytes, more than {limit} (report less)")]
    TooLarge {
        /// Their length as JSON.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// No JSON.
    #[error("progress details cannot be written as JSON")]
    NotJson(#[source] serde_json::Error),
}

/// A secret that a task was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "task `{task}` was given no secret `{name}` (in the supervisor's configuration file: [secret.{name}] with tasks = [\"{task}\"])"
)]
pub struct UnknownSecret {
    name: String,
    task: String,
}

/// The task was asked to stop: SIGTERM at its deadline, at a revocation or at a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// The job a task runs for. A task that wants it takes `&Context` first.
///
/// ```
/// use bulkhead_child::{Context, task};
///
/// #[task]
/// fn count(ctx: &Context, to: u32) -> Option<u32> {
///     (1..=to).take_while(|_| !ctx.is_stopping()).last()
/// }
/// // In a test, a context without a supervisor stands in.
/// assert_eq!(count(&Context::detached("count"), 3), Some(3));
/// ```
#[derive(Clone)]
pub struct Context {
    nonce: u64,
    uuid: Uuid,
    task: String,
    queue: String,
    attempt: u32,
    fence: u64,
    timeout: Timeout,
    header: Header,
    previous: Option<Vec<u8>>,
    desk: Desk,
    state: Arc<State>,
    memory: Arc<Memory>,
    stop: Stop,
}

/// A wish that one call stops. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a call is to end. Clones move with it.
#[derive(Debug, Clone)]
struct Timeout {
    length: Duration,
    began: Instant,
    /// How much later than that it began anew, in milliseconds.
    moved_ms: Arc<AtomicU64>,
}

impl Timeout {
    fn new(length_ms: u64, now: Instant) -> Self {
        Self {
            length: Duration::from_millis(length_ms).min(LONGEST),
            began: now,
            moved_ms: Arc::default(),
        }
    }

    fn restart(&self, now: Instant) {
        let moved = millis(now.saturating_duration_since(self.began));
        self.moved_ms.store(moved, Ordering::Relaxed);
    }

    fn end(&self) -> Instant {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        self.began + moved + self.length
    }
}

impl Context {
    /// For the job of `run`, which begins `now`.
    pub(crate) fn new(run: &Run, header: Header, now: Instant, desk: Desk, stop: Stop) -> Self {
        Self {
            nonce: run.nonce,
            uuid: Uuid::from_bytes(run.uuid),
            task: run.task.clone(),
            queue: run.queue.clone(),
            attempt: run.attempt,
            fence: run.fence,
            timeout: Timeout::new(run.timeout_ms, now),
            header,
            previous: None,
            desk,
            state: Arc::default(),
            memory: Arc::default(),
            stop,
        }
    }

    /// With what the job before this one returned, as JSON.
    pub(crate) fn with_previous(mut self, previous: Option<Vec<u8>>) -> Self {
        self.previous = previous;
        self
    }

    /// A context without a supervisor, for tests of tasks: first attempt, no deadline worth
    /// the name, progress goes nowhere.
    #[must_use]
    pub fn detached(task: &str) -> Self {
        let run = Run {
            nonce: 0,
            uuid: [0; 16],
            task: task.into(),
            queue: "default".into(),
            attempt: 1,
            fence: 1,
            timeout_ms: u64::MAX,
            memory: None,
            header: serde_bytes::ByteBuf::new(),
            payload: serde_bytes::ByteBuf::new(),
        };
        Self::new(
            &run,
            empty_header(),
            now(),
            Desk::nowhere(),
            Stop::default(),
        )
    }

    /// [`Context::detached`] of a job that is a hook.
    #[cfg(test)]
    pub(crate) fn detached_hook(task: &str, hook: HookKind) -> Self {
        let mut context = Self::detached(task);
        context.header.hook = Some(hook);
        context
    }

    /// The job's id.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The name of the task.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The queue the job came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Grows with every attempt of the job: a store that refuses writes under a lower number
    /// than it has seen is safe from attempts that were given up.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// When the message was built.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.header.created_at
    }

    /// The message's own data, if it has some.
    ///
    /// # Errors
    /// It is no `T`.
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let raw = self.header.metadata.as_ref();
        raw.map(|raw| serde_json::from_str(raw.get())).transpose()
    }

    /// What the message before this one returned, if there was one. A join gets a list: what the
    /// members of its group returned, in their order.
    ///
    /// # Errors
    /// It is no `T`.
    pub fn previous_result<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let bytes = self.previous.as_deref();
        bytes.map(serde_json::from_slice).transpose()
    }

    /// The message before this one, or the group, if there was one.
    #[must_use]
    pub const fn previous_message_uuid(&self) -> Option<Uuid> {
        self.header.previous_message_uuid
    }

    /// The first message of the line this one descends from, if it descends from one.
    #[must_use]
    pub const fn progenitor_uuid(&self) -> Option<Uuid> {
        self.header.progenitor_uuid
    }

    /// The hook that this job runs instead of its task, if it does.
    pub(crate) const fn hook(&self) -> Option<HookKind> {
        self.header.hook
    }

    /// What this attempt's hooks and function keep for each other.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When SIGTERM comes; SIGKILL follows after the patience. Of a processor that is the deadline of
    /// the event, or the batch, in hand.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.timeout.end()
    }

    /// Time left until the deadline; zero after it.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(now())
    }

    /// Whether the task was asked to stop, by SIGTERM or, in a thread group, by a message to this
    /// call alone. It should return soon, with an error if its work is not done.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_asked() || process::is_stopping()
    }

    /// Waits without holding up the runtime: for `async fn` tasks. There is no need to ask whether
    /// to stop: a call that is to stop is dropped where it awaits.
    #[cfg(feature = "async")]
    pub async fn sleep_async(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits, but not past a request to stop.
    ///
    /// # Errors
    /// [`Stopped`] if there was one.
    pub fn sleep(&self, duration: Duration) -> Result<(), Stopped> {
        let start = now();
        loop {
            if self.is_stopping() {
                return Err(Stopped);
            }
            let left = duration.saturating_sub(now().saturating_duration_since(start));
            if left.is_zero() {
                return Ok(());
            }
            // A millisecond more than left, for poll counts whole ones and cuts the rest.
            let stretch = left.saturating_add(Duration::from_millis(1)).min(STRETCH);
            let timeout = PollTimeout::try_from(stretch).unwrap_or(PollTimeout::ZERO);
            // An interrupted wait is a reason to look at the flag, like any other end of it.
            let _ = poll(&mut [], timeout);
        }
    }

    /// Shows `details` (any JSON, at most 64 KiB) in the job's status.
    ///
    /// At most one report in 50 ms leaves the process: within that time the latest one is kept
    /// and goes out with the next call after it, or at the task's end.
    ///
    /// # Errors
    /// [`ProgressError`]; the task may go on regardless.
    pub fn progress(&self, details: impl Serialize) -> Result<(), ProgressError> {
        let details = serde_json::to_vec(&details).map_err(ProgressError::NotJson)?;
        if details.len() > PROGRESS_LIMIT {
            return Err(ProgressError::TooLarge {
                len: details.len(),
                limit: PROGRESS_LIMIT,
            });
        }
        // A broken pipe means that the supervisor is gone, and this process will be soon.
        let _ = self.desk.progress(self.nonce, details, now());
        Ok(())
    }
}

impl Context {
    /// The lock `name` of the store, owned by this attempt: it is free when the attempt has ended,
    /// whichever way.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bulkhead_child::{Context, LockError, task};
    ///
    /// #[task]
    /// fn book(ctx: &Context, amount: i64) -> Result<u64, LockError> {
    ///     let till = ctx.lock("till").wait(Duration::from_secs(5)).acquire()?;
    ///     // ... write `amount` along with `till.fence()`, while nobody else does.
    ///     Ok(till.fence())
    /// }
    /// // Without a supervisor every lock is free.
    /// assert!(book(&Context::detached("book"), 3).is_ok());
    /// ```
    pub fn lock(&self, name: &str) -> Lock<'_> {
        Lock::new(self, name)
    }

    /// What it knows of the job's journal.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether there is no supervisor.
    pub(crate) const fn is_detached(&self) -> bool {
        matches!(self.desk, Desk::Nowhere { .. })
    }

    pub(crate) fn is_same_call(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// A secret that the supervisor was told to give to this task: its bytes as they stand in the file
    /// or variable, without a line break at the end.
    ///
    /// It came through the pipe of this process alone: it is in no message, environment or argument.
    ///
    /// # Errors
    /// [`UnknownSecret`] if the task was not given one of that name, and without a supervisor.
    ///
    /// ```no_run
    /// use bulkhead_child::{Context, UnknownSecret, task};
    ///
    /// #[task]
    /// fn pay(ctx: &Context, amount: u64) -> Result<(), UnknownSecret> {
    ///     let key = ctx.secret("payment-key")?;
    ///     // ... sign with it, and let no log have it.
    ///     Ok(())
    /// }
    /// ```
    pub fn secret(&self, name: &str) -> Result<Vec<u8>, UnknownSecret> {
        let unknown = || UnknownSecret {
            name: name.into(),
            task: self.task.clone(),
        };
        self.desk.secret(self.nonce, name).ok_or_else(unknown)
    }

    /// Asks the supervisor, and waits for its answer.
    pub(crate) fn ask(&self, ask: Ask, patience: Patience) -> Result<Reply, AskError> {
        let is_enough = || patience == Patience::UntilStopped && self.is_stopping();
        self.desk.ask(self.nonce, ask, is_enough)
    }

    /// Says that a processor has passed its events up to this position, if there is one.
    pub(crate) fn pass(&self, position: Option<u64>) {
        if let Some(position) = position {
            // A broken pipe means that the supervisor is gone, and this process will be soon.
            let _ = self.desk.pass(self.nonce, position);
        }
    }

    /// Says that a processor's batch ends here, and the rest of it is another one.
    pub(crate) fn part(&self, position: u64) {
        // As above.
        let _ = self.desk.part(self.nonce, position);
    }

    /// [`Context::pass`], and asks for more, without waiting for it.
    pub(crate) fn ask_for_events(
        &self,
        passed: Option<u64>,
        asks: Vec<Ask>,
    ) -> Result<Vec<Sent>, AskError> {
        self.desk.send(self.nonce, passed, asks)
    }

    /// Waits for what was asked for.
    pub(crate) fn events(&self, sent: Sent) -> Result<Reply, AskError> {
        self.desk.answer(self.nonce, sent, || self.is_stopping())
    }

    /// The timeout begins anew: with every event of a processor.
    pub(crate) fn restart_timeout(&self) {
        self.timeout.restart(now());
    }

    /// Asks the supervisor, and awaits its answer.
    #[cfg(feature = "async")]
    pub(crate) async fn ask_async(&self, ask: Ask) -> Result<Reply, AskError> {
        self.desk.ask_async(self.nonce, ask).await
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("uuid", &self.uuid)
            .field("task", &self.task)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

fn empty_header() -> Header {
    serde_json::from_str(r#"{"v":1,"created_at":0}"#).expect("these are the required keys")
}

/// Reads the clock: a task's process is an edge.
pub(crate) fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the process of a task measures itself"
    )]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_over_the_limit_is_refused_with_both_numbers() {
        let error = Context::detached("t")
            .progress("x".repeat(PROGRESS_LIMIT))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "progress details have 65538 bytes, more than 65536 (report less)"
        );
    }

    #[test]
    fn a_sleep_lasts_at_least_as_long_as_asked() {
        let start = now();
        let asked = Duration::from_millis(3);
        Context::detached("t").sleep(asked).unwrap();
        assert!(now() - start >= asked);
    }
}
