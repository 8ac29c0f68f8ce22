//! The restart throttle: how long a slot rests after a process that died unasked.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::event::Limits;

/// Doublings after which any rest has long reached its limit; keeps the shift in range.
const DOUBLINGS: u32 = 31;

/// One slot's unasked deaths since a job was last answered there in time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Throttle {
    deaths: u32,
}

impl Throttle {
    /// Counts a death and says how long to rest: doubling, from the first rest to the longest.
    pub(super) fn died(&mut self, limits: &Limits) -> Duration {
        let doublings = self.deaths.min(DOUBLINGS);
        self.deaths = self.deaths.saturating_add(1);
        limits
            .rest_first
            .saturating_mul(1 << doublings)
            .min(limits.rest_longest)
    }

    /// A job was answered in time: the next death is a first one again.
    pub(super) const fn recovered(&mut self) {
        self.deaths = 0;
    }

    /// Whether processes have died here unasked and none has answered a job since.
    pub(super) const fn is_troubled(self) -> bool {
        self.deaths > 0
    }
}
