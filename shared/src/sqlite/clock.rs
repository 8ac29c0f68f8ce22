//! The clocks a store reads, in one place so that tests can move them.

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Timestamp;

/// Where a store reads the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock: for what is shown, delays and life times.
    fn wall(&self) -> Timestamp;
    /// Time since the machine started, without what it was suspended for: for leases. All who hold some
    /// were suspended with it, and go by [`std::time::Instant`], which counts the same.
    fn since_boot(&self) -> Duration;
    /// Which start of the machine [`Clock::since_boot`] counts from.
    fn boot_id(&self) -> [u8; 16];
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: [u8; 16],
}

impl SystemClock {
    /// Reads the id of this start of the machine.
    #[must_use]
    pub fn new() -> Self {
        // Without /proc all starts look alike, and leases of an earlier one end by their time.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| uuid::Uuid::parse_str(text.trim()).ok())
            .unwrap_or_default();
        Self {
            boot_id: boot_id.into_bytes(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> Duration {
        // Fails only for a clock that the kernel does not know.
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }
}

/// A wall clock that is set back by no more than this, in milliseconds, stands still until it is where it
/// was: nothing that had come is to come again. One that is set back further was wrong before, and is
/// followed: else new jobs would be too late for whatever limits they carry, and retries too early.
const STANDS_STILL: i64 = 10_000;

/// One reading, in the form the tables hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Wall clock, never a little earlier than one read before.
    pub(super) wall: i64,
    /// Since the machine started.
    pub(super) boot: i64,
}

impl Moment {
    /// Reads `clock`, which showed `seen` before.
    pub(super) fn read(clock: &dyn Clock, seen: i64) -> Self {
        let wall = stored(clock.wall());
        let is_followed = wall < seen - STANDS_STILL;
        Self {
            wall: if is_followed { wall } else { wall.max(seen) },
            boot: stored_length(clock.since_boot()),
        }
    }
}

/// A time as the tables hold it.
pub(super) fn stored(time: Timestamp) -> i64 {
    i64::try_from(time.min(Timestamp::MAX).as_millis()).unwrap_or(i64::MAX)
}

/// A length as the tables hold it; far below overflow, so that two can be added.
pub(super) fn stored_length(length: Duration) -> i64 {
    let longest = stored(Timestamp::MAX);
    i64::try_from(length.as_millis()).map_or(longest, |ms| ms.min(longest))
}

/// A time from the tables.
pub(super) fn shown(ms: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}
