//! One call of a task's function: the place that all mechanisms share.
#![forbid(unsafe_code)]

use bulkhead_shared::frame::{Answer, Failure, FromTask, ReportedUsage, Run};
use bulkhead_shared::message::Header;
use serde_bytes::ByteBuf;

use crate::answer::Reply;
use crate::arguments::Given;
use crate::context::{Context, Stop, now as clock};
use crate::outbox::Outbox;
use crate::panics;
#[cfg(feature = "async")]
use crate::registry::Future;
use crate::registry::{Definition, Function, Registry};

/// Longest text and traceback of a failure, in bytes: they are stored with the verdict.
const TEXT_LIMIT: usize = 64 << 10;

/// Calls the task of `run` on this thread.
pub(crate) fn now(registry: &Registry, run: &Run, outbox: &Outbox, stop: Stop) -> Reply {
    let (definition, context) = prepare(registry, run, outbox, stop)?;
    panics::catch(|| {
        let given = Given::bind(definition, &run.payload)?;
        definition.call.now(context, given)
    })
}

impl Function {
    /// Calls it on this thread, to the end.
    pub(crate) fn now(self, context: Context, given: Given<'_>) -> Reply {
        match self {
            Self::Sync(call) => call(&context, given),
            #[cfg(feature = "async")]
            Self::Async(call) => runtime()?.block_on(call(context, given)?),
        }
    }
}

/// Begins to call the task of `run`: its function runs when the future is polled.
#[cfg(feature = "async")]
pub(crate) fn later(
    registry: &Registry,
    run: &Run,
    outbox: &Outbox,
    stop: Stop,
) -> Result<Future, Failure> {
    let (definition, context) = prepare(registry, run, outbox, stop)?;
    panics::catch(|| {
        let given = Given::bind(definition, &run.payload)?;
        match definition.call {
            Function::Sync(call) => {
                let reply = call(&context, given);
                Ok(Box::pin(std::future::ready(reply)) as Future)
            }
            Function::Async(call) => call(context, given),
        }
    })
}

/// A runtime that lives on one thread.
#[cfg(feature = "async")]
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure("sandbox", format!("asynchronous runtime: {error}"), false))
}

fn prepare(
    registry: &Registry,
    run: &Run,
    outbox: &Outbox,
    stop: Stop,
) -> Result<(&'static Definition, Context), Failure> {
    let Some(task) = registry.find(&run.task) else {
        let text = format!("task `{}` is unknown to this child", run.task);
        return Err(failure("unknown-task", text, true));
    };
    let header: Header = serde_json::from_slice(&run.header)
        .map_err(|error| failure("header", format!("message header: {error}"), true))?;
    let context = Context::new(run, header, clock(), outbox.clone(), stop);
    Ok((task.definition(), context))
}

/// The last word about a call.
pub(crate) fn done(nonce: u64, reply: Reply, usage: ReportedUsage) -> FromTask {
    let answer = match reply {
        Ok(bytes) => Answer::Returned(ByteBuf::from(bytes)),
        Err(failure) => Answer::Failed(shortened(failure)),
    };
    FromTask::Done {
        nonce,
        answer,
        usage,
    }
}

pub(crate) fn failure(name: &str, text: String, is_final: bool) -> Failure {
    Failure {
        name: name.into(),
        text,
        traceback: None,
        is_final,
    }
}

fn shortened(mut failure: Failure) -> Failure {
    for text in [Some(&mut failure.text), failure.traceback.as_mut()]
        .into_iter()
        .flatten()
    {
        if text.len() > TEXT_LIMIT {
            text.truncate(text.floor_char_boundary(TEXT_LIMIT));
            text.push_str("... (cut)");
        }
    }
    failure
}
