//! The gate: processes take turns at writing, in the order in which they came.
//!
//! Fairness, not safety: SQLite's own lock keeps the file right. Without the gate a busy process
//! starves the others and the log grows without bound. Whoever holds the gate for ever is passed
//! by after [`LONGEST_WAIT`].

use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, SendTimeoutError, Sender, bounded};

/// How long a writer waits for its turn before it goes on without.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a turn that has come waits for a writer: a process may write no more for a long time.
const LONGEST_OFFER: Duration = Duration::from_millis(50);

/// One process's place at the gate.
#[derive(Debug)]
pub(super) struct Gate {
    file: Arc<File>,
    queue: Option<Queue>,
    has_warned: bool,
}

/// A thread that waits in the kernel's queue: `flock` knows no time limit, and polling would lose
/// the place in the queue.
#[derive(Debug)]
struct Queue {
    ask: Sender<()>,
    granted: Receiver<()>,
    is_asked: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            queue: None,
            has_warned: false,
        }
    }

    /// Waits for the gate. Returns whether it is held; if not, the caller goes on regardless.
    pub(super) fn enter(&mut self) -> bool {
        if self.is_asked() {
            // The holder that made us go on without is still there: do not wait again.
            return self.granted_within(Duration::ZERO);
        }
        match self.file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::Error(_)) => false,
            Err(TryLockError::WouldBlock) => self.ask() && self.granted_within(LONGEST_WAIT),
        }
    }

    /// Lets the next one through.
    pub(super) fn leave(&self) {
        // An unlock of a file that is open cannot fail; if it did, closing would release it.
        let _ = self.file.unlock();
    }

    fn is_asked(&self) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.is_asked.load(Ordering::Acquire))
    }

    fn ask(&mut self) -> bool {
        if self.queue.is_none() {
            self.queue = Queue::start(Arc::clone(&self.file));
        }
        let Some(queue) = &self.queue else {
            return false;
        };
        queue.is_asked.store(true, Ordering::Release);
        queue.ask.send(()).is_ok()
    }

    fn granted_within(&mut self, wait: Duration) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        if queue.granted.recv_timeout(wait).is_ok() {
            queue.is_asked.store(false, Ordering::Release);
            return true;
        }
        if !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                waited_ms = 1000,
                "another process holds the store's gate, going on without it"
            );
        }
        false
    }
}

impl Queue {
    fn start(file: Arc<File>) -> Option<Self> {
        let (ask, asked) = bounded::<()>(1);
        // From hand to hand: a turn that nobody takes is given back.
        let (grant, granted) = bounded(0);
        let is_asked = Arc::new(AtomicBool::new(false));
        let is_waiting = Arc::clone(&is_asked);
        let wait = move || {
            while asked.recv().is_ok() {
                // Ends when the holder leaves, however long that takes; with the store gone by
                // then, the send fails and dropping the file leaves the gate.
                if file.lock().is_err() {
                    return;
                }
                match grant.send_timeout((), LONGEST_OFFER) {
                    Ok(()) => {}
                    Err(SendTimeoutError::Timeout(())) => {
                        // In this order: who asks anew must not find the gate held for him.
                        if file.unlock().is_err() {
                            return;
                        }
                        is_waiting.store(false, Ordering::Release);
                    }
                    Err(SendTimeoutError::Disconnected(())) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("gate".into()).spawn(wait);
        thread.ok().map(|_| Self {
            ask,
            granted,
            is_asked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    #[test]
    fn a_neighbour_that_holds_the_gate_for_ever_is_passed_by_and_a_waiting_one_gets_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate");
        let neighbour = File::create(&path).unwrap();
        let mut gate = Gate::new(File::open(&path).unwrap());
        assert!(gate.enter());
        gate.leave();
        neighbour.lock().unwrap();
        assert!(!gate.enter());
        assert!(!gate.enter(), "the second time nobody waits");
        neighbour.unlock().unwrap();
        assert!(gate.granted_within(Duration::from_secs(10)));
        assert!(neighbour.try_lock().is_err(), "now the gate is ours");
        gate.leave();
        neighbour.try_lock().unwrap();
    }

    #[test]
    fn a_turn_that_nobody_takes_is_given_to_the_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate");
        let neighbour = File::create(&path).unwrap();
        let mut gate = Gate::new(File::open(&path).unwrap());
        neighbour.lock().unwrap();
        assert!(!gate.enter());
        neighbour.unlock().unwrap();
        let deadline = Now::read().mono + Duration::from_secs(10);
        while gate.is_asked() {
            assert!(Now::read().mono < deadline, "the turn was never given back");
            thread::yield_now();
        }
        neighbour.try_lock().unwrap();
        assert!(!gate.enter(), "and asked for again");
        neighbour.unlock().unwrap();
        assert!(gate.granted_within(Duration::from_secs(10)));
    }
}
