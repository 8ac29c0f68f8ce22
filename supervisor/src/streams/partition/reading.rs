//! How far a partition is read ahead.

use std::time::Instant;

use bulkhead_shared::stream::Event;
use bulkhead_shared::stream::keep::{READ_BYTES, READ_MOST, Read};

use super::{Partition, Pause};

impl Partition {
    /// What is to be read.
    pub(in crate::streams) fn wish(&self) -> Option<Read> {
        let wanted = self.wants.iter().map(|(want, _)| want.most);
        let wanted = wanted.fold(0, u32::saturating_add);
        let (ahead, target) = (self.events.ahead(), self.prefetch.max(wanted));
        let is_stopped = self.is_leaving() || self.pause == Some(Pause::Halted);
        // Not one by one: a read costs as much as many events.
        let is_low = ahead < wanted || ahead <= target / 2;
        let wants = !is_stopped && !self.is_dry && is_low && !self.events.is_full();
        wants.then(|| Read {
            partition: self.hold.partition,
            after: self.read_to,
            most: (target - ahead).min(READ_MOST),
        })
    }

    /// What was read of what was wished for. Returns how many events were dropped before anybody had
    /// read them.
    pub(in crate::streams) fn read(&mut self, wish: Read, events: Vec<Event>, now: Instant) -> u64 {
        let is_short = events.len() < usize::try_from(wish.most).unwrap_or(usize::MAX);
        // Few can come also because they are large.
        self.is_dry = is_short
            && events
                .iter()
                .map(|event| event.fields.size())
                .sum::<usize>()
                < READ_BYTES / 2;
        let first = events.first().map_or(0, |event| event.place.position);
        let dropped = first.saturating_sub(self.read_to.position + 1);
        if let Some(last) = events.last() {
            self.read_to = last.place;
        }
        if self.events.ahead() == 0 {
            self.ahead_since = now;
        }
        self.events.add(events);
        dropped
    }
}
