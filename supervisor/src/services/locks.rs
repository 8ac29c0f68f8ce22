//! Locks of tasks: whose they are, and what is done with those that are held.

use std::time::{Duration, Instant};

use bulkhead_shared::ask::{Denied, Reply};
use bulkhead_shared::broker::Receipt;
use bulkhead_shared::lock::{Level, Locks, Release, Right};
use bulkhead_shared::name::{LockName, LockOwner};

use super::parked::Parked;
use super::{Asker, away, invalid, length};

/// A wish for a lock that is checked.
#[derive(Debug)]
pub(super) struct LockWish {
    pub name: LockName,
    pub owner: LockOwner,
    pub ttl: Option<Duration>,
}

impl LockWish {
    pub(super) fn new(receipt: &Receipt, lock: &str, ttl_ms: Option<u64>) -> Result<Self, Reply> {
        let name = LockName::new(lock).map_err(|error| invalid(&error))?;
        if ttl_ms == Some(0) {
            let text = format!("lock `{name}` for no time is no lock (give a longer ttl, or none)");
            return Err(Reply::denied(Denied::Invalid, text));
        }
        let (owner, ttl) = (owner(receipt)?, ttl_ms.map(length));
        Ok(Self { name, owner, ttl })
    }
}

/// Who holds what an attempt has taken.
fn owner(receipt: &Receipt) -> Result<LockOwner, Reply> {
    let level = Level::Task {
        job: receipt.uuid,
        fence: receipt.fence,
    };
    level.owner().map_err(|error| invalid(&error))
}

/// Has an attempt wait for a lock, behind those who came before; the answer, if it has it already: they
/// may wait for this very attempt to free it.
pub(super) fn line_up(
    locks: &dyn Locks,
    parked: &mut Parked,
    asker: Asker,
    wish: LockWish,
    (now, until): (Instant, Instant),
) -> Option<Reply> {
    // Of a store that is away it is asked again, when its turn comes.
    let is_in_line = parked.has_line(&wish.name);
    let holder = is_in_line.then(|| locks.holder(&wish.name).ok().flatten());
    match holder.flatten() {
        Some(held) if held.owner == wish.owner => Some(Reply::AlreadyYours { fence: held.fence }),
        _ => {
            parked.add(asker, wish, now, until);
            None
        }
    }
}

/// The lock, if the attempt itself holds it under this fence: fences can be guessed.
fn held_by(
    locks: &dyn Locks,
    receipt: &Receipt,
    (lock, fence): (&str, u64),
) -> Result<Option<LockName>, Reply> {
    let name = LockName::new(lock).map_err(|error| invalid(&error))?;
    let owner = owner(receipt)?;
    let holder = locks.holder(&name).map_err(|error| away(&error))?;
    let is_own = holder.is_some_and(|held| held.owner == owner && held.fence == fence);
    Ok(is_own.then_some(name))
}

/// Holds a lock of the attempt for longer.
pub(super) fn renew(
    locks: &dyn Locks,
    receipt: &Receipt,
    (lock, fence): (&str, u64),
    ttl_ms: Option<u64>,
) -> Reply {
    match held_by(locks, receipt, (lock, fence)) {
        Ok(Some(name)) => match locks.renew_lock(&name, fence, ttl_ms.map(length)) {
            Ok(is_held) => Reply::Done(is_held),
            Err(error) => away(&error),
        },
        Ok(None) => Reply::Done(false),
        Err(reply) => reply,
    }
}

/// Frees a lock of the attempt.
pub(super) fn free(locks: &dyn Locks, receipt: &Receipt, (lock, fence): (&str, u64)) -> Reply {
    match held_by(locks, receipt, (lock, fence)) {
        Ok(Some(name)) => match locks.release(&name, Right::Fence(fence)) {
            Ok(release) => Reply::Done(release == Release::Released),
            Err(error) => away(&error),
        },
        Ok(None) => Reply::Done(false),
        Err(reply) => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Seat;
    use bulkhead_shared::backend::{self, Backend, Options};
    use bulkhead_shared::broker::{Claim, Selection, SupervisorId};
    use bulkhead_shared::client::Client;
    use bulkhead_shared::lock::Acquisition;
    use bulkhead_shared::{Message, QueueName, TaskName, Uuid};

    fn store() -> Backend {
        backend::open(&Options::new("sqlite::memory:")).unwrap()
    }

    /// An attempt at a job of its own: locks are held by such as are running.
    fn attempt(backend: &Backend) -> Receipt {
        let client = Client::new(backend.clone());
        let _ = client.submit(Message::new("count")).unwrap();
        let selection = Selection {
            queues: vec![QueueName::default()],
            tasks: vec![TaskName::new("count").unwrap()],
        };
        let claim = Claim {
            owner: SupervisorId(Uuid::now_v7()),
            selection: &selection,
            room: 1,
            lease: Duration::from_secs(60),
        };
        let mut turned = backend.broker.turn(Vec::new(), Some(claim)).unwrap();
        turned.claimed.remove(0).receipt
    }

    #[track_caller]
    fn taken(locks: &dyn Locks, receipt: &Receipt) -> u64 {
        let wish = LockWish::new(receipt, "till", None).unwrap();
        match locks.acquire(&wish.name, &wish.owner, wish.ttl).unwrap() {
            Acquisition::Acquired { fence } => fence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_frees_or_shortens_a_lock_of_another_attempt_by_its_fence() {
        let backend = store();
        let locks = &*backend.locks;
        let (holder, other) = (attempt(&backend), attempt(&backend));
        let later = Receipt {
            fence: holder.fence + 1,
            ..holder.clone()
        };
        let fence = taken(locks, &holder);
        for stranger in [&other, &later] {
            let lock = ("till", fence);
            assert_eq!(free(locks, stranger, lock), Reply::Done(false));
            let renewed = renew(locks, stranger, lock, Some(1));
            assert_eq!(renewed, Reply::Done(false));
        }
        let held = locks.holder(&LockName::new("till").unwrap()).unwrap();
        let held = held.expect("it is still held");
        assert_eq!((held.fence, held.left), (fence, None));
    }

    #[test]
    fn an_attempt_that_has_a_lock_is_told_so_at_once_though_others_wait_for_it() {
        let backend = store();
        let locks = &*backend.locks;
        let (holder, other) = (attempt(&backend), attempt(&backend));
        let fence = taken(locks, &holder);
        let now = bulkhead_shared::time::Now::read().mono;
        let mut parked = Parked::default();
        let mut line_up = |receipt, nonce| {
            let seat = Seat {
                slot: 1,
                generation: 1,
            };
            let asker = Asker { seat, nonce, id: 0 };
            let wish = LockWish::new(receipt, "till", None).unwrap();
            let until = now + Duration::from_mins(1);
            line_up(locks, &mut parked, asker, wish, (now, until))
        };
        assert_eq!(line_up(&other, 1), None);
        let yours = Reply::AlreadyYours { fence };
        assert_eq!(line_up(&holder, 2), Some(yours));
        assert_eq!(line_up(&other, 3), None);
        let waiting = std::iter::from_fn(|| parked.due(now + Duration::from_mins(1)));
        let waiting: Vec<_> = waiting.map(|waiter| waiter.asker.nonce).collect();
        assert_eq!(waiting, [1, 3]);
    }

    #[test]
    fn an_attempt_renews_and_frees_its_own_lock_under_the_fence_it_was_given() {
        let backend = store();
        let locks = &*backend.locks;
        let holder = attempt(&backend);
        let fence = taken(locks, &holder);
        assert_eq!(
            free(locks, &holder, ("till", fence + 1)),
            Reply::Done(false)
        );
        let renewed = renew(locks, &holder, ("till", fence), Some(60_000));
        assert_eq!(renewed, Reply::Done(true));
        assert_eq!(free(locks, &holder, ("till", fence)), Reply::Done(true));
        assert_eq!(free(locks, &holder, ("till", fence)), Reply::Done(false));
    }
}
