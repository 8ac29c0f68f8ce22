//! What other threads tell the reactor.

use std::io;
use std::sync::Arc;

use bulkhead_shared::ask::Reply;
use bulkhead_shared::broker::Interrupt;
use bulkhead_shared::stream::Event;
use crossbeam::channel::{Receiver, Sender};

use crate::config::RunConfig;
use crate::job::Job;
use crate::pool::{Seat, TicketId};
use crate::services::Asker;
use crate::watch::Exceeded;

/// Something the reactor is to know.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Jobs were claimed; the epoch is of [`crate::source::Room`].
    #[expect(clippy::vec_box, reason = "each job stays in its box to its end")]
    Claimed { epoch: u32, jobs: Vec<Box<Job>> },
    /// A user has revoked a job of ours.
    Revoked(TicketId),
    /// A job is no longer ours, or may soon be somebody else's.
    Lost(TicketId),
    /// The private directory of this generation is gone, or cannot be removed.
    Cleaned(u64, io::Result<()>),
    /// Partitions are to be processed.
    #[expect(clippy::vec_box, reason = "each job stays in its box to its end")]
    Processing(Vec<Box<Job>>),
    /// What a processor is given that has asked for events.
    Events(Asker, Vec<Event>),
    /// What a task is told that has asked.
    Answer(Asker, Reply),
    /// The processes of a task have more memory together than they may.
    Exceeded(Seat, Exceeded),
    /// Nothing is left to do.
    AllDone,
    /// The configuration was read again: what can change is to change.
    Configured(Box<RunConfig>),
}

/// Sends notices and wakes the reactor.
#[derive(Debug, Clone)]
pub(crate) struct Notices {
    sender: Sender<Notice>,
    wake: Arc<Interrupt>,
}

impl Notices {
    /// The two ends, and what becomes readable when there is a notice.
    pub(crate) fn new() -> Result<(Self, Receiver<Notice>, Arc<Interrupt>), nix::Error> {
        // Bounded by the jobs and slots there are: each has at most a few notices on the way.
        let (sender, inbox) = crossbeam::channel::unbounded();
        let wake = Arc::new(Interrupt::new()?);
        Ok((
            Self {
                sender,
                wake: Arc::clone(&wake),
            },
            inbox,
            wake,
        ))
    }

    pub(crate) fn send(&self, notice: Notice) {
        // Once the reactor has ended there is nobody left to wake.
        let _ = self.sender.send(notice);
        self.wake.raise();
    }
}
