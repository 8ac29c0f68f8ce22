//! Locks: at most one holder of a name at any moment, each holding under a fence of its own.
//!
//! A lock may end while its holder does not know: its time is over, or somebody has freed it. What
//! the holder writes elsewhere is therefore to carry the fence, and whoever takes it in refuses a
//! lower one than it has seen. Fences of a namespace only grow, also over locks that are forgotten.
//!
//! Time is that of the store: since boot on SQLite, the server's on Redis. No step of a wall clock
//! of a client moves the end of a lock. On SQLite a start of the machine ends all locks that have
//! an end.

mod guard;
mod owner;
mod wait;

use std::fmt;
use std::time::Duration;

use crate::broker::BrokerError;
use crate::name::{LockName, LockOwner};
use crate::time::Timestamp;

pub use crate::ask::IfMine;
pub use guard::{Lock, LockError, LockGuard};
pub use owner::{Level, Tenure};
pub use wait::acquire_within;

/// How long a lock is held that says nothing else.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// What became of a wish for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquisition {
    /// It is yours, under this fence.
    Acquired {
        /// Higher than that of any lock of the namespace before.
        fence: u64,
    },
    /// The same owner held it already; its end was left as it was.
    AlreadyYours {
        /// The fence under which it is held.
        fence: u64,
    },
    /// Somebody else holds it.
    Held(HeldLock),
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// Which.
    pub name: LockName,
    /// By whom.
    pub owner: LockOwner,
    /// Under which fence.
    pub fence: u64,
    /// Since when, for show.
    pub since: Timestamp,
    /// How long it is held unless renewed; none has no end of its own.
    pub left: Option<Duration>,
}

/// By which right a lock is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'a> {
    /// It is held under this fence.
    Fence(u64),
    /// It is held by this owner.
    Owner(&'a LockOwner),
    /// Whoever holds it.
    Force,
}

/// What became of the wish to free a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It is free.
    Released,
    /// Somebody else holds it; nothing was changed.
    Refused(HeldLock),
    /// Nobody holds it.
    Free,
}

/// Holds locks. Each method is one atomic move.
pub trait Locks: Send + Sync + fmt::Debug {
    /// Takes a lock for `ttl`, or until it is released, if nobody holds it.
    ///
    /// # Errors
    /// [`BrokerError`]; after [`BrokerError::Away`] it may be held: the same call tells.
    fn acquire(
        &self,
        name: &LockName,
        owner: &LockOwner,
        ttl: Option<Duration>,
    ) -> Result<Acquisition, BrokerError>;

    /// Holds a lock for `ttl` from now on, if it is still held under `fence`. Says whether it is.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn renew_lock(
        &self,
        name: &LockName,
        fence: u64,
        ttl: Option<Duration>,
    ) -> Result<bool, BrokerError>;

    /// Gives a lock that is held under `fence` to another owner, who holds it without an end of its
    /// own and under the same fence. Says whether it was.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn pass_on(&self, name: &LockName, fence: u64, owner: &LockOwner) -> Result<bool, BrokerError>;

    /// Frees a lock.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn release(&self, name: &LockName, right: Right<'_>) -> Result<Release, BrokerError>;

    /// Who holds a lock.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn holder(&self, name: &LockName) -> Result<Option<HeldLock>, BrokerError>;

    /// Locks that are held, by name, at most `limit`.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn locks(&self, limit: usize) -> Result<Vec<HeldLock>, BrokerError>;
}
