//! Waits for a lock that somebody else holds.

use std::time::Duration;

use super::{Acquisition, HeldLock, Tenure};
use crate::backend::Backend;
use crate::broker::{BrokerError, Heed, Listen};
use crate::name::{LockName, LockOwner};
use crate::time::Now;

/// A waiter looks by itself at least so often: a ring may be lost with a connection.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// As often where the lock falls with an attempt: its end rings for its job, not for its locks.
const LOOK_AT_TASKS_EVERY: Duration = Duration::from_millis(500);

/// Takes a lock, and waits up to `wait` for it if somebody else holds it. Of several that wait, the
/// first to ask after the release has it.
///
/// # Errors
/// [`BrokerError`].
pub fn acquire_within(
    backend: &Backend,
    name: &LockName,
    owner: &LockOwner,
    ttl: Option<Duration>,
    wait: Duration,
) -> Result<Acquisition, BrokerError> {
    let first = backend.locks.acquire(name, owner, ttl)?;
    if wait.is_zero() || !matches!(first, Acquisition::Held(_)) {
        return Ok(first);
    }
    let start = Now::read().mono;
    // Made before the next look: no release falls between the two.
    let mut bell = backend.broker.bell(Listen::Lock(name))?;
    loop {
        let held = match backend.locks.acquire(name, owner, ttl)? {
            Acquisition::Held(held) => held,
            got => return Ok(got),
        };
        let left = wait.saturating_sub(Now::read().mono.saturating_duration_since(start));
        if left.is_zero() {
            return Ok(Acquisition::Held(held));
        }
        bell.wait(Heed::Everything, None, left.min(patience(&held)))?;
    }
}

/// How long to wait for a ring before the next look.
fn patience(held: &HeldLock) -> Duration {
    let by_owner = match Tenure::of(&held.owner) {
        Some(_) => LOOK_AT_TASKS_EVERY,
        None => LOOK_EVERY,
    };
    // Nobody rings when its time is over.
    let end = held.left.map(|left| left + Duration::from_millis(1));
    end.map_or(by_owner, |end| end.min(by_owner))
}
