//! How a call waits: for an answer, for a time, or without its process.

use std::any::Any;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
#[cfg(feature = "async")]
use std::sync::Arc;
use std::task::{Context as Wakes, Poll, Waker};
use std::time::Duration;

use bulkhead_shared::Timestamp;

use super::Durable;
use super::error::DurableError;
use super::memory::Sleep;
#[cfg(feature = "async")]
use crate::answer::Reply;
#[cfg(feature = "async")]
use crate::context::Context;

/// How this call waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It holds up its thread.
    Wait,
    /// It lets others run.
    #[cfg(feature = "async")]
    Await,
}

/// The result of a future that holds up its thread where it waits.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut wakes = Wakes::from_waker(Waker::noop());
    match future.as_mut().poll(&mut wakes) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("it holds up its thread where it waits"),
    }
}

/// Unwinds a thread whose job is to sleep.
struct Suspension;

/// Whether an unwinding is no panic, but a job that is to sleep.
pub(crate) fn is_suspension(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Suspension>()
}

impl Durable {
    /// Waits until `end`, or until the signal: in the process if that is soon.
    pub(super) async fn wait_until(
        &self,
        end: Timestamp,
        signal: Option<&str>,
        how: How,
    ) -> Result<(), DurableError> {
        loop {
            let left = end.since(self.memory().clock());
            if left.is_zero() {
                return Ok(());
            }
            if self.context.is_detached() {
                self.memory().skip(left);
            } else if left > self.snooze_after {
                self.suspend(end, signal, how).await?;
            } else {
                self.pass(left, how).await?;
            }
        }
    }

    async fn pass(&self, left: Duration, how: How) -> Result<(), DurableError> {
        match how {
            How::Wait => self.context.sleep(left)?,
            #[cfg(feature = "async")]
            How::Await => self.context.sleep_async(left).await,
        }
        Ok(())
    }

    /// Ends this run: the job sleeps. Where there is no supervisor the time passes at once.
    pub(super) async fn suspend(
        &self,
        until: Timestamp,
        signal: Option<&str>,
        how: How,
    ) -> Result<(), DurableError> {
        if self.context.is_detached() {
            self.memory().skip(until.since(self.memory().clock()));
            return Ok(());
        }
        if cfg!(panic = "abort") && how == How::Wait {
            return Err(DurableError::NoUnwinding);
        }
        let signal = signal.map(Into::into);
        self.memory().fall_asleep(Sleep { until, signal });
        Err(self.leave(how).await)
    }

    /// Goes no further: the run is over.
    pub(super) async fn leave(&self, how: How) -> DurableError {
        match how {
            How::Wait => resume_unwind(Box::new(Suspension)),
            // Whoever polls this sees that the job is to sleep, and drops it.
            #[cfg(feature = "async")]
            How::Await => std::future::pending().await,
        }
    }

    /// Runs a part of the task as within `self`, wherever it is polled.
    #[cfg(feature = "async")]
    pub(super) async fn scope<T>(&self, part: impl Future<Output = T>) -> T {
        let mut part = pin!(part);
        std::future::poll_fn(|wakes| {
            let _here = self.enter();
            part.as_mut().poll(wakes)
        })
        .await
    }
}

/// A task's future, which ends also when the job is to sleep.
#[cfg(feature = "async")]
pub(crate) async fn until_asleep(context: Arc<Context>, future: crate::registry::Future) -> Reply {
    let mut future = future;
    std::future::poll_fn(|wakes| {
        let _here = super::enter(&context);
        let polled = future.as_mut().poll(wakes);
        match context.memory().sleep() {
            // What it would return is not asked for.
            Some(_) => Poll::Ready(Ok(Vec::new())),
            None => polled,
        }
    })
    .await
}
