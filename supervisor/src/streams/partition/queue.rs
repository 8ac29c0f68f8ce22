//! The events of a partition that are here: given to its call, or read ahead of that.

use std::collections::VecDeque;

use bulkhead_shared::stream::{Event, Place};

/// Bytes of events that are here, about: large events are not read ahead as far as small ones.
const BYTES_MOST: usize = 4 << 20;

/// What an event takes beside its fields, and each of them beside its name and value, about.
const EVENT_SIZE: usize = 64;
const FIELD_SIZE: usize = 8;

/// Events in order. Those in front were given.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    /// Of all of them.
    bytes: usize,
    /// So many were given and not passed.
    given: usize,
    /// How they were given: up to which position, and whether they are passed as one.
    gifts: VecDeque<(u64, bool)>,
}

fn size(event: &Event) -> usize {
    EVENT_SIZE + FIELD_SIZE * event.fields.len() + event.fields.size()
}

impl Queue {
    /// So many were read and not given.
    pub(super) fn ahead(&self) -> u32 {
        u32::try_from(self.events.len() - self.given).unwrap_or(u32::MAX)
    }

    /// Nothing more is to be read for now.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= BYTES_MOST
    }

    /// These were read.
    pub(super) fn add(&mut self, events: Vec<Event>) {
        self.bytes += events.iter().map(size).sum::<usize>();
        self.events.extend(events);
    }

    /// The next of those read ahead, at most so many; from now on they are given.
    pub(super) fn give(&mut self, most: u32, as_one: bool) -> Vec<Event> {
        let to = self.given + usize::try_from(most.min(self.ahead())).unwrap_or(usize::MAX);
        let events: Vec<_> = self.events.range(self.given..to).cloned().collect();
        self.given = to;
        let last = events.last().map(|event| event.place.position);
        self.gifts.extend(last.map(|last| (last, as_one)));
        events
    }

    /// The first of those that were given.
    pub(super) fn first_given(&self) -> Option<&Event> {
        self.events.front().filter(|_| self.given > 0)
    }

    /// So many the call has in hand, or would fail at: the first of those that were given, and those that
    /// are passed together with it.
    pub(super) fn in_hand(&self) -> usize {
        match self.gifts.front() {
            None => 0,
            Some((_, false)) => 1,
            Some(&(to, true)) => self.given_to(to),
        }
    }

    /// The gift that the event at this position lies in ends there, and the rest of it is another one.
    pub(super) fn part(&mut self, position: u64) {
        let place = (self.events).binary_search_by_key(&position, |event| event.place.position);
        // Who names an event that it was not given parts nothing.
        if !place.is_ok_and(|place| place < self.given) {
            return;
        }
        let at = self.gifts.partition_point(|&(to, _)| to < position);
        // Where it ends already, nothing is left to be parted.
        if let Some(&(to, true)) = self.gifts.get(at)
            && to > position
        {
            self.gifts.insert(at, (position, true));
        }
    }

    /// So many were given up to this position.
    fn given_to(&self, position: u64) -> usize {
        let given = self.events.range(..self.given);
        given
            .take_while(|event| event.place.position <= position)
            .count()
    }

    /// What was given up to this position is passed; the last of it, if there was any.
    pub(super) fn pass(&mut self, position: u64) -> Option<Place> {
        let taken = self.take(self.given_to(position));
        taken.last().map(|event| event.place)
    }

    /// The first of those that were given are no longer here.
    pub(super) fn take(&mut self, count: usize) -> Vec<Event> {
        let taken: Vec<_> = self.events.drain(..count.min(self.given)).collect();
        self.given -= taken.len();
        self.bytes -= taken.iter().map(size).sum::<usize>();
        if let Some(last) = taken.last() {
            let is_over = |gift: &mut (u64, bool)| gift.0 <= last.place.position;
            while self.gifts.pop_front_if(is_over).is_some() {}
        }
        taken
    }

    /// The call is over: what was given is to be given again.
    pub(super) fn take_back(&mut self) {
        self.given = 0;
        self.gifts.clear();
    }
}
