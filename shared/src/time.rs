//! Times that are stored or sent. Only the edges read a clock; everything else is told.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How far this process's wall clock is turned, in milliseconds: 0 outside of tests.
static TURNED: AtomicI64 = AtomicI64::new(0);

/// Turns this process's wall clock by `ms`, for tests. Clocks that leases and deadlines go by stay.
pub fn turn(ms: i64) {
    TURNED.store(ms, Ordering::Relaxed);
}

/// How far this process's wall clock is turned, in milliseconds.
#[must_use]
pub fn turned() -> i64 {
    TURNED.load(Ordering::Relaxed)
}

/// A point in time: milliseconds since 1970-01-01T00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time (write it as RFC 3339, such as `2030-01-31T09:30:00Z`)")]
pub struct TimeError {
    text: String,
}

impl Timestamp {
    /// The latest time that can be stored: well within what SQL integers and RFC 3339 hold.
    pub const MAX: Self = Self(253_402_300_799_000);

    /// From milliseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads the wall clock. For edges only: everything else takes the time as an argument.
    #[must_use]
    pub fn now() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the edge that reads the wall clock"
        )]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(millis(since).saturating_add_signed(turned()))
    }

    /// This time plus `duration`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)).min(Self::MAX.0))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339, with any offset.
    ///
    /// # Errors
    /// [`TimeError`] quotes the text and shows an example.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let wrong = || TimeError { text: text.into() };
        let parsed: jiff::Timestamp = text.trim().parse().map_err(|_| wrong())?;
        u64::try_from(parsed.as_millisecond())
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.min(Self::MAX.0)).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{millis}ms"),
        }
    }
}

/// Time since the machine started, in which it counts too how long it was suspended: for what goes by
/// another machine's clock. For edges only.
#[must_use]
pub fn since_boot() -> Duration {
    // Fails only for a clock the kernel does not know; Linux has had this one since 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// `duration` in whole milliseconds, at most `u64::MAX`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One reading of both clocks, handed down from an edge.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines within this process.
    pub mono: Instant,
    /// For anything stored or shown.
    pub wall: Timestamp,
}

impl Now {
    /// Reads both clocks. For edges only.
    #[must_use]
    pub fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the edge that reads the clock"
        )]
        let mono = Instant::now();
        Self {
            mono,
            wall: Timestamp::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_printed_in_utc_with_milliseconds_and_read_back_with_any_offset() {
        let time = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::parse("2023-11-15T00:13:20.123+02:00"), Ok(time));
    }

    #[test]
    fn a_wrong_time_is_quoted_with_an_example() {
        let error = Timestamp::parse("tomorrow").unwrap_err().to_string();
        assert!(
            error.contains("`tomorrow`") && error.contains("2030-01-31"),
            "{error}"
        );
    }

    #[test]
    fn adding_never_leaves_the_range_that_can_be_stored() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
    }
}
