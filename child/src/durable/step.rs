//! Steps: work whose result is recorded.

use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::backoff::{Algorithm, Backoff};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::memory::{Body, Kind};
use super::suspend::{How, at_once};
use super::{Durable, DurableError, raw, value};

/// One try of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    number: u32,
    key: Uuid,
}

impl Try {
    /// Which try this is, from 1. After a crash in the middle of a step the step is run again, and
    /// cannot know how far it came.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Names the step, the same in every try and every run: for services that take such a key and
    /// do nothing twice under one.
    #[must_use]
    pub const fn key(&self) -> Uuid {
        self.key
    }
}

/// A step with a retry policy of its own.
///
/// Without one an error of its body is an error of the attempt; with one it is tried again within
/// the attempt, and waits durably between tries.
///
/// ```
/// use std::time::Duration;
/// use bulkhead_child::{Context, durable::Step, task};
///
/// #[task]
/// fn order(ctx: &Context, item: String) -> bulkhead_child::anyhow::Result<u32> {
///     let fetch = Step::new("fetch").retries(5).wait(Duration::from_secs(60));
///     fetch.run(&ctx.durable(), |this| {
///         println!("try {} under {}", this.number(), this.key());
///         Ok::<_, std::io::Error>(7)
///     })
/// }
/// assert_eq!(order(&Context::detached("order"), "tea".into()).unwrap(), 7);
/// ```
#[derive(Debug, Clone)]
pub struct Step {
    name: String,
    retries: u32,
    backoff: Backoff,
}

impl Step {
    /// A step that is tried once in each attempt.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            retries: 0,
            backoff: constant(Duration::ZERO),
        }
    }

    /// Tries it so many times more if it fails; a try that ended with its process counts as well.
    #[must_use]
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Waits so long between tries.
    #[must_use]
    pub const fn wait(self, wait: Duration) -> Self {
        self.backoff(constant(wait))
    }

    /// Waits by this rule between tries.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Runs it, unless it has returned before.
    ///
    /// # Errors
    /// What the body returned last, and [`DurableError`].
    pub fn run<T, E>(
        self,
        durable: &Durable,
        mut body: impl FnMut(&Try) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<anyhow::Error>,
    {
        let running = match at_once(durable.begin_step(&self.name, How::Wait))? {
            Begun::Returned(value) => return Ok(value),
            Begun::Runs(running) => running,
        };
        let mut running = running;
        loop {
            match running.run(durable, &mut body) {
                Ok(result) => return Ok(at_once(durable.end_step(running, result, How::Wait))?),
                Err(error) if running.body.tries > self.retries => return Err(error.into()),
                Err(_) => {
                    let wait = self.backoff.wait(running.body.tries);
                    at_once(durable.try_again(&mut running, wait, How::Wait))?;
                }
            }
        }
    }

    /// [`Step::run`] for `async fn` tasks.
    ///
    /// # Errors
    /// As [`Step::run`].
    #[cfg(feature = "async")]
    pub async fn run_async<T, E>(
        self,
        durable: &Durable,
        mut body: impl AsyncFnMut(&Try) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<anyhow::Error>,
    {
        let mut running = match durable.begin_step(&self.name, How::Await).await? {
            Begun::Returned(value) => return Ok(value),
            Begun::Runs(running) => running,
        };
        loop {
            let inner = durable.within(&running.place);
            let this = running.this(durable);
            match inner.scope(body(&this)).await {
                Ok(result) => return Ok(durable.end_step(running, result, How::Await).await?),
                Err(error) if running.body.tries > self.retries => return Err(error.into()),
                Err(_) => {
                    let wait = self.backoff.wait(running.body.tries);
                    durable.try_again(&mut running, wait, How::Await).await?;
                }
            }
        }
    }
}

const fn constant(wait: Duration) -> Backoff {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "292 million years are enough"
    )]
    let constant_ms = wait.as_millis() as u64;
    Backoff {
        algorithm: Algorithm::Constant { constant_ms },
        floor_ms: None,
        ceiling_ms: None,
        zero_override: false,
    }
}

/// A step that is being run.
#[derive(Debug)]
struct Running {
    place: String,
    body: Body,
}

impl Running {
    fn this(&self, durable: &Durable) -> Try {
        Try {
            number: self.body.tries,
            key: Uuid::new_v5(&durable.context.uuid(), self.place.as_bytes()),
        }
    }

    /// One try of it, on this thread.
    fn run<T>(&self, durable: &Durable, body: impl FnOnce(&Try) -> T) -> T {
        let _here = durable.within(&self.place).enter();
        body(&self.this(durable))
    }
}

enum Begun<T> {
    Returned(T),
    Runs(Running),
}

impl Durable {
    /// See [`step`](super::step()).
    ///
    /// # Errors
    /// What the body returns, and [`DurableError`].
    pub fn step<T, E>(
        &self,
        name: &str,
        body: impl FnOnce(&Try) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<anyhow::Error>,
    {
        match at_once(self.begin_step(name, How::Wait))? {
            Begun::Returned(value) => Ok(value),
            Begun::Runs(running) => {
                let result = running.run(self, body).map_err(Into::into)?;
                Ok(at_once(self.end_step(running, result, How::Wait))?)
            }
        }
    }

    /// [`Durable::step`] for `async fn` tasks.
    ///
    /// # Errors
    /// As [`Durable::step`].
    #[cfg(feature = "async")]
    pub async fn step_async<T, E>(
        &self,
        name: &str,
        body: impl AsyncFnOnce(&Try) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<anyhow::Error>,
    {
        match self.begin_step(name, How::Await).await? {
            Begun::Returned(value) => Ok(value),
            Begun::Runs(running) => {
                let inner = self.within(&running.place);
                let this = running.this(self);
                let result = inner.scope(body(&this)).await.map_err(Into::into)?;
                Ok(self.end_step(running, result, How::Await).await?)
            }
        }
    }

    async fn begin_step<T: DeserializeOwned>(
        &self,
        name: &str,
        how: How,
    ) -> Result<Begun<T>, DurableError> {
        let place = self.place()?;
        let mut body = Body::new(Kind::Step, Some(name));
        body.tries = 1;
        let (mut known, is_new) = self.begin(&place, body, how).await?;
        if known.body.value.is_some() {
            return value(&place, &known.body).map(Begun::Returned);
        }
        if !is_new {
            known.body.tries = known.body.tries.saturating_add(1);
            self.write(&place, known.body.clone(), how).await?;
        }
        let body = known.body;
        Ok(Begun::Runs(Running { place, body }))
    }

    async fn end_step<T: Serialize>(
        &self,
        running: Running,
        result: T,
        how: How,
    ) -> Result<T, DurableError> {
        let Running { place, mut body } = running;
        body.value = Some(raw(&place, &result)?);
        self.write(&place, body, how).await?;
        Ok(result)
    }

    async fn try_again(
        &self,
        running: &mut Running,
        wait: Duration,
        how: How,
    ) -> Result<(), DurableError> {
        let end = self.memory().clock().plus(wait);
        self.wait_until(end, None, how).await?;
        running.body.tries = running.body.tries.saturating_add(1);
        self.write(&running.place, running.body.clone(), how)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    #[test]
    fn a_branch_within_a_step_begins_anew_with_each_try() {
        let context = Context::detached("order");
        let (mut tries, mut left, mut deep) = (0, 0, 0);
        let outer = Step::new("outer").retries(1);
        let done = outer.run(&context.durable(), |this| {
            tries += 1;
            let branch = context.durable().branch("left")?;
            let branch_of_it = branch.branch("deep")?;
            branch.step("a", |_| {
                left += 1;
                anyhow::Ok(())
            })?;
            branch_of_it.step("b", |_| {
                deep += 1;
                anyhow::Ok(())
            })?;
            anyhow::ensure!(this.number() > 1, "the first try fails");
            anyhow::Ok(())
        });
        done.unwrap();
        assert_eq!((tries, left, deep), (2, 1, 1));
    }
}
