//! Processors: functions that are given the events of one partition, in order.
//!
//! An event counts as passed when the function asks for the next one, or returns without an error.
//! What is in its hands when it fails, panics or dies is not; neither is what was read ahead.
#![forbid(unsafe_code)]

mod events;
mod feed;
mod middleware;

use std::fmt;
use std::sync::Arc;

use bulkhead_shared::frame::Failure;
use bulkhead_shared::stream::{
    ExceptionPolicy, ProcessorSpec, Stream, StreamError, StreamSpec, decode,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::Reply;
use crate::context::Context;
use crate::panics;

pub use events::{Batches, Events};
use feed::Feed;
pub use middleware::Middleware;

/// What `#[processor]` writes down beside what every task has. `None` is the supervisor's default.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Processor {
    pub stream: fn() -> Result<StreamSpec, StreamError>,
    pub exception_policy: ExceptionPolicy,
    pub prefetch: Option<u32>,
    pub lock_expiry_ms: Option<u64>,
    pub grace_period_ms: Option<u64>,
    pub join_delay_ms: Option<u64>,
    pub middleware: &'static [&'static dyn Middleware],
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("exception_policy", &self.exception_policy)
            .finish_non_exhaustive()
    }
}

impl Processor {
    /// What supervisors are told.
    pub(crate) fn spec(&self) -> Result<ProcessorSpec, StreamError> {
        let spec = ProcessorSpec {
            stream: (self.stream)()?,
            exception_policy: self.exception_policy,
            prefetch: self.prefetch,
            lock_expiry_ms: self.lock_expiry_ms,
            grace_period_ms: self.grace_period_ms,
            join_delay_ms: self.join_delay_ms,
        };
        spec.check()?;
        Ok(spec)
    }
}

/// The partition that a call processes: its payload.
#[doc(hidden)]
#[derive(Clone, Debug, Deserialize)]
pub struct Assignment {
    stream: String,
    partition: u16,
}

impl Assignment {
    pub(crate) fn read(processor: &str, payload: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(payload).map_err(|_| {
            refused(format!(
                "`{processor}` is a processor: it is given the events of its stream, not messages (send a record to the stream)"
            ))
        })
    }
}

fn refused(text: String) -> Failure {
    Failure {
        name: "arguments".into(),
        text,
        traceback: None,
        is_final: true,
    }
}

/// One call of a processor: from the partition it is for to its end.
///
/// # Errors
/// Its failure, or that of an event that it could not be given.
#[doc(hidden)]
pub fn process<T: DeserializeOwned>(
    processor: &'static Processor,
    stream: fn() -> Stream<T>,
    (context, assignment): (&Context, &Assignment),
    function: impl FnOnce(Events<T>) -> Reply,
) -> Reply {
    let spec = stream()
        .spec()
        .map_err(|error| refused(error.to_string()))?;
    if spec.name.as_str() != assignment.stream {
        let text = format!(
            "`{}` processes stream `{}`, not `{}`",
            context.task(),
            spec.name,
            assignment.stream
        );
        return Err(refused(text));
    }
    let feed = Arc::new(Feed::new(processor, context.clone(), assignment.clone()));
    let events = Events::new(Arc::clone(&feed), |event| decode(&event.fields));
    let reply = panics::catch(|| function(events));
    feed.finish(reply)
}

#[cfg(test)]
mod tests;
