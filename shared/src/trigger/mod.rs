//! When jobs are made by themselves: at times of day, at intervals, at a date.
//!
//! Everything here is pure: the same trigger gives the same firings to everybody who asks, at
//! whatever moments. [`decide`](plan::decide) says what becomes of the firings that are due.

mod cron;
mod error;
mod fields;
pub mod plan;
mod spec;
mod words;
mod zone;

use std::time::Duration;

use crate::time::Timestamp;
use crate::units::LONGEST;

pub use cron::Cron;
pub use error::TriggerError;
pub use spec::{Misfire, On, Overlap, TriggerSpec};

/// The shortest interval.
pub const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// When it fires.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Trigger {
    /// At times of day in a zone.
    Cron(Cron),
    /// At the whole multiples of this since 1970-01-01T00:00Z, whatever clocks on walls do.
    Every(Duration),
    /// Once.
    At(Timestamp),
    /// When a supervisor starts.
    Start,
}

/// What daylight saving does to a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The time it names does not come on that day: it fires when the gap ends.
    Gap,
    /// The local time comes twice on that day.
    Fold,
}

impl Trigger {
    /// An interval.
    ///
    /// # Errors
    /// [`TriggerError::Interval`] below [`LEAST_INTERVAL`] and above ten years.
    pub fn every(ms: u64) -> Result<Self, TriggerError> {
        let every = Duration::from_millis(ms);
        if (LEAST_INTERVAL..=LONGEST).contains(&every) {
            Ok(Self::Every(every))
        } else {
            Err(TriggerError::Interval { ms })
        }
    }

    /// A date: RFC 3339 with an offset, or a local time in the zone `tz`.
    ///
    /// # Errors
    /// [`TriggerError::Date`], [`TriggerError::Zone`], [`TriggerError::StrayZone`].
    pub fn at(text: &str, tz: Option<&str>) -> Result<Self, TriggerError> {
        let wrong = || TriggerError::Date {
            text: text.chars().take(100).collect(),
        };
        match tz {
            None => Timestamp::parse(text).map(Self::At).map_err(|_| wrong()),
            Some(_) if Timestamp::parse(text).is_ok() => Err(TriggerError::StrayZone {
                with: "a time that has its own offset",
            }),
            Some(tz) => {
                let zone = zone::find(tz)?;
                let local = text.trim().parse().map_err(|_| wrong())?;
                let at = zone::resolve(&zone, local).ok_or_else(wrong)?;
                let ms = u64::try_from(at.as_millisecond()).map_err(|_| wrong())?;
                Ok(Self::At(Timestamp::from_millis(ms)))
            }
        }
    }

    /// The first firing after `after`; `None` if there is none any more, or none by the clock.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = match self {
            Self::Cron(cron) => {
                let after = i64::try_from(after.as_millis() / 1000).ok()?;
                u64::try_from(cron.next_after(after)?)
                    .ok()?
                    .checked_mul(1000)?
            }
            Self::Every(every) => {
                let every = crate::time::millis(*every);
                (after.as_millis() / every + 1).checked_mul(every)?
            }
            Self::At(at) if *at > after => at.as_millis(),
            Self::At(_) | Self::Start => return None,
        };
        (next <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(next))
    }

    /// The last firings after `after` and not after `until`, at most `most`, in order.
    #[must_use]
    pub fn last(&self, most: usize, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        // Backwards in windows, so that what was missed for years costs no more than what is kept, and in
        // ever wider ones where nothing is.
        let mut found = Vec::new();
        let (mut end, mut width) = (until.min(Timestamp::MAX).as_millis(), 1000);
        let mut block = Vec::new();
        while end > after.as_millis() && found.len() < most {
            let start = end.saturating_sub(width).max(after.as_millis());
            let first = self.next_after(Timestamp::from_millis(start));
            let mut next = first.filter(|first| first.as_millis() <= end);
            if next.is_none() {
                (end, width) = (start, width.saturating_mul(2));
                continue;
            }
            if end - start > WIDEST_WINDOW {
                width = (end - start) / 2;
                continue;
            }
            while let Some(at) = next.filter(|at| at.as_millis() <= end) {
                block.push(at);
                next = self.next_after(at);
            }
            found.extend(block.drain(..).rev());
            (end, width) = (start, (width * 2).min(WIDEST_WINDOW));
        }
        found.truncate(most);
        found.reverse();
        found
    }

    /// What daylight saving does to the firing at `at`.
    #[must_use]
    pub fn note(&self, at: Timestamp) -> Option<Note> {
        match self {
            Self::Cron(cron) => cron.note(i64::try_from(at.as_millis() / 1000).ok()?),
            Self::Every(_) | Self::At(_) | Self::Start => None,
        }
    }

    /// An instant as its zone's clocks show it, and the name of the zone.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> Option<(String, String)> {
        let Self::Cron(cron) = self else {
            return None;
        };
        let ms = i64::try_from(at.as_millis()).ok()?;
        let zoned = jiff::Timestamp::from_millisecond(ms).ok()?;
        let zoned = zoned.to_zoned(cron.zone().clone());
        let shown = zoned.strftime("%Y-%m-%d %H:%M:%S %:z %Z").to_string();
        Some((shown, cron.zone_name().to_owned()))
    }
}

/// The widest window of a look back, in milliseconds: at a firing a second it has a day of them.
const WIDEST_WINDOW: u64 = 86_400_000;

#[cfg(test)]
mod tests;
