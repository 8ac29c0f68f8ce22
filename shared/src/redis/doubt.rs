//! What was sent and never answered: it may have been done or not.
//!
//! Each claim has a number of this process, and each queue remembers for a while what it gave under
//! the last one. So a claim whose answer was lost is asked for once more and gives the same jobs,
//! and one that reaches the server only after that gives nothing. An ending that was written, and
//! is written again because nobody knows, counts as written.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::record::name;
use crate::broker::{Receipt, Settlement};
use crate::name::QueueName;

/// Endings in doubt that are remembered: more than any turn has. Beyond it the doubt is forgotten,
/// and an ending may be called stale that was written.
const ENDINGS: usize = 4096;

/// The doubts of one process about one store.
#[derive(Debug)]
pub(super) struct Doubts {
    /// What the store knows this process by.
    pub(super) token: String,
    number: AtomicU64,
    lost: Mutex<Lost>,
}

#[derive(Debug, Default)]
struct Lost {
    claims: HashMap<QueueName, u64>,
    endings: HashSet<(Uuid, u64)>,
}

impl Doubts {
    pub(super) fn new() -> Self {
        Self {
            token: name(Uuid::new_v4()),
            number: AtomicU64::new(1),
            lost: Mutex::default(),
        }
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next claim.
    pub(super) fn number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Which of these queues have claims in doubt, and their numbers.
    pub(super) fn claims(&self, queues: &[QueueName]) -> HashMap<QueueName, u64> {
        let lost = self.lost();
        let of = |queue: &QueueName| Some((queue.clone(), *lost.claims.get(queue)?));
        queues.iter().filter_map(of).collect()
    }

    /// Nobody knows what became of a claim.
    pub(super) fn lose_claim(&self, queue: &QueueName, number: u64) {
        self.lost().claims.insert(queue.clone(), number);
    }

    /// It is known what became of a queue's claim.
    pub(super) fn find_claim(&self, queue: &QueueName, number: u64) {
        let mut lost = self.lost();
        if lost.claims.get(queue) == Some(&number) {
            lost.claims.remove(queue);
        }
    }

    /// Whether any of these may have been written before.
    pub(super) fn has_any<'a>(&self, mut endings: impl Iterator<Item = &'a Receipt>) -> bool {
        let lost = self.lost();
        !lost.endings.is_empty() && endings.any(|one| lost.endings.contains(&key(one)))
    }

    /// Nobody knows whether these were written.
    pub(super) fn lose_endings(&self, settlements: &[Settlement]) {
        let mut lost = self.lost();
        if lost.endings.len() + settlements.len() > ENDINGS {
            lost.endings.clear();
        }
        let keys = settlements.iter().map(|one| key(&one.receipt));
        lost.endings.extend(keys);
    }

    /// It is known what became of these.
    pub(super) fn find_endings(&self, settlements: &[Settlement]) {
        let mut lost = self.lost();
        if !lost.endings.is_empty() {
            for one in settlements {
                lost.endings.remove(&key(&one.receipt));
            }
        }
    }
}

const fn key(receipt: &Receipt) -> (Uuid, u64) {
    (receipt.uuid, receipt.fence)
}
