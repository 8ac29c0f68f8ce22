//! Entries that could not be written because the store is away.

use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;

use super::Entry;
use crate::pool::Seat;

/// Between tries.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// All of them, and when they are tried again.
#[derive(Debug, Default)]
pub(super) struct Late {
    entries: Vec<Entry>,
    look_at: Option<Instant>,
}

impl Late {
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.look_at = Some(Now::read().mono + TRY_EVERY);
    }

    pub(super) const fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes all out once it is time.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Entry> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.look_at = None;
        std::mem::take(&mut self.entries)
    }

    /// Forgets those of a call that has ended.
    pub(super) fn forget(&mut self, seat: Seat, nonce: u64) {
        self.entries
            .retain(|one| one.asker.seat != seat || one.asker.nonce != nonce);
    }
}
