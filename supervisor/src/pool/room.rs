//! How many short jobs ended just now: as many may be claimed ahead of free slots.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::Limits;

/// Tickets that may wait per slot: what one slot can end in a window of tiny jobs, and few enough
/// that a supervisor that dies holding them leaves little to rescue.
const PREFETCH_PER_SLOT: usize = 64;

/// The ends of recent short jobs.
///
/// Only jobs shorter than the window are noted. That is enough to leave out every slot whose last
/// job was long: its earlier ends had left the window before that job ended.
#[derive(Debug)]
pub(super) struct Recent {
    ends: VecDeque<Instant>,
    most: usize,
    window: Duration,
}

impl Recent {
    pub(super) fn new(limits: &Limits) -> Self {
        Self::of(limits, limits.slots)
    }

    /// Of so many places for jobs.
    pub(super) fn of(limits: &Limits, places: u16) -> Self {
        Self {
            ends: VecDeque::new(),
            most: PREFETCH_PER_SLOT * usize::from(places),
            window: limits.prefetch_window,
        }
    }

    /// A job that had run for `ran` was answered.
    pub(super) fn note(&mut self, now: Instant, ran: Duration) {
        if ran >= self.window {
            return;
        }
        while self.ends.len() >= self.most && self.ends.pop_front().is_some() {}
        self.ends.push_back(now);
    }

    /// How many jobs to claim ahead; never more than the ring holds.
    pub(super) fn prefetch(&self, now: Instant) -> usize {
        let old = self
            .ends
            .partition_point(|&end| now.saturating_duration_since(end) >= self.window);
        self.ends.len() - old
    }
}
