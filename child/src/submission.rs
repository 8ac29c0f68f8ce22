//! Flows that a task submits, and how they have ended.
#![forbid(unsafe_code)]

use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::ask::{Ask, Became, Reply, Standing};
use bulkhead_shared::flow::{Chain, FlowError};
use bulkhead_shared::message::PAYLOAD_LIMIT;
use bulkhead_shared::time::millis;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::desk::{AskError, Patience};

/// Why a task's flow was not submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It cannot be sent as it is.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// More than a task can send.
    #[error(
        "the flow has {len} bytes as JSON, more than {PAYLOAD_LIMIT} (store the data elsewhere and pass its path or key)"
    )]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// Another job has the same unique key; nothing was changed.
    #[error(
        "job {by} in queue `{queue}` has the same unique key (wait for that job, or use another key)"
    )]
    NotUnique {
        /// The job that has it.
        by: Uuid,
        /// Its queue.
        queue: String,
    },
    /// The queue is draining: it takes nothing new until somebody opens it again.
    #[error(
        "queue `{queue}` is draining and takes no new job (`supervisor queues resume {queue}` opens it)"
    )]
    Draining {
        /// The queue.
        queue: String,
    },
    /// The supervisor did not do it: the profile may not allow it.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// Why there is no result of another job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// It has ended badly.
    #[error("job {uuid} failed: {cause}: {text}")]
    Failed {
        /// The job.
        uuid: Uuid,
        /// The cause, such as `timeout`.
        cause: String,
        /// What is known of its error.
        text: String,
    },
    /// It has not ended, and did not to the end of the wait.
    #[error("job {uuid} has not ended yet, it is {status} (wait longer)")]
    NotEnded {
        /// The job.
        uuid: Uuid,
        /// Its status.
        status: String,
    },
    /// It has ended well, and its result is taken, expired or not to be kept.
    #[error(
        "job {uuid} succeeded and its result is not kept any more (raise `result_ttl` to keep results longer)"
    )]
    NotKept {
        /// The job.
        uuid: Uuid,
    },
    /// The result is not of the type asked for.
    #[error("the result of job {uuid} is not of the type asked for (ask for a JSON value)")]
    Decode {
        /// The job.
        uuid: Uuid,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The supervisor did not tell: the profile may not allow it, or it is not the task's to know.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Context {
    /// Submits a message, a chain or a group, as a producer would, if the profile of the task allows
    /// it; returns the id of the first message, or of the group that it begins with.
    ///
    /// A flow that is known already under its id, with the same task and arguments, is no error: give
    /// a message an id that is the same in every attempt (`durable::uuid`), and it is submitted once
    /// however often the task is tried. An attempt that has lost its job submits nothing.
    ///
    /// ```
    /// use bulkhead_child::{Context, SubmitError, Uuid, task};
    ///
    /// #[task]
    /// fn add(a: i64, b: i64) -> i64 { a + b }
    ///
    /// #[task]
    /// fn plan(ctx: &Context) -> Result<Uuid, SubmitError> {
    ///     ctx.submit(add::message(2, 3).priority(1))
    /// }
    /// // Without a supervisor it goes nowhere.
    /// assert!(plan(&Context::detached("plan")).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, flow: impl Into<Chain>) -> Result<Uuid, SubmitError> {
        let ask = wish(flow.into())?;
        submitted(self.ask(ask, Patience::ToTheEnd)?)
    }

    /// [`Context::submit`] for `async fn` tasks: holds up nobody else.
    ///
    /// # Errors
    /// As [`Context::submit`].
    #[cfg(feature = "async")]
    pub async fn submit_async(&self, flow: impl Into<Chain>) -> Result<Uuid, SubmitError> {
        let ask = wish(flow.into())?;
        submitted(self.ask_async(ask).await?)
    }

    /// What a job of the own flow returned: one that this job has submitted in any of its attempts,
    /// or one of the chain or group that it is part of itself.
    ///
    /// A task that waits keeps its place: where all places wait for jobs that need one, nobody goes
    /// on. Better than to wait is a callback.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use bulkhead_child::{Context, anyhow, task};
    ///
    /// #[task]
    /// fn add(a: i64, b: i64) -> i64 { a + b }
    ///
    /// #[task]
    /// fn twice(ctx: &Context, n: i64) -> anyhow::Result<i64> {
    ///     let sum = ctx.submit(add::message(n, n))?;
    ///     Ok(ctx.result(sum).wait(Duration::from_secs(10)).get()?)
    /// }
    /// ```
    pub const fn result(&self, uuid: Uuid) -> Awaited<'_> {
        Awaited {
            context: self,
            uuid,
            wait: Duration::ZERO,
        }
    }
}

fn wish(flow: Chain) -> Result<Ask, SubmitError> {
    let flow = flow.to_json()?;
    match flow.len() {
        len if len > PAYLOAD_LIMIT => Err(SubmitError::TooLarge { len }),
        _ => Ok(Ask::Submit { flow: flow.into() }),
    }
}

fn submitted(reply: Reply) -> Result<Uuid, SubmitError> {
    let (uuid, queue, became) = match reply {
        Reply::Submitted {
            uuid,
            queue,
            became,
            ..
        } => (uuid, queue, became),
        other => return Err(AskError::of(other).into()),
    };
    match became {
        Became::New | Became::Known => Ok(Uuid::from_bytes(uuid)),
        Became::NotUnique { by } => Err(SubmitError::NotUnique {
            by: Uuid::from_bytes(by),
            queue,
        }),
        Became::Draining => Err(SubmitError::Draining { queue }),
    }
}

/// The result of a job that is about to be asked for; see [`Context::result`].
#[derive(Debug)]
#[must_use = "nobody is asked until `get`"]
pub struct Awaited<'a> {
    context: &'a Context,
    uuid: Uuid,
    wait: Duration,
}

impl Awaited<'_> {
    /// Waits so long for the job's end, and not past a request to stop.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What the job returned, read from JSON.
    ///
    /// # Errors
    /// [`ResultError`]: the job may have failed, the profile may not allow it, the task may be asked
    /// to stop while it waits.
    pub fn get<T: DeserializeOwned>(self) -> Result<T, ResultError> {
        let reply = self.context.ask(self.wish(), Patience::UntilStopped)?;
        self.given(reply)
    }

    /// [`Awaited::get`] for `async fn` tasks: holds up nobody else.
    ///
    /// # Errors
    /// As [`Awaited::get`].
    #[cfg(feature = "async")]
    pub async fn get_async<T: DeserializeOwned>(self) -> Result<T, ResultError> {
        let reply = self.context.ask_async(self.wish()).await?;
        self.given(reply)
    }

    fn wish(&self) -> Ask {
        Ask::Result {
            uuid: self.uuid.into_bytes(),
            wait_ms: millis(self.wait),
        }
    }

    fn given<T: DeserializeOwned>(self, reply: Reply) -> Result<T, ResultError> {
        let uuid = self.uuid;
        let standing = match reply {
            Reply::Standing(standing) => standing,
            other => return Err(AskError::of(other).into()),
        };
        match standing {
            Standing::Succeeded { result: Some(json) } => {
                serde_json::from_slice(&json).map_err(|source| ResultError::Decode { uuid, source })
            }
            Standing::Succeeded { result: None } => Err(ResultError::NotKept { uuid }),
            Standing::Failed { cause, text } => Err(ResultError::Failed { uuid, cause, text }),
            Standing::Open { status } => Err(ResultError::NotEnded { uuid, status }),
        }
    }
}
