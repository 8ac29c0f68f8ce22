use std::convert::Infallible;
use std::time::Duration;

use uuid::Uuid;

use crate::broker::BrokerError;
use crate::flow::FlowError;
use crate::message::MessageError;
use crate::name::QueueName;
use crate::status::JobStatus;
use crate::units::show_duration;

/// Why the [`Client`](super::Client) could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A schedule could not be made or changed.
    #[error(transparent)]
    Schedule(#[from] super::ScheduleError),
    /// The signal cannot be sent as it is.
    #[error("the signal cannot be sent: {reason}")]
    Signal {
        /// What is wrong with it.
        reason: String,
    },
    /// The message cannot be sent as it is.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The queue has had a job with this uuid; nothing was changed.
    #[error("queue `{queue}` knows job {uuid} already (leave the uuid out, or ask for its status)")]
    Known {
        /// The job.
        uuid: Uuid,
        /// Its queue.
        queue: QueueName,
    },
    /// The queue is draining: it takes nothing new until somebody opens it again.
    #[error(
        "queue `{queue}` is draining and takes no new job; {uuid} was not stored (`supervisor queues resume {queue}` opens it)"
    )]
    Draining {
        /// The job.
        uuid: Uuid,
        /// The queue.
        queue: QueueName,
    },
    /// The same job is named twice.
    #[error("job {uuid} is named twice (name each job once)")]
    Twice {
        /// The job.
        uuid: Uuid,
    },
    /// What the store holds of a job cannot be read.
    #[error("the message of job {uuid} cannot be read (a later release may have written it)")]
    Damaged {
        /// The job.
        uuid: Uuid,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The flow cannot be sent, or read, as it is.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// Another job has the same unique key; nothing was changed.
    #[error(
        "job {by} in queue `{queue}` has the same unique key (wait for that job, or use another key)"
    )]
    NotUnique {
        /// The job that has it.
        by: Uuid,
        /// Its queue.
        queue: QueueName,
    },
    /// Some messages are stored, the others are not.
    #[error("only the first {stored} messages are stored")]
    Partly {
        /// How many were taken before the store failed.
        stored: usize,
        /// Why it failed.
        #[source]
        source: BrokerError,
    },
    /// Nobody knows the job.
    #[error(
        "job {uuid} is not known (check the uuid, the store and the namespace; jobs are forgotten some time after their end)"
    )]
    NotFound {
        /// The job.
        uuid: Uuid,
    },
    /// The job has ended badly.
    #[error("job {} failed{}", _0.uuid, failure(_0))]
    Failed(Box<JobStatus>),
    /// The job has not ended, and no wait was asked for.
    #[error("job {} has not ended yet, it is {} (give it time to wait)", _0.uuid, _0.status)]
    NotEnded(Box<JobStatus>),
    /// The job does not wait, so it cannot be changed.
    #[error("job {} is {}: only a job that waits can be changed", _0.uuid, _0.status)]
    NotWaiting(Box<JobStatus>),
    /// Others change the job all the time.
    #[error("job {uuid} was changed by others again and again; nothing was changed (try it later)")]
    Contended {
        /// The job.
        uuid: Uuid,
    },
    /// The job has ended otherwise and will not reach what was waited for.
    #[error("job {} has ended as {} and will not be what was waited for", _0.uuid, _0.status)]
    EndedOtherwise(Box<JobStatus>),
    /// The wait was too long. The jobs go on.
    #[error(
        "still waiting after {} for {} of the jobs, the first is {} (wait longer; they go on)",
        show_duration(*within), waiting.len(), waiting.first().copied().unwrap_or_default()
    )]
    TimedOut {
        /// The jobs that were waited for to the end.
        waiting: Vec<Uuid>,
        /// How long.
        within: Duration,
    },
    /// The caller has interrupted the wait. The jobs go on.
    #[error("the wait was interrupted (the jobs go on)")]
    Interrupted {
        /// The jobs that were still waited for.
        waiting: Vec<Uuid>,
    },
    /// The job succeeded, and its result is not there: taken, expired, or not to be kept.
    #[error(
        "job {uuid} succeeded and its result is not kept any more (raise `result_ttl` to keep results longer)"
    )]
    NoResult {
        /// The job.
        uuid: Uuid,
    },
    /// The result is not of the type asked for.
    #[error("the result of job {uuid} is not of the type asked for (ask for its bytes)")]
    Decode {
        /// The job.
        uuid: Uuid,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] BrokerError),
}

impl From<Infallible> for ClientError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn failure(job: &JobStatus) -> String {
    let mut text = String::new();
    if let Some(cause) = job.cause {
        text.push_str(&format!(": {cause}"));
    }
    if let Some(error) = &job.error {
        text.push_str(&format!(": {}", error.text));
    }
    text
}
