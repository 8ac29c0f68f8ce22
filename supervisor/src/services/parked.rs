//! Tasks that wait for locks. For each lock one of them looks, and the others stand behind it in
//! the order in which they came.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bulkhead_shared::name::LockName;

use super::locks::LockWish;
use super::{Asker, earliest};
use crate::pool::Seat;

/// Between looks at a lock that somebody else holds: those who free it elsewhere do not call us.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub asker: Asker,
    pub wish: LockWish,
    /// It waits no longer.
    pub until: Instant,
    /// To be looked at then, if it is the first.
    look_at: Instant,
}

/// All of them, by lock.
#[derive(Debug, Default)]
pub(super) struct Parked(BTreeMap<String, VecDeque<Waiter>>);

impl Parked {
    /// Adds one that has not been looked at.
    pub(super) fn add(&mut self, asker: Asker, wish: LockWish, now: Instant, until: Instant) {
        let line = self.0.entry(wish.name.as_str().into()).or_default();
        line.push_back(Waiter {
            asker,
            wish,
            until,
            look_at: now,
        });
    }

    /// Whether somebody waits for a lock.
    pub(super) fn has_line(&self, lock: &LockName) -> bool {
        self.0.contains_key(lock.as_str())
    }

    /// Puts one back that was looked at in vain, at the head of its line.
    pub(super) fn wait_for(&mut self, mut waiter: Waiter, left: Option<Duration>, now: Instant) {
        let wait = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
        waiter.look_at = now + wait.max(Duration::from_millis(1));
        let line = self.0.entry(waiter.wish.name.as_str().into()).or_default();
        line.push_front(waiter);
    }

    /// Forgets the waiters of a call that has ended.
    pub(super) fn forget(&mut self, seat: Seat, nonce: u64) {
        let is_other = |one: &Waiter| one.asker.seat != seat || one.asker.nonce != nonce;
        for line in self.0.values_mut() {
            line.retain(is_other);
        }
        self.0.retain(|_, line| !line.is_empty());
    }

    /// Somebody has freed a lock.
    pub(super) fn hurry(&mut self, lock: &str, now: Instant) {
        if let Some(first) = self.0.get_mut(lock).and_then(VecDeque::front_mut) {
            first.look_at = now;
        }
    }

    /// When to look next.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.0.values().fold(None, |due, line| {
            let first = line.front().map(|first| first.look_at);
            // Those behind are only told that their time is over.
            let ends = line.iter().map(|one| one.until);
            ends.chain(first).fold(due, earliest)
        })
    }

    /// Takes one out that is due: the first of its line, or one whose time is over.
    pub(super) fn due(&mut self, now: Instant) -> Option<Waiter> {
        let (name, index) = self.0.iter().find_map(|(name, line)| {
            let is_due = |(index, one): &(usize, &Waiter)| {
                one.until <= now || (*index == 0 && one.look_at <= now)
            };
            let (index, _) = line.iter().enumerate().find(is_due)?;
            Some((name.clone(), index))
        })?;
        let line = self.0.get_mut(&name)?;
        let waiter = line.remove(index);
        if line.is_empty() {
            self.0.remove(&name);
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_shared::broker::Receipt;
    use bulkhead_shared::{QueueName, Uuid};

    const SECOND: Duration = Duration::from_secs(1);

    fn asker(nonce: u64) -> Asker {
        let seat = Seat {
            slot: 1,
            generation: 1,
        };
        Asker { seat, nonce, id: 0 }
    }

    fn add(parked: &mut Parked, nonce: u64, lock: &str, now: Instant, wait: Duration) {
        let receipt = Receipt {
            uuid: Uuid::nil(),
            queue: QueueName::new("default").unwrap(),
            fence: nonce,
            mark: 0,
        };
        let wish = LockWish::new(&receipt, lock, None).unwrap();
        parked.add(asker(nonce), wish, now, now + wait);
    }

    #[test]
    fn one_looks_for_all_and_the_others_are_told_when_their_time_is_over() {
        let start = bulkhead_shared::time::Now::read().mono;
        let mut parked = Parked::default();
        add(&mut parked, 1, "a", start, SECOND);
        add(&mut parked, 2, "a", start, SECOND / 2);
        let first = parked.due(start).unwrap();
        assert_eq!(first.asker, asker(1));
        parked.wait_for(first, None, start);
        assert!(parked.due(start).is_none());
        assert_eq!(parked.look_at(), Some(start + LOOK_EVERY));
        let impatient = parked.due(start + SECOND / 2).unwrap();
        assert_eq!(impatient.asker, asker(1), "it is due, and stands first");
        parked.wait_for(impatient, None, start + SECOND / 2);
        assert_eq!(parked.due(start + SECOND / 2).unwrap().asker, asker(2));
        assert!(parked.due(start + SECOND / 2).is_none());
    }

    #[test]
    fn whoever_frees_a_lock_here_hurries_the_first_in_line() {
        let start = bulkhead_shared::time::Now::read().mono;
        let mut parked = Parked::default();
        add(&mut parked, 1, "a", start, SECOND);
        let first = parked.due(start).unwrap();
        parked.wait_for(first, Some(SECOND), start);
        parked.hurry("b", start);
        assert!(parked.due(start).is_none());
        parked.hurry("a", start);
        assert_eq!(parked.due(start).unwrap().asker, asker(1));
        assert_eq!(parked.look_at(), None);
    }

    #[test]
    fn the_waiters_of_a_call_that_has_ended_are_gone() {
        let start = bulkhead_shared::time::Now::read().mono;
        let mut parked = Parked::default();
        add(&mut parked, 1, "a", start, SECOND);
        add(&mut parked, 2, "a", start, SECOND);
        parked.forget(asker(1).seat, 1);
        assert_eq!(parked.due(start).unwrap().asker, asker(2));
        assert!(parked.due(start + SECOND).is_none());
    }
}
