//! Cron: wall-clock times in a zone, as instants.
//!
//! A zone is a row of segments of constant offset. Within one, local time and instants run side by
//! side; what the change between two of them does to local times is decided here, in one place.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::fields::Fields;
use super::zone::{self, Segment};
use super::{Note, TriggerError};

/// Seconds that are searched for the next firing: two leap days lie at most eight years apart.
const HORIZON: i64 = 9 * 366 * 86_400;

/// A cron expression and its zone.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    fields: Fields,
    zone: TimeZone,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.fields, self.zone_name()) == (&other.fields, other.zone_name())
    }
}

impl Cron {
    /// Reads an expression of five or six fields, or a nickname, in the zone `tz` (UTC if none).
    ///
    /// # Errors
    /// [`TriggerError`] names the field, the zone, or a day that no month has.
    pub fn new(text: &str, tz: Option<&str>) -> Result<Self, TriggerError> {
        let cron = Self {
            text: text.trim().into(),
            fields: Fields::parse(text)?,
            zone: zone::find(tz.unwrap_or("UTC"))?,
        };
        // In a leap year, which has all days there are.
        let start = 946_684_800;
        match cron.first_match(start, start + HORIZON) {
            Some(_) => Ok(cron),
            None => Err(TriggerError::Never {
                text: cron.text.chars().take(100).collect(),
            }),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The zone's name.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    pub(super) const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Whether it names hours. One that fires in every hour goes by elapsed time: nothing is made
    /// up for in a gap, and an hour that comes twice has its firings twice.
    pub(super) const fn names_hours(&self) -> bool {
        self.fields.hour.bits != (1 << 24) - 1
    }

    /// The first firing after the instant `after`, both in seconds.
    pub(super) fn next_after(&self, after: i64) -> Option<i64> {
        let horizon = after.saturating_add(HORIZON);
        let mut segment = zone::segment(&self.zone, after);
        let mut from = after + 1 + segment.offset;
        loop {
            let end = segment.end.unwrap_or(i64::MAX).min(horizon);
            let first = from.max(self.first_local(&segment));
            if let Some(local) = self.first_match(first, end.saturating_add(segment.offset)) {
                return Some(local - segment.offset);
            }
            let start = segment.end.filter(|end| *end <= horizon)?;
            segment = zone::segment(&self.zone, start);
            if self.fires_after_gap(&segment) {
                return Some(start);
            }
            from = start + segment.offset;
        }
    }

    /// The first local time of a segment that has not been before it.
    fn first_local(&self, segment: &Segment) -> i64 {
        let start = segment.start.unwrap_or(i64::MIN / 2);
        let offset = if self.names_hours() {
            segment.before.max(segment.offset)
        } else {
            segment.offset
        };
        start + offset
    }

    /// Whether a firing lies in the gap before the segment: it comes at the gap's end.
    fn fires_after_gap(&self, segment: &Segment) -> bool {
        let Some(start) = segment.start else {
            return false;
        };
        let (from, until) = (start + segment.before, start + segment.offset);
        self.names_hours() && from < until && self.first_match(from, until).is_some()
    }

    /// What daylight saving does to the firing at `at`.
    pub(super) fn note(&self, at: i64) -> Option<Note> {
        let segment = zone::segment(&self.zone, at);
        if segment.start == Some(at) && self.fires_after_gap(&segment) {
            return Some(Note::Gap);
        }
        zone::comes_twice(&self.zone, at).then_some(Note::Fold)
    }

    /// The first local time in `from..until` that the fields name.
    fn first_match(&self, from: i64, until: i64) -> Option<i64> {
        if from >= until {
            return None;
        }
        let start = local(from)?;
        let (mut date, mut clock) = (start.date(), (start.hour(), start.minute(), start.second()));
        let midnight = (0, 0, 0);
        loop {
            if seconds(date.to_datetime(jiff::civil::Time::midnight()))? >= until {
                return None;
            }
            if !self.fields.month.has(unsigned(date.month())) {
                date = date.last_of_month().tomorrow().ok()?;
                clock = midnight;
                continue;
            }
            let time = if self.names_day(date) {
                self.first_time(clock)
            } else {
                None
            };
            if let Some((hour, minute, second)) = time {
                let found = seconds(date.at(hour, minute, second, 0))?;
                return (found < until).then_some(found);
            }
            date = date.tomorrow().ok()?;
            clock = midnight;
        }
    }

    /// Day of month and day of week: both must fit, or one of them if both are restricted.
    fn names_day(&self, date: jiff::civil::Date) -> bool {
        let Fields { day, weekday, .. } = &self.fields;
        let by_day = day.has(unsigned(date.day()));
        let by_weekday = weekday.has(unsigned(date.weekday().to_sunday_zero_offset()));
        if day.is_open || weekday.is_open {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        }
    }

    /// The first time of day from `clock` on.
    fn first_time(&self, clock: (i8, i8, i8)) -> Option<(i8, i8, i8)> {
        let Fields {
            second,
            minute,
            hour,
            ..
        } = &self.fields;
        let first = |field: &super::fields::Field| field.next(0);
        let (h, m, s) = (unsigned(clock.0), unsigned(clock.1), unsigned(clock.2));
        let this_hour = || {
            if !hour.has(h) {
                return None;
            }
            let this_minute = minute.has(m).then(|| second.next(s)).flatten();
            match this_minute {
                Some(second) => Some((h, m, second)),
                None => Some((h, minute.next(m + 1)?, first(second)?)),
            }
        };
        let found = match this_hour() {
            Some(found) => found,
            None => (hour.next(h + 1)?, first(minute)?, first(second)?),
        };
        let signed = |value: u8| i8::try_from(value).ok();
        Some((signed(found.0)?, signed(found.1)?, signed(found.2)?))
    }
}

fn unsigned(value: i8) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

fn local(seconds: i64) -> Option<DateTime> {
    let instant = jiff::Timestamp::from_second(seconds).ok()?;
    Some(Offset::UTC.to_datetime(instant))
}

fn seconds(time: DateTime) -> Option<i64> {
    let instant = Offset::UTC.to_timestamp(time).ok()?;
    Some(instant.as_second())
}
