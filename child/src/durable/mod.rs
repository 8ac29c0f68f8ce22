//! Time, steps and waits that survive the process.
//!
//! The first call of each invocation is recorded in the store before it returns. When the job runs
//! again, after a crash, a kill, a lost lease, a retry or a long sleep, the same invocation gives
//! the same value, and no step that has returned is run again.
//!
//! **The one rule**: what is outside a step must do the same in every run. Calls are told apart by
//! their place in the task's sequence of durable calls; a task whose sequence has changed gets an
//! error that names both calls.
//!
//! ```
//! use std::time::Duration;
//! use bulkhead_child::{Context, durable, task};
//!
//! #[task]
//! fn welcome(mail: String) -> bulkhead_child::anyhow::Result<()> {
//!     durable::step("first mail", |_| send(&mail, "welcome"))?;
//!     durable::sleep(Duration::from_secs(3 * 24 * 3600))?;
//!     durable::step("second mail", |_| send(&mail, "how do you like it?"))?;
//!     Ok(())
//! }
//! # fn send(_: &str, _: &str) -> Result<(), std::io::Error> { Ok(()) }
//! ```
//!
//! The free functions of this module are for the thread a task was started on, and for `async fn`
//! tasks. To other threads hand [`Durable::branch`].
#![forbid(unsafe_code)]

#[cfg(feature = "async")]
mod asynchronous;
mod error;
mod memory;
mod names;
mod step;
mod suspend;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::ask::{Ask, ENTRY_LIMIT, Reply};
use bulkhead_shared::time::millis;
use bulkhead_shared::units::LONGEST;
use bulkhead_shared::{Timestamp, Uuid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use error::DurableError;
use memory::{Body, Kind, Known};
pub(crate) use memory::{Memory, Sleep};
pub use step::{Step, Try};
pub(crate) use suspend::is_suspension;
#[cfg(feature = "async")]
pub(crate) use suspend::until_asleep;
use suspend::{How, at_once};

use crate::context::Context;
use crate::desk::{AskError, Patience};

/// A sleep longer than this ends the process, unless the task says otherwise.
const SNOOZE_AFTER: Duration = Duration::from_secs(5);

thread_local! {
    /// The task that runs on this thread, and the step of it.
    static HERE: RefCell<Option<Durable>> = const { RefCell::new(None) };
}

/// Has this thread say later which task runs on it without a first time.
pub(crate) fn prepare() {
    HERE.with(|here| drop(here.borrow()));
}

/// Says which task runs on this thread, until the answer is dropped.
pub(crate) fn enter(context: &Arc<Context>) -> Entered {
    Durable::outermost(Arc::clone(context)).enter()
}

/// See [`enter`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Entered(Option<Durable>);

impl Drop for Entered {
    fn drop(&mut self) {
        // A task's own destructors may have been run with the thread's.
        let _ = HERE.try_with(|here| here.replace(self.0.take()));
    }
}

/// The durable calls of the task on this thread.
///
/// # Errors
/// [`DurableError::NoCall`] if none runs here.
pub fn here() -> Result<Durable, DurableError> {
    HERE.with_borrow(Clone::clone).ok_or(DurableError::NoCall)
}

/// The time of day, the same in every run.
///
/// # Errors
/// [`DurableError`].
pub fn now() -> Result<Timestamp, DurableError> {
    here()?.now()
}

/// [`now`], in seconds since 1970.
///
/// # Errors
/// [`DurableError`].
pub fn time() -> Result<f64, DurableError> {
    here()?.time()
}

/// Sleeps until so long after this call was first made. A sleep of more than five seconds ends the
/// process: the job waits without one, no attempt is counted, and its task is run from the start
/// with what was recorded when the time has come.
///
/// # Errors
/// [`DurableError`]; [`DurableError::Stopped`] if the task was asked to stop.
pub fn sleep(length: Duration) -> Result<(), DurableError> {
    here()?.sleep(length)
}

/// A number that is the same in every run.
///
/// # Errors
/// [`DurableError`].
pub fn random() -> Result<u64, DurableError> {
    here()?.random()
}

/// A uuid that is the same in every run.
///
/// # Errors
/// [`DurableError`].
pub fn uuid() -> Result<Uuid, DurableError> {
    here()?.uuid()
}

/// Runs `body` once and records what it returns; see [`Step`].
///
/// # Errors
/// What the body returns, and [`DurableError`].
pub fn step<T, E>(name: &str, body: impl FnOnce(&Try) -> Result<T, E>) -> anyhow::Result<T>
where
    T: Serialize + DeserializeOwned,
    E: Into<anyhow::Error>,
{
    here()?.step(name, body)
}

/// Sleeps until `supervisor signal UUID NAME`, or a client, sends the signal; `None` if it has not
/// come `within` that time, counted from when this call was first made. A signal that was sent
/// before is there; each is given to one call.
///
/// # Errors
/// [`DurableError`].
pub fn wait_for<T: DeserializeOwned>(
    signal: &str,
    within: Duration,
) -> Result<Option<T>, DurableError> {
    here()?.wait_for(signal, within)
}

/// The durable calls of one task; see the [module](self).
#[derive(Debug, Clone)]
pub struct Durable {
    context: Arc<Context>,
    /// What places and names begin with.
    scope: String,
    /// The one name of the next call.
    name: Option<String>,
    snooze_after: Duration,
}

impl Context {
    /// The durable calls of this task, or of the step of it that runs on this thread; see
    /// [`crate::durable`].
    #[must_use]
    pub fn durable(&self) -> Durable {
        let here = HERE.with_borrow(Clone::clone);
        here.filter(|here| here.context.is_same_call(self))
            .unwrap_or_else(|| Durable::outermost(Arc::new(self.clone())))
    }
}

impl Durable {
    const fn outermost(context: Arc<Context>) -> Self {
        Self {
            context,
            scope: String::new(),
            name: None,
            snooze_after: SNOOZE_AFTER,
        }
    }

    /// The calls within a step: they are told apart by their place in it.
    fn within(&self, place: &str) -> Self {
        let scope = format!("{place}/");
        // Each try begins at the first of them.
        self.memory().begin_again(&scope);
        Self {
            scope,
            name: None,
            ..self.clone()
        }
    }

    fn enter(&self) -> Entered {
        Entered(HERE.replace(Some(self.clone())))
    }

    /// A sequence of its own, for another thread or a part of the work that may come in any order.
    ///
    /// # Errors
    /// [`DurableError::Name`], [`DurableError::NamedTwice`].
    pub fn branch(&self, name: &str) -> Result<Self, DurableError> {
        let name = self.context.memory().name(self.named_as(name)?)?;
        Ok(Self {
            scope: format!("{name}/"),
            name: None,
            ..self.clone()
        })
    }

    /// Tells the next call apart by a name instead of its place.
    ///
    /// # Errors
    /// [`DurableError::Name`].
    pub fn named(&self, name: &str) -> Result<Self, DurableError> {
        Ok(Self {
            name: Some(self.named_as(name)?),
            ..self.clone()
        })
    }

    /// Sleeps up to this long are waited for in the process. Five seconds unless it is said.
    #[must_use]
    pub const fn snooze_after(mut self, length: Duration) -> Self {
        self.snooze_after = length;
        self
    }

    /// See [`now()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn now(&self) -> Result<Timestamp, DurableError> {
        at_once(self.tell_time(How::Wait))
    }

    /// See [`time()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn time(&self) -> Result<f64, DurableError> {
        self.now().map(seconds)
    }

    /// See [`sleep()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn sleep(&self, length: Duration) -> Result<(), DurableError> {
        at_once(self.rest(length, How::Wait))
    }

    /// See [`random()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn random(&self) -> Result<u64, DurableError> {
        at_once(self.draw(Kind::Random, drawn_number, How::Wait))
    }

    /// See [`uuid()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn uuid(&self) -> Result<Uuid, DurableError> {
        at_once(self.draw(Kind::Uuid, Uuid::new_v4, How::Wait))
    }

    /// See [`wait_for()`].
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn wait_for<T: DeserializeOwned>(
        &self,
        signal: &str,
        within: Duration,
    ) -> Result<Option<T>, DurableError> {
        at_once(self.await_signal(signal, within, How::Wait))
    }

    async fn tell_time(&self, how: How) -> Result<Timestamp, DurableError> {
        let body = Body::new(Kind::Now, None);
        self.once(body, how).await.map(|(_, known)| known.at)
    }

    async fn draw<T>(&self, kind: Kind, draw: fn() -> T, how: How) -> Result<T, DurableError>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut body = Body::new(kind, None);
        body.value = Some(raw("", &draw())?);
        let (place, known) = self.once(body, how).await?;
        value(&place, &known.body)
    }

    async fn rest(&self, length: Duration, how: How) -> Result<(), DurableError> {
        let mut body = Body::new(Kind::Sleep, None);
        body.ms = Some(millis(length.min(LONGEST)));
        let (_, known) = self.once(body, how).await?;
        let length = Duration::from_millis(known.body.ms.unwrap_or(0));
        self.wait_until(known.at.plus(length), None, how).await
    }

    async fn await_signal<T: DeserializeOwned>(
        &self,
        signal: &str,
        within: Duration,
        how: How,
    ) -> Result<Option<T>, DurableError> {
        let mut body = Body::new(Kind::Wait, Some(signal));
        body.ms = Some(millis(within.min(LONGEST)));
        let (place, mut known) = self.once(body, how).await?;
        while known.body.value.is_none() && !known.body.late {
            let ask = Ask::Take {
                name: signal.into(),
                by: place.clone(),
            };
            let (payload, now) = match self.ask(ask, how).await? {
                Reply::Signal { payload, now_ms } => (payload, now_ms),
                other => return Err(AskError::of(other).into()),
            };
            self.memory().set_clock(Timestamp::from_millis(now));
            let length = Duration::from_millis(known.body.ms.unwrap_or(0));
            let end = known.at.plus(length);
            if let Some(payload) = payload {
                let text = String::from_utf8_lossy(&payload).into_owned();
                known.body.value = Some(RawValue::from_string(text).map_err(|source| {
                    let place = place.clone();
                    DurableError::Type { place, source }
                })?);
            } else if self.memory().clock() >= end {
                known.body.late = true;
            } else {
                self.suspend(end, Some(signal), how).await?;
                continue;
            }
            self.write(&place, known.body.clone(), how).await?;
        }
        match known.body.value {
            Some(_) => value(&place, &known.body).map(Some),
            None => Ok(None),
        }
    }

    /// The entry of this call, recorded if it is not there.
    async fn once(&self, body: Body, how: How) -> Result<(String, Known), DurableError> {
        let place = self.place()?;
        let found = self.begin(&place, body, how).await?;
        Ok((place, found.0))
    }

    /// The entry at a place, and whether it was recorded just now.
    async fn begin(
        &self,
        place: &str,
        body: Body,
        how: How,
    ) -> Result<(Known, bool), DurableError> {
        if self.memory().sleep().is_some() {
            // Another thread has said that the job is to sleep.
            return Err(self.leave(how).await);
        }
        loop {
            if let Some(known) = self.memory().find(place, &body)? {
                return Ok((known, false));
            }
            if let Some(at) = self.write(place, body.clone(), how).await? {
                return Ok((Known { at, body }, true));
            }
            self.read_all(how).await?;
        }
    }

    /// Records an entry, and says when its place was first recorded; nothing is recorded if there
    /// is a journal that this call does not know.
    async fn write(
        &self,
        place: &str,
        body: Body,
        how: How,
    ) -> Result<Option<Timestamp>, DurableError> {
        let bytes = serde_json::to_vec(&body).map_err(|source| DurableError::NotJson {
            place: place.into(),
            source,
        })?;
        if bytes.len() > ENTRY_LIMIT {
            return Err(DurableError::TooLarge {
                place: place.into(),
                len: bytes.len(),
            });
        }
        let ask = Ask::Record {
            key: place.into(),
            body: bytes.into(),
            is_first: !self.memory().is_known(),
        };
        match self.ask(ask, how).await? {
            Reply::Behind => Ok(None),
            Reply::Written { at_ms, now_ms } => {
                let at = Timestamp::from_millis(at_ms);
                self.memory().know_all();
                self.memory().set_clock(Timestamp::from_millis(now_ms));
                self.memory().keep(place, at, body);
                Ok(Some(at))
            }
            other => Err(AskError::of(other).into()),
        }
    }

    async fn read_all(&self, how: How) -> Result<(), DurableError> {
        let mut after = 0;
        loop {
            match self.ask(Ask::Recall { after }, how).await? {
                Reply::Page {
                    entries,
                    more,
                    now_ms,
                } => {
                    after += u32::try_from(entries.len()).unwrap_or(u32::MAX);
                    self.memory().learn(entries);
                    self.memory().set_clock(Timestamp::from_millis(now_ms));
                    if !more {
                        self.memory().know_all();
                        return Ok(());
                    }
                }
                other => return Err(AskError::of(other).into()),
            }
        }
    }

    async fn ask(&self, ask: Ask, how: How) -> Result<Reply, AskError> {
        match how {
            How::Wait => self.context.ask(ask, Patience::ToTheEnd),
            #[cfg(feature = "async")]
            How::Await => self.context.ask_async(ask).await,
        }
    }

    fn memory(&self) -> &Memory {
        self.context.memory()
    }
}

fn drawn_number() -> u64 {
    Uuid::new_v4().as_u64_pair().1 ^ Uuid::new_v4().as_u64_pair().0
}

fn seconds(at: Timestamp) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this age have 41 bits"
    )]
    let ms = at.as_millis() as f64;
    ms / 1000.0
}

fn raw(place: &str, value: &impl Serialize) -> Result<Box<RawValue>, DurableError> {
    serde_json::value::to_raw_value(value).map_err(|source| DurableError::NotJson {
        place: place.into(),
        source,
    })
}

/// What a call has recorded, as the type it is wanted as.
fn value<T: DeserializeOwned>(place: &str, body: &Body) -> Result<T, DurableError> {
    let text = body.value.as_deref().map_or("null", RawValue::get);
    serde_json::from_str(text).map_err(|source| DurableError::Type {
        place: place.into(),
        source,
    })
}
