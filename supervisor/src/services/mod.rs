//! Answers what tasks ask for: a thread between the reactor and the store, so that no task holds up
//! the loop. Each answer is given under the fence of its attempt.
//!
//! A wish that cannot be had at once is kept aside and looked at again; it never blocks the thread.
//! How many wishes there can be is bounded by the asks that an attempt may have open.

mod journal;
mod late;
mod locks;
mod may;
mod parked;
mod results;
mod submit;

use std::time::{Duration, Instant};

use bulkhead_shared::ask::{Ask, Denied, Reply};
use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{BrokerError, Receipt};
use bulkhead_shared::journal::Record;
use bulkhead_shared::lock::Acquisition;
use bulkhead_shared::time::{Now, millis};
use bulkhead_shared::units::LONGEST;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{debug, info};

use late::Late;
use locks::LockWish;
pub(crate) use may::{Asked, May, Verdict};
use parked::Parked;
use results::{Awaited, AwaitedResults};
use submit::Grant;

use crate::notice::{Notice, Notices};
use crate::pool::Seat;
use crate::sandbox::menu::Menu;

/// What a task wants.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who asks.
    pub asker: Asker,
    /// The job under the fence of its attempt.
    pub receipt: Receipt,
    pub ask: Ask,
    /// The number of its profile.
    pub profile: u16,
    /// Asks that the attempt has left.
    pub left: u32,
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
    pub menu: Menu,
    pub words: Receiver<Word>,
}

/// Asks that are looked at together.
const BATCH: usize = 256;

/// How long an entry is held for a store that is away.
const PATIENCE: Duration = Duration::from_secs(15);

/// An entry that is to be written.
#[derive(Debug)]
struct Entry {
    asker: Asker,
    record: Record,
    /// It is tried no longer.
    until: Instant,
}

impl Clerk {
    pub(crate) fn run(self) {
        let mut parked = Parked::default();
        let mut late = Late::default();
        let mut awaited = AwaitedResults::default();
        loop {
            let due = [parked.look_at(), late.look_at(), awaited.look_at()];
            let due = due.into_iter().flatten().min();
            let word = match due {
                Some(due) => self.words.recv_deadline(due),
                None => (self.words.recv()).map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut words = match word {
                Ok(word) => vec![word],
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
            };
            words.extend(self.words.try_iter().take(BATCH));
            let mut records = late.due(Now::read().mono);
            for word in words {
                match word {
                    Word::Wish(wish) => match wish.ask {
                        Ask::Result { uuid, wait_ms } => {
                            let now = Now::read().mono;
                            awaited.add(Awaited::new(&wish, uuid, now, now + length(wait_ms)));
                        }
                        _ => self.begin(*wish, &mut parked, &mut records),
                    },
                    Word::Over { seat, nonce } => {
                        parked.forget(seat, nonce);
                        late.forget(seat, nonce);
                        awaited.forget(seat, nonce);
                    }
                }
            }
            self.record(records, &mut late);
            self.look_again(&mut parked);
            for (asker, reply) in awaited.look(&*self.backend.catalog, Now::read().mono) {
                self.answer(asker, reply);
            }
        }
    }

    /// Writes what has gathered in one move.
    fn record(&self, entries: Vec<Entry>, late: &mut Late) {
        if entries.is_empty() {
            return;
        }
        let (askers, records): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| ((entry.asker, entry.until), entry.record))
            .unzip();
        let error = match journal::record(&*self.backend.journals, &records) {
            Ok(replies) => {
                for ((asker, _), reply) in askers.into_iter().zip(replies) {
                    self.answer(asker, reply);
                }
                return;
            }
            Err(error) => error,
        };
        let now = Now::read().mono;
        for ((asker, until), record) in askers.into_iter().zip(records) {
            if error.is_transient() && now < until {
                late.add(Entry {
                    asker,
                    record,
                    until,
                });
            } else {
                self.answer(asker, away(&error));
            }
        }
    }

    fn begin(&self, wish: Wish, parked: &mut Parked, records: &mut Vec<Entry>) {
        let Wish {
            asker,
            receipt,
            ask,
            profile,
            left,
        } = wish;
        match ask {
            Ask::Acquire {
                lock,
                ttl_ms,
                wait_ms,
            } => {
                let wanted = match LockWish::new(&receipt, &lock, ttl_ms) {
                    Ok(wanted) => wanted,
                    Err(denied) => return self.answer(asker, denied),
                };
                let now = Now::read().mono;
                let times = (now, now + length(wait_ms));
                let had = locks::line_up(&*self.backend.locks, parked, asker, wanted, times);
                if let Some(had) = had {
                    self.answer(asker, had);
                }
            }
            Ask::Renew {
                lock,
                fence,
                ttl_ms,
            } => {
                let reply = locks::renew(&*self.backend.locks, &receipt, (&lock, fence), ttl_ms);
                self.answer(asker, reply);
            }
            Ask::Free { lock, fence } => {
                let reply = locks::free(&*self.backend.locks, &receipt, (&lock, fence));
                self.answer(asker, reply);
                parked.hurry(&lock, Now::read().mono);
            }
            Ask::Record {
                key,
                body,
                is_first,
            } => match journal::misfit(&key, &body) {
                Some(misfit) => self.answer(asker, misfit),
                None => records.push(Entry {
                    asker,
                    record: Record {
                        receipt,
                        key,
                        body: body.into_vec(),
                        is_first,
                    },
                    until: Now::read().mono + PATIENCE,
                }),
            },
            Ask::Recall { after } => {
                let recalled = journal::recall(&*self.backend.journals, &receipt, after);
                self.answer(asker, recalled.unwrap_or_else(|error| away(&error)));
            }
            Ask::Take { name, by } => {
                let taken = journal::take(&*self.backend.journals, &receipt, &name, &by);
                self.answer(asker, taken.unwrap_or_else(|error| away(&error)));
            }
            Ask::Submit { flow } => {
                let entry = self.menu.entry(profile);
                let grant = Grant {
                    profile: &entry.profile.name,
                    may: &entry.plan.may,
                    left,
                };
                let reply = submit::submit(&self.backend, &receipt, &grant, &flow);
                if let Reply::Denied { why, text } = &reply {
                    info!(job = %receipt.uuid, profile = grant.profile, ?why, text, "an ask was denied");
                }
                self.answer(asker, reply);
            }
            Ask::Result { .. } => unreachable!("it is kept aside"),
            Ask::Events { .. } => {
                let text = "only a processor is given events (declare it with `#[processor]`)";
                self.answer(asker, Reply::denied(Denied::Invalid, text));
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

    fn answer(&self, asker: Asker, reply: Reply) {
        self.notices.send(Notice::Answer(asker, reply));
    }
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
