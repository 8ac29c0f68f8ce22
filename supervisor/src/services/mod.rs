//! Answers what tasks ask for: a thread between the reactor and the store, so that no task holds up
//! the loop. Each answer is given under the fence of its attempt.
//!
//! A wish that cannot be had at once is kept aside and looked at again; it never blocks the thread.
//! How many wishes there can be is bounded by the asks that an attempt may have open.

mod may;
mod parked;

use std::time::{Duration, Instant};

use bulkhead_shared::ask::{Ask, Denied, Reply};
use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{BrokerError, Receipt};
use bulkhead_shared::lock::{Acquisition, Level, Release, Right};
use bulkhead_shared::name::{LockName, LockOwner};
use bulkhead_shared::time::{Now, millis};
use bulkhead_shared::units::LONGEST;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use tracing::debug;

pub(crate) use may::{Asked, May, Verdict};
use parked::Parked;

use crate::notice::{Notice, Notices};
use crate::pool::Seat;

/// What a task wants.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who asks.
    pub asker: Asker,
    /// The job under the fence of its attempt.
    pub receipt: Receipt,
    pub ask: Ask,
}

/// Whom an answer goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub seat: Seat,
    pub nonce: u64,
    pub id: u32,
}

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Word {
    /// A task asks.
    Wish(Box<Wish>),
    /// A call has ended with asks open.
    Over { seat: Seat, nonce: u64 },
}

/// The reactor's hold on the thread, which ends when this is dropped.
pub(crate) type Services = Sender<Word>;

/// The thread's body.
#[derive(Debug)]
pub(crate) struct Clerk {
    pub backend: Backend,
    pub notices: Notices,
    pub words: Receiver<Word>,
}

/// A wish for a lock that is checked.
#[derive(Debug)]
struct LockWish {
    name: LockName,
    owner: LockOwner,
    ttl: Option<Duration>,
}

impl Clerk {
    pub(crate) fn run(self) {
        let mut parked = Parked::default();
        loop {
            let word = match parked.look_at() {
                Some(due) => self.words.recv_deadline(due),
                None => self
                    .words
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match word {
                Ok(Word::Wish(wish)) => self.begin(*wish, &mut parked),
                Ok(Word::Over { seat, nonce }) => parked.forget(seat, nonce),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look_again(&mut parked);
        }
    }

    fn begin(&self, wish: Wish, parked: &mut Parked) {
        let Wish {
            asker,
            receipt,
            ask,
        } = wish;
        match ask {
            Ask::Acquire {
                lock,
                ttl_ms,
                wait_ms,
            } => {
                let wanted = match lock_wish(&receipt, &lock, ttl_ms) {
                    Ok(wanted) => wanted,
                    Err(denied) => return self.answer(asker, denied),
                };
                let now = Now::read().mono;
                let wait = Duration::from_millis(wait_ms).min(LONGEST);
                parked.add(asker, wanted, now, now + wait);
            }
            Ask::Renew {
                lock,
                fence,
                ttl_ms,
            } => self.answer(asker, self.renew(&lock, fence, ttl_ms)),
            Ask::Free { lock, fence } => {
                self.answer(asker, self.free(&lock, fence));
                parked.hurry(&lock, Now::read().mono);
            }
        }
    }

    /// Tries for the locks that are due to be tried for.
    fn look_again(&self, parked: &mut Parked) {
        let now = Now::read().mono;
        while let Some(waiter) = parked.due(now) {
            let LockWish { name, owner, ttl } = &waiter.wish;
            let acquired = self.backend.locks.acquire(name, owner, *ttl);
            let is_over = waiter.until <= now;
            let reply = match acquired {
                Ok(Acquisition::Acquired { fence }) => Reply::Acquired { fence },
                Ok(Acquisition::AlreadyYours { fence }) => Reply::AlreadyYours { fence },
                Ok(Acquisition::Held(held)) if is_over => Reply::Held {
                    owner: held.owner.as_str().into(),
                    since_ms: held.since.as_millis(),
                    left_ms: held.left.map(millis),
                },
                Ok(Acquisition::Held(held)) => {
                    parked.wait_for(waiter, held.left, now);
                    continue;
                }
                Err(error) if error.is_transient() && !is_over => {
                    debug!(%error, lock = %name, "a task's lock could not be tried for");
                    parked.wait_for(waiter, None, now);
                    continue;
                }
                Err(error) => away(&error),
            };
            self.answer(waiter.asker, reply);
        }
    }

    fn renew(&self, lock: &str, fence: u64, ttl_ms: Option<u64>) -> Reply {
        let (name, ttl) = match LockName::new(lock).map(|name| (name, ttl_ms.map(length))) {
            Ok(wish) => wish,
            Err(error) => return invalid(&error),
        };
        match self.backend.locks.renew_lock(&name, fence, ttl) {
            Ok(is_held) => Reply::Done(is_held),
            Err(error) => away(&error),
        }
    }

    fn free(&self, lock: &str, fence: u64) -> Reply {
        let name = match LockName::new(lock) {
            Ok(name) => name,
            Err(error) => return invalid(&error),
        };
        match self.backend.locks.release(&name, Right::Fence(fence)) {
            Ok(release) => Reply::Done(release == Release::Released),
            Err(error) => away(&error),
        }
    }

    fn answer(&self, asker: Asker, reply: Reply) {
        self.notices.send(Notice::Answer(asker, reply));
    }
}

fn lock_wish(receipt: &Receipt, lock: &str, ttl_ms: Option<u64>) -> Result<LockWish, Reply> {
    let name = LockName::new(lock).map_err(|error| invalid(&error))?;
    let level = Level::Task {
        job: receipt.uuid,
        fence: receipt.fence,
    };
    let owner = level.owner().map_err(|error| invalid(&error))?;
    if ttl_ms == Some(0) {
        let text = format!("lock `{name}` for no time is no lock (give a longer ttl, or none)");
        return Err(Reply::denied(Denied::Invalid, text));
    }
    let ttl = ttl_ms.map(length);
    Ok(LockWish { name, owner, ttl })
}

fn length(ms: u64) -> Duration {
    Duration::from_millis(ms).min(LONGEST)
}

fn invalid(error: &dyn std::error::Error) -> Reply {
    Reply::denied(Denied::Invalid, error.to_string())
}

fn away(error: &BrokerError) -> Reply {
    Reply::denied(Denied::Away, error.to_string())
}

/// When somebody has to be told again.
fn earliest(a: Option<Instant>, b: Instant) -> Option<Instant> {
    Some(a.map_or(b, |a| a.min(b)))
}
