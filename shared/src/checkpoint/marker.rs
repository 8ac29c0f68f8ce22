//! Markers: how far a stream has come. Any ordered type will do; of some it is known how far one is
//! from another.

use std::time::Duration;

use crate::time::Timestamp;

/// Markers between which there is a distance.
pub trait Distance: Ord {
    /// How far one is from another.
    type Length: Ord + Clone + Send + Sync + 'static;

    /// How far this one is ahead of another; `None` if it is not.
    fn ahead_of(&self, other: &Self) -> Option<Self::Length>;
}

impl Distance for Timestamp {
    type Length = Duration;

    fn ahead_of(&self, other: &Self) -> Option<Duration> {
        (self > other).then(|| self.since(*other))
    }
}

impl Distance for u64 {
    type Length = Self;

    fn ahead_of(&self, other: &Self) -> Option<Self> {
        self.checked_sub(*other).filter(|ahead| *ahead > 0)
    }
}

impl Distance for i64 {
    type Length = u64;

    fn ahead_of(&self, other: &Self) -> Option<u64> {
        (self > other).then(|| self.abs_diff(*other))
    }
}
