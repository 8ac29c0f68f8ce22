//! One call of a task's function: the place that all mechanisms share.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use bulkhead_shared::frame::{Answer, Declined, Failure, FromTask, ReportedUsage, Run};
use bulkhead_shared::message::Header;
use serde_bytes::ByteBuf;

use crate::answer::Reply;
use crate::arguments::Given;
use crate::context::{Context, Stop, now as clock};
use crate::desk::Desk;
use crate::durable::{self, Sleep};
use crate::hooks;
#[cfg(feature = "async")]
use crate::panics;
#[cfg(feature = "async")]
use crate::registry::Future;
use crate::registry::{Definition, Function, Registry};

/// How a call ended, and what its task does not want to follow.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reply: Reply,
    declined: Option<Declined>,
    /// It has not ended: it sleeps.
    sleep: Option<Sleep>,
}

impl From<Failure> for Ended {
    /// One that never got to its task.
    fn from(failure: Failure) -> Self {
        Err(failure).into()
    }
}

impl From<Reply> for Ended {
    /// One whose task wants what usually follows.
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            declined: None,
            sleep: None,
        }
    }
}

/// A call that is ready to be made.
#[derive(Debug)]
pub(crate) struct Call {
    definition: &'static Definition,
    context: Arc<Context>,
}

impl Call {
    /// Asks the task what is to follow.
    pub(crate) fn ended(&self, reply: Reply) -> Ended {
        let sleep = self.context.memory().sleep();
        let declined = match sleep {
            Some(_) => None,
            None => hooks::declined(&self.definition.hooks, &self.context, &reply),
        };
        Ended {
            reply,
            declined,
            sleep,
        }
    }
}

/// Calls the task of `run` on this thread.
pub(crate) fn now(registry: &Registry, run: &Run, desk: &Desk, stop: Stop) -> Ended {
    match prepare(registry, run, desk, stop) {
        Ok((call, arguments)) => {
            let _here = durable::enter(&call.context);
            let reply = hooks::call(call.definition, &call.context, &arguments);
            call.ended(reply)
        }
        Err(failure) => failure.into(),
    }
}

impl Function {
    /// Calls it on this thread, to the end.
    pub(crate) fn now(self, context: &Context, given: Given<'_>) -> Reply {
        match self {
            Self::Sync(call) => call(context, given),
            Self::Processor(_) => {
                let text = "a processor takes events, not arguments".into();
                Err(failure("arguments", text, true))
            }
            #[cfg(feature = "async")]
            Self::Async(call) => {
                let future = call(context.clone(), given)?;
                runtime()?.block_on(durable::until_asleep(Arc::new(context.clone()), future))
            }
        }
    }
}

/// Begins to call the task of `run`: its function runs when the future is polled.
#[cfg(feature = "async")]
pub(crate) fn later(
    registry: &Registry,
    run: &Run,
    desk: &Desk,
    stop: Stop,
) -> Result<(Future, Call), Failure> {
    let (call, arguments) = prepare(registry, run, desk, stop)?;
    let future = {
        let _here = durable::enter(&call.context);
        panics::catch(|| hooks::begin(call.definition, &call.context, &arguments))
    };
    let future = match future {
        Ok(future) => durable::until_asleep(Arc::clone(&call.context), future),
        // It may have been made to sleep before its first await.
        Err(failure) => {
            let ended = std::future::ready(Err(failure));
            durable::until_asleep(Arc::clone(&call.context), Box::pin(ended))
        }
    };
    Ok((Box::pin(future), call))
}

/// A runtime that lives on one thread.
#[cfg(feature = "async")]
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure("sandbox", format!("asynchronous runtime: {error}"), false))
}

fn prepare<'a>(
    registry: &Registry,
    run: &'a Run,
    desk: &Desk,
    stop: Stop,
) -> Result<(Call, Cow<'a, [u8]>), Failure> {
    let Some(task) = registry.find(&run.task) else {
        let text = format!("task `{}` is unknown to this child", run.task);
        return Err(failure("unknown-task", text, true));
    };
    let header: Header = serde_json::from_slice(&run.header)
        .map_err(|error| failure("header", format!("message header: {error}"), true))?;
    let (arguments, previous) = header.split(&run.payload);
    let previous = previous.map(<[u8]>::to_vec);
    let arguments = header.encoding.unwrap_or_default().to_json(arguments);
    let arguments = arguments.map_err(|error| failure("arguments", error.to_string(), true))?;
    desk.begin(run.nonce);
    let context = Context::new(run, header.clone(), clock(), desk.clone(), stop);
    let call = Call {
        definition: task.definition(),
        context: Arc::new(context.with_previous(previous)),
    };
    Ok((call, arguments))
}

/// The last words about a call.
pub(crate) fn done(nonce: u64, ended: Ended, usage: ReportedUsage) -> [Option<FromTask>; 2] {
    let declined = ended.declined;
    let answer = match ended.reply {
        _ if let Some(Sleep { until, signal }) = ended.sleep => Answer::Snoozed {
            until_ms: until.as_millis(),
            signal,
        },
        Ok(bytes) => Answer::Returned(ByteBuf::from(bytes)),
        Err(failure) => Answer::Failed(failure.shortened()),
    };
    let done = FromTask::Done {
        nonce,
        answer,
        usage,
    };
    [
        declined.map(|what| FromTask::Declined { nonce, what }),
        Some(done),
    ]
}

pub(crate) fn failure(name: &str, text: String, is_final: bool) -> Failure {
    Failure {
        name: name.into(),
        text,
        traceback: None,
        is_final,
    }
}
