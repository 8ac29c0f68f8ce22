//! Time zones, from the list that is built in: all machines of a release agree on them.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::TriggerError;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of that name.
pub(super) fn find(name: &str) -> Result<TimeZone, TriggerError> {
    let zone = ZONES.get(name.trim());
    zone.map_err(|_| TriggerError::Zone {
        name: name.chars().take(100).collect(),
    })
}

/// A stretch of time of one offset; all in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// The instant it begins; `None` for the first.
    pub(super) start: Option<i64>,
    /// Local time is the instant plus this.
    pub(super) offset: i64,
    /// The offset before it began.
    pub(super) before: i64,
    /// The instant after its last; `None` for the last.
    pub(super) end: Option<i64>,
}

fn instant(seconds: i64) -> jiff::Timestamp {
    let limit = |least| {
        if least {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        }
    };
    jiff::Timestamp::from_second(seconds).unwrap_or_else(|_| limit(seconds < 0))
}

fn offset(zone: &TimeZone, seconds: i64) -> i64 {
    zone.to_offset(instant(seconds)).seconds().into()
}

/// The segment that an instant lies in.
pub(super) fn segment(zone: &TimeZone, at: i64) -> Segment {
    let start = zone.preceding(instant(at.saturating_add(1))).next();
    let start = start.map(|change| change.timestamp().as_second());
    let end = zone.following(instant(at)).next();
    let own = offset(zone, at);
    Segment {
        start,
        offset: own,
        before: start.map_or(own, |start| offset(zone, start - 1)),
        end: end.map(|change| change.timestamp().as_second()),
    }
}

/// Whether the local time of an instant comes twice.
pub(super) fn comes_twice(zone: &TimeZone, at: i64) -> bool {
    let local = zone.to_datetime(instant(at));
    matches!(
        zone.to_ambiguous_timestamp(local).offset(),
        AmbiguousOffset::Fold { .. }
    )
}

/// The instant of a local time: the first if it comes twice, the end of the gap if it never comes.
pub(super) fn resolve(zone: &TimeZone, local: DateTime) -> Option<jiff::Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            let late = before.to_timestamp(local).ok()?;
            let change = segment(zone, late.as_second()).start?;
            jiff::Timestamp::from_second(change).ok()
        }
    }
}
