//! Locks. The row's own number is the fence: SQLite never gives one twice, whatever is deleted.

use std::time::Duration;

use rusqlite::Row;
use uuid::Uuid;

use super::claim::bound;
use super::clock::{shown, stored_length};
use super::ledger::{Ledger, name};
use super::read::unsigned;
use super::store::Store;
use super::writer::Urgency;
use crate::broker::BrokerError;
use crate::lock::{Acquisition, HeldLock, Locks, Release, Right, Tenure};
use crate::name::{LockName, LockOwner};

/// A lock and the time it is held to, since boot.
type Found = (HeldLock, Option<i64>, [u8; 16]);

/// By which right, of its own.
enum By {
    Fence(u64),
    Owner(LockOwner),
    Force,
}

impl Locks for Store {
    fn acquire(
        &self,
        name: &LockName,
        owner: &LockOwner,
        ttl: Option<Duration>,
    ) -> Result<Acquisition, BrokerError> {
        let (asked, asker) = (name.clone(), owner.clone());
        let (name, owner) = (name.clone(), owner.clone());
        self.writer.call(
            Urgency::Usual,
            move |ledger| ledger.taken(&asked, &asker),
            move |ledger| match ledger.taken(&name, &owner)? {
                Some(taken) => Ok(taken),
                None => {
                    let fence = ledger.hold(&name, &owner, ttl)?;
                    Ok(Acquisition::Acquired { fence })
                }
            },
        )
    }

    fn renew_lock(
        &self,
        name: &LockName,
        fence: u64,
        ttl: Option<Duration>,
    ) -> Result<bool, BrokerError> {
        let name = name.clone();
        self.writer.write(Urgency::First, move |ledger| {
            let held = ledger.held(&name)?.is_some_and(|held| held.fence == fence);
            if held {
                let sql = "UPDATE held_lock SET until = ?2, boot = ?3 WHERE fence = ?1";
                ledger.execute(sql, (bound_fence(fence), ledger.end(ttl), ledger.boot_id))?;
            }
            Ok(held)
        })
    }

    fn pass_on(&self, name: &LockName, fence: u64, owner: &LockOwner) -> Result<bool, BrokerError> {
        let (name, owner) = (name.clone(), owner.clone());
        self.writer.write(Urgency::Usual, move |ledger| {
            let held = ledger.held(&name)?.is_some_and(|held| held.fence == fence);
            if held {
                ledger.hand_over(fence, &owner)?;
            }
            Ok(held)
        })
    }

    fn release(&self, name: &LockName, right: Right<'_>) -> Result<Release, BrokerError> {
        let name = name.clone();
        let by = match right {
            Right::Fence(fence) => By::Fence(fence),
            Right::Owner(owner) => By::Owner(owner.clone()),
            Right::Force => By::Force,
        };
        self.writer.write(Urgency::Usual, move |ledger| {
            let Some(held) = ledger.held(&name)? else {
                return Ok(Release::Free);
            };
            let may = match &by {
                By::Fence(fence) => held.fence == *fence,
                By::Owner(owner) => held.owner == *owner,
                By::Force => true,
            };
            if !may {
                return Ok(Release::Refused(held));
            }
            ledger.let_go(&name)?;
            Ok(Release::Released)
        })
    }

    fn holder(&self, name: &LockName) -> Result<Option<HeldLock>, BrokerError> {
        let name = name.clone();
        self.writer.call(
            Urgency::Usual,
            move |ledger| ledger.held(&name).map(Some),
            |_| Ok(None),
        )
    }

    fn locks(&self, limit: usize) -> Result<Vec<HeldLock>, BrokerError> {
        self.writer.call(
            Urgency::Usual,
            move |ledger| ledger.all_held(limit).map(Some),
            |_| Ok(Vec::new()),
        )
    }
}

impl Ledger {
    /// Who holds a lock, unless it is over.
    pub(super) fn held(&self, lock: &LockName) -> rusqlite::Result<Option<HeldLock>> {
        let sql = "SELECT name, owner, fence, since, until, boot FROM held_lock
            WHERE namespace = ?1 AND name = ?2";
        let key = (self.namespace.as_str(), lock.as_str());
        match self.row(sql, key, |row| self.found(row))? {
            Some(found) if !self.is_over(&found)? => Ok(Some(found.0)),
            _ => Ok(None),
        }
    }

    /// The answer to `owner` if somebody holds it.
    fn taken(&self, lock: &LockName, owner: &LockOwner) -> rusqlite::Result<Option<Acquisition>> {
        let held = self.held(lock)?;
        Ok(held.map(|held| {
            if held.owner == *owner {
                Acquisition::AlreadyYours { fence: held.fence }
            } else {
                Acquisition::Held(held)
            }
        }))
    }

    /// Takes a lock that nobody holds, or whose time is over.
    pub(super) fn hold(
        &self,
        lock: &LockName,
        owner: &LockOwner,
        ttl: Option<Duration>,
    ) -> rusqlite::Result<u64> {
        let key = (self.namespace.as_str(), lock.as_str());
        let sql = "DELETE FROM held_lock WHERE namespace = ?1 AND name = ?2";
        self.execute(sql, key)?;
        let sql = "INSERT INTO held_lock(namespace, name, owner, since, until, boot)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        self.execute(
            sql,
            (
                key.0,
                key.1,
                owner.as_str(),
                self.now.wall,
                self.end(ttl),
                self.boot_id,
            ),
        )?;
        Ok(u64::try_from(self.conn.last_insert_rowid()).unwrap_or(0))
    }

    /// Gives a lock to another owner, who holds it without an end.
    pub(super) fn hand_over(&self, fence: u64, owner: &LockOwner) -> rusqlite::Result<()> {
        let sql = "UPDATE held_lock SET owner = ?2, until = NULL WHERE fence = ?1";
        self.execute(sql, (bound_fence(fence), owner.as_str()))?;
        Ok(())
    }

    /// Frees a lock, whoever holds it, and tells those who wait for it.
    pub(super) fn let_go(&mut self, lock: &LockName) -> rusqlite::Result<()> {
        let sql = "DELETE FROM held_lock WHERE namespace = ?1 AND name = ?2";
        self.execute(sql, (self.namespace.as_str(), lock.as_str()))?;
        self.marks.rings = true;
        self.wake_at(lock)
    }

    fn all_held(&self, limit: usize) -> rusqlite::Result<Vec<HeldLock>> {
        let sql = "SELECT name, owner, fence, since, until, boot FROM held_lock
            WHERE namespace = ?1 ORDER BY name LIMIT ?2";
        let key = (self.namespace.as_str(), bound(limit));
        let mut all = Vec::new();
        for found in self.rows(sql, key, |row| self.found(row))? {
            if !self.is_over(&found)? {
                all.push(found.0);
            }
        }
        Ok(all)
    }

    /// Forgets locks that are over, at most `limit`.
    pub(super) fn forget_locks(&mut self, limit: usize) -> rusqlite::Result<usize> {
        // By themselves: locks without an end may be many, and come first in order.
        let timed = "SELECT name, owner, fence, since, until, boot FROM held_lock
            WHERE namespace = ?1 AND until IS NOT NULL ORDER BY until LIMIT ?2";
        let forgotten = self.forget_over(timed, limit)?;
        let endless = "SELECT name, owner, fence, since, until, boot FROM held_lock
            WHERE namespace = ?1 AND until IS NULL LIMIT ?2";
        Ok(forgotten + self.forget_over(endless, limit - forgotten)?)
    }

    fn forget_over(&mut self, sql: &str, limit: usize) -> rusqlite::Result<usize> {
        let key = (self.namespace.as_str(), bound(limit));
        let mut forgotten = 0;
        for found in self.rows(sql, key, |row| self.found(row))? {
            if self.is_over(&found)? {
                self.let_go(&found.0.name)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn found(&self, row: &Row<'_>) -> rusqlite::Result<Found> {
        let until: Option<i64> = row.get(4)?;
        let left = until.map(|until| {
            Duration::from_millis(u64::try_from(until.saturating_sub(self.now.boot)).unwrap_or(0))
        });
        let held = HeldLock {
            name: name(row, 0, LockName::new)?,
            owner: name(row, 1, LockOwner::new)?,
            fence: unsigned(row, 2)?,
            since: shown(row.get(3)?),
            left,
        };
        Ok((held, until, row.get(5)?))
    }

    /// Whether its time is over, or that of the job or attempt that holds it. Time since another
    /// start of the machine tells nothing, and what ran then does not run any more.
    fn is_over(&self, (held, until, boot): &Found) -> rusqlite::Result<bool> {
        if until.is_some_and(|until| *boot != self.boot_id || until <= self.now.boot) {
            return Ok(true);
        }
        let Some(tenure) = Tenure::of(&held.owner) else {
            return Ok(false);
        };
        let lives = self.jobs_states(tenure.job())?;
        Ok(match tenure {
            Tenure::Job(_) => lives.iter().all(|(state, _)| (3..=5).contains(state)),
            Tenure::Attempt { fence, .. } => {
                !lives.contains(&(2, i64::try_from(fence).unwrap_or(-1)))
            }
        })
    }

    /// States and fences of our jobs with this uuid.
    fn jobs_states(&self, uuid: Uuid) -> rusqlite::Result<Vec<(i64, i64)>> {
        let sql = "SELECT state, fence FROM job JOIN line ON line.id = job.line
            WHERE uuid = ?1 AND namespace = ?2";
        let key = (uuid.as_bytes(), self.namespace.as_str());
        self.rows(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn end(&self, ttl: Option<Duration>) -> Option<i64> {
        ttl.map(|ttl| self.now.boot.saturating_add(stored_length(ttl)))
    }
}

/// A fence as the tables hold it. One that is too large belongs to no lock.
fn bound_fence(fence: u64) -> i64 {
    i64::try_from(fence).unwrap_or(-1)
}
