//! Where a task's calls say what they have to say, and ask what they have to ask.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bulkhead_shared::Timestamp;
use bulkhead_shared::ask::{Ask, Became, Denied, Reply, Standing};
use bulkhead_shared::flow::Chain;
use bulkhead_shared::frame::FromTask;

use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// Why the supervisor did not do what a task asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The profile of the task does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The attempt has asked too often, or too much at once.
    #[error("{0}")]
    TooMany(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be reached, or cannot do it.
    #[error("{0}")]
    Away(String),
    /// The job is somebody else's by now, or has ended.
    #[error("{0}")]
    Lost(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
    /// The task was asked to stop before there was an answer.
    #[error("stopped")]
    Stopped,
    /// The supervisor is gone, or the call this context is of has ended.
    #[error("nobody answers any more: the call has ended")]
    Over,
    /// Another answer than this release knows.
    #[error("the supervisor's answer makes no sense here (is it of another release?)")]
    Strange,
}

impl AskError {
    pub(crate) fn of(reply: Reply) -> Self {
        let Reply::Denied { why, text } = reply else {
            return Self::Strange;
        };
        match why {
            Denied::Forbidden => Self::Forbidden(text),
            Denied::TooMany => Self::TooMany(text),
            Denied::Invalid => Self::Invalid(text),
            Denied::Away => Self::Away(text),
            Denied::Lost => Self::Lost(text),
            Denied::Full => Self::Full(text),
        }
    }
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It comes soon.
    ToTheEnd,
    /// It may take long: not longer than until the call is to stop.
    UntilStopped,
}

/// Shared by the runtime and the contexts it hands out.
#[derive(Debug, Clone)]
pub(crate) enum Desk {
    /// The pipes of a process.
    Pipes {
        outbox: Outbox,
        inbox: Inbox,
        asked: Arc<AtomicU32>,
    },
    /// For tests of tasks: what is said is lost, locks are free.
    Nowhere { fences: Arc<AtomicU64> },
}

impl Desk {
    pub(crate) fn new(outbox: Outbox, inbox: Inbox) -> Self {
        let asked = Arc::default();
        Self::Pipes {
            outbox,
            inbox,
            asked,
        }
    }

    pub(crate) fn nowhere() -> Self {
        let fences = Arc::default();
        Self::Nowhere { fences }
    }

    /// Call `nonce` runs from now on.
    pub(crate) fn begin(&self, nonce: u64) {
        if let Self::Pipes { outbox, .. } = self {
            outbox.begin(nonce);
        }
    }

    /// A secret that call `nonce` was given.
    pub(crate) fn secret(&self, nonce: u64, name: &str) -> Option<Vec<u8>> {
        let Self::Pipes { inbox, .. } = self else {
            return None;
        };
        let mut secrets = inbox.extras(nonce).secrets.into_iter();
        secrets
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn progress(&self, nonce: u64, details: Vec<u8>, now: Instant) -> io::Result<()> {
        match self {
            Self::Pipes { outbox, .. } => outbox.progress(nonce, details, now),
            Self::Nowhere { .. } => Ok(()),
        }
    }

    /// Ends call `nonce` with these last words.
    pub(crate) fn finish(&self, nonce: u64, last: &[Option<FromTask>]) -> io::Result<()> {
        match self {
            Self::Pipes { outbox, inbox, .. } => {
                inbox.end_call(nonce);
                outbox.finish(nonce, last)
            }
            Self::Nowhere { .. } => Ok(()),
        }
    }

    /// Call `nonce`, a processor, has passed its events up to this position.
    pub(crate) fn pass(&self, nonce: u64, position: u64) -> io::Result<()> {
        match self {
            Self::Pipes { outbox, .. } => {
                outbox.say(nonce, &[FromTask::Passed { nonce, position }])
            }
            Self::Nowhere { .. } => Ok(()),
        }
    }

    /// Call `nonce`, a processor, makes two of a batch: what lies up to this position, and the rest.
    pub(crate) fn part(&self, nonce: u64, position: u64) -> io::Result<()> {
        match self {
            Self::Pipes { outbox, .. } => {
                outbox.say(nonce, &[FromTask::Parted { nonce, position }])
            }
            Self::Nowhere { .. } => Ok(()),
        }
    }

    pub(crate) fn ask(
        &self,
        nonce: u64,
        ask: Ask,
        is_enough: impl Fn() -> bool,
    ) -> Result<Reply, AskError> {
        let sent = self.send(nonce, None, vec![ask])?.pop();
        self.answer(nonce, sent.ok_or(AskError::Over)?, is_enough)
    }

    #[cfg(feature = "async")]
    pub(crate) async fn ask_async(&self, nonce: u64, ask: Ask) -> Result<Reply, AskError> {
        let sent = self.send(nonce, None, vec![ask])?.pop();
        let (inbox, id) = match (self, sent) {
            (Self::Pipes { inbox, .. }, Some(Sent::Pipe(id))) => (inbox, id),
            (_, Some(Sent::Answered(reply))) => return Ok(reply),
            (_, _) => return Err(AskError::Over),
        };
        let answer = std::future::poll_fn(|wakes| inbox.poll((nonce, id), wakes.waker()));
        answer.await.ok_or(AskError::Over)
    }

    /// [`Desk::pass`] and asks, in one write; their answers are to be waited for.
    pub(crate) fn send(
        &self,
        nonce: u64,
        passed: Option<u64>,
        asks: Vec<Ask>,
    ) -> Result<Vec<Sent>, AskError> {
        let (outbox, inbox, asked) = match self {
            Self::Pipes {
                outbox,
                inbox,
                asked,
            } => (outbox, inbox, asked),
            Self::Nowhere { fences } => {
                let answers = asks.iter().map(|ask| Sent::Answered(alone(ask, fences)));
                return Ok(answers.collect());
            }
        };
        let passed = passed.map(|position| FromTask::Passed { nonce, position });
        let (mut words, mut sent) = (Vec::from_iter(passed), Vec::with_capacity(asks.len()));
        for ask in asks {
            let id = asked.fetch_add(1, Ordering::Relaxed);
            inbox.expect((nonce, id));
            words.push(FromTask::Ask { nonce, id, ask });
            sent.push(id);
        }
        if outbox.say(nonce, &words).is_err() {
            sent.iter().for_each(|&id| inbox.give_up((nonce, id)));
            return Err(AskError::Over);
        }
        Ok(sent.into_iter().map(Sent::Pipe).collect())
    }

    /// Waits for the answer to what was sent.
    pub(crate) fn answer(
        &self,
        nonce: u64,
        sent: Sent,
        is_enough: impl Fn() -> bool,
    ) -> Result<Reply, AskError> {
        let (inbox, id) = match (self, sent) {
            (Self::Pipes { inbox, .. }, Sent::Pipe(id)) => (inbox, id),
            (_, Sent::Answered(reply)) => return Ok(reply),
            (Self::Nowhere { .. }, Sent::Pipe(_)) => return Err(AskError::Over),
        };
        match inbox.wait((nonce, id), &is_enough) {
            Some(reply) => Ok(reply),
            None if is_enough() => Err(AskError::Stopped),
            None => Err(AskError::Over),
        }
    }
}

/// An ask on its way.
#[derive(Debug)]
pub(crate) enum Sent {
    Pipe(u32),
    Answered(Reply),
}

/// The answer where there is nobody else.
fn alone(ask: &Ask, fences: &AtomicU64) -> Reply {
    match ask {
        Ask::Acquire { .. } => {
            let fence = fences.fetch_add(1, Ordering::Relaxed) + 1;
            Reply::Acquired { fence }
        }
        Ask::Renew { .. } | Ask::Free { .. } => Reply::Done(true),
        Ask::Record { .. } => {
            let now_ms = Timestamp::now().as_millis();
            let at_ms = now_ms;
            Reply::Written { at_ms, now_ms }
        }
        Ask::Recall { .. } => Reply::Page {
            entries: Vec::new(),
            more: false,
            now_ms: Timestamp::now().as_millis(),
        },
        Ask::Take { .. } => Reply::Signal {
            payload: None,
            now_ms: Timestamp::now().as_millis(),
        },
        Ask::Events { .. } => Reply::Events(Vec::new()),
        Ask::Submit { flow } => match Chain::from_json(flow).and_then(Chain::build) {
            Ok(flow) => Reply::Submitted {
                uuid: flow.uuid().into_bytes(),
                queue: String::new(),
                became: Became::New,
                messages: 1,
            },
            Err(error) => Reply::denied(Denied::Invalid, error.to_string()),
        },
        Ask::Result { .. } => Reply::Standing(Standing::Open {
            status: "UNKNOWN".into(),
        }),
    }
}
