//! One turn at the store: what was passed since the last one, and what is to be read next.

use std::time::{Duration, Instant};

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::stream::keep::{Step, Streams};
use bulkhead_shared::time::Now;
use tracing::{error, warn};

use super::{Duty, Partition};

/// Between two turns that only say how far calls have come, at the least.
const SAY_APART: Duration = Duration::from_millis(1);

impl Duty {
    /// Tells the store what is new and reads what is wanted. Returns whether there was anything.
    pub(in crate::streams) fn step(
        &mut self,
        streams: &dyn Streams,
        now: Instant,
    ) -> Result<bool, BrokerError> {
        let error = match self.step_of(streams, None, now) {
            Err(error) if !error.is_transient() => error,
            done => return done,
        };
        // It is the fault of one of them, and the others go on.
        let (mut was_busy, mut blamed) = (false, 0);
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        for partition in partitions {
            match self.step_of(streams, Some(partition), now) {
                Ok(was) => was_busy |= was,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    blamed += 1;
                    error!(stream = %self.name.stream, processor = %self.task, partition, %error, "a partition cannot be processed; trying again");
                    if let Some(one) = self.partitions.get_mut(&partition) {
                        one.is_damaged(now);
                    }
                }
            }
        }
        match blamed {
            0 => Err(error),
            _ => Ok(was_busy),
        }
    }

    /// The same for one partition, or for all.
    fn step_of(
        &mut self,
        streams: &dyn Streams,
        only: Option<u16>,
        now: Instant,
    ) -> Result<bool, BrokerError> {
        let mut steps = Vec::new();
        let mut said = Vec::new();
        let mut reads = Vec::new();
        for (&partition, one) in &self.partitions {
            if only.is_some_and(|only| only != partition) || !one.is_asked_about(now) {
                continue;
            }
            let unsaid = one.unsaid();
            if !unsaid.is_empty() {
                said.push((partition, one.passed(), unsaid.len()));
            }
            steps.extend(unsaid.into_iter().map(|pass| Step {
                hold: one.hold,
                pass,
            }));
            reads.extend(one.wish().filter(|_| self.paused.is_none()));
        }
        let is_pressing = self.partitions.values().any(Partition::is_pressing);
        // Whoever looks for the one to blame asks all.
        let is_soon = self.say_at().is_some_and(|at| at > now);
        let may_wait = is_soon && !is_pressing && only.is_none();
        if reads.is_empty() && (steps.is_empty() || may_wait) {
            return self.go(streams);
        }
        if !steps.is_empty() {
            self.said = Some(now);
        }
        let turn = streams.step(&self.name, &steps, &reads)?;
        let mut made = turn.steps.into_iter();
        for (partition, passed, count) in said {
            let refused = made.by_ref().take(count).filter(|is_made| !is_made).count();
            let Some(one) = self.partitions.get_mut(&partition) else {
                continue;
            };
            match refused {
                0 => one.said(passed),
                _ => {
                    one.lose();
                }
            }
        }
        for (wish, events) in reads.into_iter().zip(turn.events) {
            let Some(one) = self.partitions.get_mut(&wish.partition) else {
                continue;
            };
            let dropped = one.read(wish, events, now);
            if dropped > 0 {
                warn!(stream = %self.name.stream, processor = %self.task, partition = wish.partition, dropped, "events were dropped before they were read (the stream drops the oldest when it is full)");
            }
        }
        self.partitions.retain(|_, one| !one.is_gone());
        self.go(streams).map(|_| true)
    }

    /// Gives back what can go.
    fn go(&mut self, streams: &dyn Streams) -> Result<bool, BrokerError> {
        let holds = self.holds(Partition::can_go);
        if holds.is_empty() {
            return Ok(false);
        }
        streams.give_back(&self.name, &holds)?;
        for hold in holds {
            self.partitions.remove(&hold.partition);
        }
        // Perhaps it is to be taken again, elsewhere in the stream.
        self.attend_at = Now::read().mono;
        Ok(true)
    }

    /// Before then the store is not told only that calls go on.
    pub(super) fn say_at(&self) -> Option<Instant> {
        self.said.map(|at| at + SAY_APART)
    }
}
