//! A lock as users take and hold it.

use std::fmt;
use std::time::Duration;

use super::{Acquisition, DEFAULT_TTL, HeldLock, Level, Release, Right, acquire_within};
use crate::ask::IfMine;
use crate::backend::Backend;
use crate::broker::BrokerError;
use crate::name::{LockName, LockOwner, NameError};
use crate::units::show_duration;

/// Why a lock was not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The name cannot be one, or the owner.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A time is zero, so that nothing would be held.
    #[error("lock `{name}` for no time is no lock (give a longer ttl, or none)")]
    NoTime {
        /// The lock.
        name: LockName,
    },
    /// Somebody else holds it, and did so to the end of the wait.
    #[error(
        "lock `{}` is held by `{}` since {}{} (wait longer, or see `supervisor lock ls`)",
        _0.name, _0.owner, _0.since, until(_0)
    )]
    Held(Box<HeldLock>),
    /// The same owner holds it already.
    #[error(
        "`{owner}` holds lock `{name}` already (release it first, share it with `if_mine`, or own it on a narrower level)"
    )]
    AlreadyYours {
        /// The lock.
        name: LockName,
        /// The owner.
        owner: LockOwner,
        /// The fence it is held under.
        fence: u64,
    },
    /// The lock has ended before it was released or renewed: others may hold it since.
    #[error("lock `{name}` under fence {fence} is lost (hold it for longer, or renew it in time)")]
    Lost {
        /// The lock.
        name: LockName,
        /// The fence it was held under.
        fence: u64,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] BrokerError),
}

fn until(held: &HeldLock) -> String {
    held.left.map_or_else(String::new, |left| {
        format!(", for {} more", show_duration(left))
    })
}

/// A lock that is about to be taken.
#[derive(Debug)]
#[must_use = "nothing is held until `acquire`"]
pub struct Lock<'a> {
    backend: &'a Backend,
    name: String,
    ttl: Option<Duration>,
    owner: Whose,
    if_mine: IfMine,
}

#[derive(Debug)]
enum Whose {
    Level(Level),
    Named(String),
}

impl<'a> Lock<'a> {
    /// The lock `name` of a store, for an hour, of this process.
    pub fn new(backend: &'a Backend, name: &str) -> Self {
        Self {
            backend,
            name: name.into(),
            ttl: Some(DEFAULT_TTL),
            owner: Whose::Level(Level::default()),
            if_mine: IfMine::default(),
        }
    }

    /// Holds it for so long unless it is renewed or released. Whoever dies holds it to that end.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Holds it until it is released: whoever dies holds it until somebody frees it by hand.
    pub const fn no_ttl(mut self) -> Self {
        self.ttl = None;
        self
    }

    /// Whose it is.
    pub fn level(mut self, level: Level) -> Self {
        self.owner = Whose::Level(level);
        self
    }

    /// Whose it is, by a name of your own.
    pub fn owner(mut self, owner: &str) -> Self {
        self.owner = Whose::Named(owner.into());
        self
    }

    /// What to do when the same owner holds it already.
    pub const fn if_mine(mut self, if_mine: IfMine) -> Self {
        self.if_mine = if_mine;
        self
    }

    /// Takes it, and waits up to `wait` for it if somebody else holds it.
    ///
    /// # Errors
    /// [`LockError::Held`], [`LockError::AlreadyYours`], [`LockError::Name`],
    /// [`LockError::NoTime`], [`LockError::Store`].
    pub fn acquire(self, wait: Duration) -> Result<LockGuard, LockError> {
        let name = LockName::new(&self.name)?;
        let owner = match &self.owner {
            Whose::Level(level) => level.owner()?,
            Whose::Named(owner) => LockOwner::new(owner)?,
        };
        if self.ttl.is_some_and(|ttl| ttl < Duration::from_millis(1)) {
            return Err(LockError::NoTime { name });
        }
        let backend = self.backend;
        let (fence, is_own) = match acquire_within(backend, &name, &owner, self.ttl, wait)? {
            Acquisition::Acquired { fence } => (fence, true),
            Acquisition::AlreadyYours { fence } => match self.if_mine {
                IfMine::Share => (fence, false),
                IfMine::Refuse => return Err(LockError::AlreadyYours { name, owner, fence }),
                IfMine::Leave => {
                    let found = backend.locks.holder(&name)?;
                    let held = found.ok_or(LockError::Lost { name, fence })?;
                    return Err(LockError::Held(Box::new(held)));
                }
            },
            Acquisition::Held(held) => return Err(LockError::Held(Box::new(held))),
        };
        Ok(LockGuard {
            backend: backend.clone(),
            name,
            fence,
            is_own,
        })
    }

    /// Who holds it now.
    ///
    /// # Errors
    /// [`LockError::Name`], [`LockError::Store`].
    pub fn holder(&self) -> Result<Option<HeldLock>, LockError> {
        Ok(self.backend.locks.holder(&LockName::new(&self.name)?)?)
    }
}

/// A lock that is held; released when dropped.
#[must_use = "a guard that is dropped releases its lock"]
pub struct LockGuard {
    backend: Backend,
    name: LockName,
    fence: u64,
    is_own: bool,
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("name", &self.name)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

impl LockGuard {
    /// The lock.
    #[must_use]
    pub const fn name(&self) -> &LockName {
        &self.name
    }

    /// The number to send along with every write that the lock protects: whoever takes writes in
    /// refuses one with a lower number than it has seen.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// Holds it for `ttl` from now on.
    ///
    /// # Errors
    /// [`LockError::Lost`] if it has ended before, [`LockError::Store`].
    pub fn renew(&self, ttl: Duration) -> Result<(), LockError> {
        if self
            .backend
            .locks
            .renew_lock(&self.name, self.fence, Some(ttl))?
        {
            Ok(())
        } else {
            Err(self.lost())
        }
    }

    /// Frees it now, and says if it had ended before.
    ///
    /// # Errors
    /// [`LockError::Lost`], [`LockError::Store`].
    pub fn release(mut self) -> Result<(), LockError> {
        self.is_own = false;
        match self
            .backend
            .locks
            .release(&self.name, Right::Fence(self.fence))?
        {
            Release::Released => Ok(()),
            Release::Refused(_) | Release::Free => Err(self.lost()),
        }
    }

    /// Goes without releasing it: it is held to the end of its ttl, or until somebody frees it.
    /// Returns its fence.
    pub fn keep(mut self) -> u64 {
        self.is_own = false;
        self.fence
    }

    fn lost(&self) -> LockError {
        LockError::Lost {
            name: self.name.clone(),
            fence: self.fence,
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.is_own {
            let released = self
                .backend
                .locks
                .release(&self.name, Right::Fence(self.fence));
            if let Err(error) = released {
                tracing::warn!(lock = %self.name, %error, "a lock could not be released");
            }
        }
    }
}
