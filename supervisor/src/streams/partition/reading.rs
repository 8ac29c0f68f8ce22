//! How far a partition is read ahead.

use std::time::Instant;

use bulkhead_shared::stream::Event;
use bulkhead_shared::stream::keep::{READ_BYTES, READ_MOST, Read};

use super::{Partition, Pause};

/// Bytes of events that are read ahead, about: large events are not read ahead as far as small ones.
const AHEAD_BYTES: usize = 4 << 20;

impl Partition {
    /// What is to be read.
    pub(in crate::streams) fn wish(&self) -> Option<Read> {
        let wanted = self.want.map_or(0, |(want, _)| want.most);
        let target = self.prefetch.max(wanted).min(READ_MOST);
        let len = u32::try_from(self.ahead.len()).unwrap_or(u32::MAX);
        let is_stopped = self.is_leaving() || self.pause == Some(Pause::Halted);
        let wants = !is_stopped && !self.is_dry && len < target;
        (wants && self.ahead.iter().map(size).sum::<usize>() < AHEAD_BYTES).then(|| Read {
            partition: self.hold.partition,
            after: self.read_to,
            most: target - len,
        })
    }

    /// What was read of what was wished for. Returns how many events were dropped before anybody had
    /// read them.
    pub(in crate::streams) fn read(&mut self, wish: Read, events: Vec<Event>, now: Instant) -> u64 {
        let is_short = events.len() < usize::try_from(wish.most).unwrap_or(usize::MAX);
        // Few can come also because they are large.
        self.is_dry = is_short && events.iter().map(size).sum::<usize>() < READ_BYTES / 2;
        let first = events.first().map_or(0, |event| event.place.position);
        let dropped = first.saturating_sub(self.read_to.position + 1);
        if let Some(last) = events.last() {
            self.read_to = last.place;
        }
        if self.ahead.is_empty() {
            self.ahead_since = now;
        }
        self.ahead.extend(events);
        dropped
    }
}

fn size(event: &Event) -> usize {
    event.fields.iter().map(|(_, value)| value.len()).sum()
}
