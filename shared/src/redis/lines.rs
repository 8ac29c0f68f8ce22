//! Connections for the next call. Each call has one to itself; one that failed is not used again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::Value;

use super::address::Address;
use super::call::Call;
use super::clock::Clock;
use super::foreign;
use super::line::Line;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::name::QueueName;
use crate::time::since_boot;

/// Connections kept for the next caller; more are made when more call at once.
const KEPT: usize = 8;

/// A connection that was idle for so long may have been closed by the server, or by what lies
/// between; it is asked before it is used.
const FRESH: Duration = Duration::from_secs(5);

/// Connections of one kind to one store.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) address: Address,
    pub(super) place: String,
    idle: Mutex<Vec<(Line, Duration)>>,
    /// Queues that this process has told the store of, since it connected last.
    told: Mutex<HashSet<QueueName>>,
    /// The server's.
    pub(super) clock: Clock,
}

impl Lines {
    pub(super) fn new(address: Address) -> Self {
        Self {
            place: address.show(),
            address,
            idle: Mutex::default(),
            told: Mutex::default(),
            clock: Clock::default(),
        }
    }

    /// Runs all of it in one round trip; once.
    pub(super) fn run(&self, calls: &[Call]) -> Result<Vec<Value>, BrokerError> {
        self.attempt(calls)
            .map_err(|trouble| trouble.translate(&self.place))
    }

    /// Runs what may be run twice: a second time if the connection breaks.
    pub(super) fn run_again(&self, calls: &[Call]) -> Result<Vec<Value>, BrokerError> {
        match self.attempt(calls) {
            Err(Trouble::Broken(_)) => self.run(calls),
            done => done.map_err(|trouble| trouble.translate(&self.place)),
        }
    }

    /// As [`Self::run`], in our own words.
    pub(super) fn attempt(&self, calls: &[Call]) -> Result<Vec<Value>, Trouble> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut tags = calls.iter().map(Call::tag).filter(|tag| !tag.is_empty());
        self.with(tags.next().unwrap_or_default(), |line| line.run(calls))
    }

    /// Does something on one connection, mostly with keys that begin with `tag`.
    pub(super) fn with<T>(
        &self,
        tag: &str,
        work: impl FnOnce(&mut Line) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut line = self.take()?;
        let mut done = work(&mut line);
        if let Err(Trouble::Answer(error)) = &done
            && error.code() == Some("WRONGTYPE")
        {
            done = Err(Trouble::Foreign(foreign::find(&mut line, tag)));
        }
        // Also a server that says no is left: it may be a replica now, or know the password no more.
        if matches!(done, Ok(_) | Err(Trouble::Foreign(_))) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT {
                idle.push((line, since_boot()));
            }
        } else {
            // The others are no better if the server is gone.
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        done
    }

    fn take(&self) -> Result<Line, Trouble> {
        loop {
            let kept = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some((mut line, since)) = kept else {
                break;
            };
            let is_fresh = since_boot().saturating_sub(since) < FRESH;
            if is_fresh || line.run(&[Call::plain(&[b"PING"])]).is_ok() {
                return Ok(line);
            }
        }
        // The store may be another now, or empty: it is told again of all queues.
        self.tell_anew();
        self.clock.forget();
        Line::open(&self.address)
    }

    /// The store knows nothing of what it was told.
    pub(super) fn tell_anew(&self) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Those of `queues` that the store has not been told of.
    pub(super) fn untold<'a>(
        &self,
        queues: impl Iterator<Item = &'a QueueName>,
    ) -> Vec<&'a QueueName> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        queues.filter(|queue| !told.contains(*queue)).collect()
    }

    /// Remembers that the store has been told of them.
    pub(super) fn have_told(&self, queues: &[&QueueName]) {
        if !queues.is_empty() {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.extend(queues.iter().copied().cloned());
        }
    }
}
