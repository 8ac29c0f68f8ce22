//! Locks of the store, as a task takes and holds them.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::ask::{Ask, IfMine, Reply};
use bulkhead_shared::time::millis;
use bulkhead_shared::units::show_duration;

use crate::context::Context;
use crate::desk::{AskError, Patience};

/// Why a lock was not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it, and did so to the end of the wait.
    #[error(
        "lock `{name}` is held by `{owner}` since {since}{} (wait longer, or see `supervisor lock ls`)",
        left.map_or_else(String::new, |left| format!(", for {} more", show_duration(left)))
    )]
    Held {
        /// The lock.
        name: String,
        /// Who.
        owner: String,
        /// Since when.
        since: Timestamp,
        /// How long it is held unless renewed; `None` has no end of its own.
        left: Option<Duration>,
    },
    /// This attempt holds it already.
    #[error(
        "this attempt holds lock `{name}` already (release it first, or share it with `if_mine`)"
    )]
    AlreadyYours {
        /// The lock.
        name: String,
        /// The fence it is held under.
        fence: u64,
    },
    /// The lock has ended before it was released or renewed: others may hold it since.
    #[error("lock `{name}` under fence {fence} is lost (hold it for longer, or renew it in time)")]
    Lost {
        /// The lock.
        name: String,
        /// The fence it was held under.
        fence: u64,
    },
    /// The supervisor did not do it.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// A lock that is about to be taken; see [`Context::lock`].
#[derive(Debug)]
#[must_use = "nothing is held until `acquire`"]
pub struct Lock<'a> {
    context: &'a Context,
    name: String,
    ttl: Option<Duration>,
    wait: Duration,
    if_mine: IfMine,
}

impl<'a> Lock<'a> {
    pub(crate) fn new(context: &'a Context, name: &str) -> Self {
        Self {
            context,
            name: name.into(),
            ttl: None,
            wait: Duration::ZERO,
            if_mine: IfMine::default(),
        }
    }

    /// Holds it no longer than this, unless it is renewed. Without it: to the end of the attempt.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Waits so long for it if somebody else holds it, and not past a request to stop.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What to do when this attempt holds the lock already.
    pub const fn if_mine(mut self, if_mine: IfMine) -> Self {
        self.if_mine = if_mine;
        self
    }

    /// Takes it.
    ///
    /// # Errors
    /// [`LockError::Held`], [`LockError::AlreadyYours`], and [`LockError::Ask`]: the profile may
    /// not allow it, the task may be asked to stop while it waits.
    pub fn acquire(self) -> Result<LockGuard, LockError> {
        let reply = self.context.ask(self.wish(), Patience::UntilStopped)?;
        self.taken(reply)
    }

    /// [`Lock::acquire`] for `async fn` tasks: holds up nobody else.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    #[cfg(feature = "async")]
    pub async fn acquire_async(self) -> Result<LockGuard, LockError> {
        let reply = self.context.ask_async(self.wish()).await?;
        self.taken(reply)
    }

    fn wish(&self) -> Ask {
        Ask::Acquire {
            lock: self.name.clone(),
            ttl_ms: self.ttl.map(millis),
            wait_ms: millis(self.wait),
        }
    }

    fn taken(self, reply: Reply) -> Result<LockGuard, LockError> {
        let name = self.name;
        let (fence, is_own) = match (reply, self.if_mine) {
            (Reply::Acquired { fence }, _) => (fence, true),
            (Reply::AlreadyYours { fence }, IfMine::Share) => (fence, false),
            (Reply::AlreadyYours { fence }, IfMine::Refuse) => {
                return Err(LockError::AlreadyYours { name, fence });
            }
            (Reply::AlreadyYours { .. }, IfMine::Leave) => {
                return Err(LockError::Held {
                    name,
                    owner: "this attempt".into(),
                    since: Timestamp::now(),
                    left: None,
                });
            }
            (
                Reply::Held {
                    owner,
                    since_ms,
                    left_ms,
                },
                _,
            ) => {
                return Err(LockError::Held {
                    name,
                    owner,
                    since: Timestamp::from_millis(since_ms),
                    left: left_ms.map(Duration::from_millis),
                });
            }
            (other, _) => return Err(AskError::of(other).into()),
        };
        Ok(LockGuard {
            context: self.context.clone(),
            name,
            fence,
            is_own,
        })
    }
}

/// A lock that is held; released when dropped, and when the attempt ends.
#[must_use = "a guard that is dropped releases its lock"]
pub struct LockGuard {
    context: Context,
    name: String,
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
    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
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
    /// [`LockError::Lost`] if it has ended before, [`LockError::Ask`].
    pub fn renew(&self, ttl: Duration) -> Result<(), LockError> {
        self.must(Ask::Renew {
            lock: self.name.clone(),
            fence: self.fence,
            ttl_ms: Some(millis(ttl)),
        })
    }

    /// Frees it now, and says if it had ended before.
    ///
    /// # Errors
    /// [`LockError::Lost`], [`LockError::Ask`].
    pub fn release(mut self) -> Result<(), LockError> {
        self.is_own = false;
        self.must(self.free())
    }

    /// Goes without releasing it: it is held to the end of its ttl or of the attempt. Returns its
    /// fence.
    pub fn keep(mut self) -> u64 {
        self.is_own = false;
        self.fence
    }

    fn free(&self) -> Ask {
        Ask::Free {
            lock: self.name.clone(),
            fence: self.fence,
        }
    }

    fn must(&self, ask: Ask) -> Result<(), LockError> {
        match self.context.ask(ask, Patience::ToTheEnd)? {
            Reply::Done(true) => Ok(()),
            Reply::Done(false) => Err(LockError::Lost {
                name: self.name.clone(),
                fence: self.fence,
            }),
            other => Err(AskError::of(other).into()),
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.is_own {
            // If it cannot be asked, the lock falls with the attempt.
            let _ = self.context.ask(self.free(), Patience::ToTheEnd);
        }
    }
}
