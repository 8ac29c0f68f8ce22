//! Takes over jobs that nobody else will bring to an end.

use std::collections::HashSet;
use std::time::Duration;

use super::claim::bound;
use super::clock::stored_length;
use super::ledger::{Ledger, name};
use super::limit::Lessee;
use super::presence::Served;
use crate::broker::{Claimed, SupervisorId};
use crate::lock::Tenure;
use crate::name::{QueueName, TaskName};

/// An [`Overdue`](crate::broker::Overdue) of its own.
#[derive(Debug, Clone)]
pub(super) enum What {
    Lease,
    Expired,
    UnknownTask(Vec<QueueName>, Duration),
}

/// A lane whose task nobody may know.
struct Suspect {
    lane: i64,
    task: TaskName,
    has_ready: bool,
    since: Option<i64>,
    boot: Option<[u8; 16]>,
}

impl Ledger {
    /// Whether there may be something to take over; writes nothing.
    pub(super) fn is_overdue(&self, what: &What) -> rusqlite::Result<bool> {
        Ok(match what {
            What::Lease => !self.lost(1)?.is_empty(),
            What::Expired => !self.expired(1)?.is_empty(),
            What::UnknownTask(queues, _) => {
                let served = self.served()?;
                for queue in queues {
                    for suspect in self.suspects(queue)? {
                        let is_known = served.contains(queue, &suspect.task);
                        // There is something to write if either does not match the other.
                        if !is_known || suspect.since.is_some() {
                            return Ok(true);
                        }
                    }
                }
                false
            }
        })
    }

    pub(super) fn take_over(
        &mut self,
        what: &What,
        owner: SupervisorId,
        limit: usize,
        lease: i64,
    ) -> rusqlite::Result<Vec<Claimed>> {
        let ids = match what {
            What::Lease => self.lost(limit)?,
            What::Expired => self.expired(limit)?,
            What::UnknownTask(queues, after) => self.unknown(queues, *after, limit)?,
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let to = Lessee {
            owner: self.owner(owner)?,
            end: self.now.boot.saturating_add(lease),
        };
        let has_parked = self.has_parked()?;
        let mut taken = Vec::with_capacity(ids.len());
        self.lease(&ids, to, false, &mut taken)?;
        if has_parked && matches!(what, What::Lease) {
            for job in &taken {
                // What the attempt before held of its own is free; its linked lock is when the job
                // is settled.
                self.let_go_all(Tenure::Attempt {
                    job: job.receipt.uuid,
                    fence: job.receipt.fence - 1,
                })?;
            }
        }
        Ok(taken)
    }

    /// Leased jobs whose lease has ended or whose holder is dead.
    fn lost(&self, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let mut ids = Vec::new();
        for (row, boot) in self.supervisors()? {
            let is_dead = boot != self.boot_id || !self.alive.is_alive(row);
            let until = if is_dead { i64::MAX } else { self.now.boot };
            let sql = "SELECT id FROM job WHERE state = 2 AND owner = ?1 AND due <= ?2
                ORDER BY due LIMIT ?3";
            let left = bound(limit - ids.len());
            ids.extend(self.rows(sql, (row, until, left), |row| row.get::<_, i64>(0))?);
        }
        // Of those who were taken for dead while they lived, until they say again that they do.
        let sql =
            "SELECT job.id FROM job INDEXED BY job_leased CROSS JOIN line ON line.id = job.line
            WHERE state = 2 AND namespace = ?1 AND due <= ?2
                AND owner NOT IN (SELECT id FROM supervisor) LIMIT ?3";
        let key = (
            self.namespace.as_str(),
            self.now.boot,
            bound(limit - ids.len()),
        );
        ids.extend(self.rows(sql, key, |row| row.get::<_, i64>(0))?);
        Ok(ids)
    }

    fn supervisors(&self) -> rusqlite::Result<Vec<(i64, [u8; 16])>> {
        let sql = "SELECT id, boot FROM supervisor WHERE namespace = ?1 ORDER BY id";
        self.rows(sql, [self.namespace.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Waiting jobs past their deadline.
    fn expired(&self, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let mut ids = Vec::new();
        for line in self.all_lines()? {
            let sql = "SELECT id FROM job WHERE line = ?1 AND state < 2
                AND deadline IS NOT NULL AND deadline <= ?2 ORDER BY deadline, id LIMIT ?3";
            let left = bound(limit - ids.len());
            ids.extend(self.rows(sql, (line, self.now.wall, left), |row| row.get::<_, i64>(0))?);
        }
        Ok(ids)
    }

    /// Ready jobs of tasks that nobody has known for `after`; keeps the time in their lanes.
    fn unknown(
        &mut self,
        queues: &[QueueName],
        after: Duration,
        limit: usize,
    ) -> rusqlite::Result<Vec<i64>> {
        let served = self.served()?;
        let (now, after) = (self.now.boot, stored_length(after));
        let mut ids = Vec::new();
        for queue in queues {
            for suspect in self.suspects(queue)? {
                if !suspect.has_ready || served.contains(queue, &suspect.task) {
                    self.mark_orphan(suspect.lane, None)?;
                    continue;
                }
                // Time is counted from this start of the machine only.
                let since = suspect
                    .since
                    .filter(|since| suspect.boot == Some(self.boot_id) && *since <= now);
                if since.is_none() {
                    self.mark_orphan(suspect.lane, Some(now))?;
                }
                if now - since.unwrap_or(now) >= after {
                    let sql = "SELECT id FROM job WHERE state = 0 AND lane = ?1
                        ORDER BY priority, id LIMIT ?2";
                    let left = bound(limit - ids.len());
                    let key = (suspect.lane, left);
                    ids.extend(self.rows(sql, key, |row| row.get::<_, i64>(0))?);
                }
            }
        }
        Ok(ids)
    }

    /// Lanes of a queue that hold ready jobs or were once marked.
    fn suspects(&self, queue: &QueueName) -> rusqlite::Result<Vec<Suspect>> {
        let sql = "SELECT lane.id, task, orphan_since, orphan_boot,
                EXISTS(SELECT 1 FROM job WHERE state = 0 AND job.lane = lane.id) AS has_ready
            FROM line JOIN lane ON lane.line = line.id
            WHERE namespace = ?1 AND queue = ?2 AND (orphan_since IS NOT NULL OR has_ready)";
        self.rows(sql, (self.namespace.as_str(), queue.as_str()), |row| {
            Ok(Suspect {
                lane: row.get(0)?,
                task: name(row, 1, TaskName::new)?,
                since: row.get(2)?,
                boot: row.get(3)?,
                has_ready: row.get(4)?,
            })
        })
    }

    fn mark_orphan(&self, lane: i64, since: Option<i64>) -> rusqlite::Result<usize> {
        let sql = "UPDATE lane SET orphan_since = ?2, orphan_boot = ?3 WHERE id = ?1";
        self.execute(sql, (lane, since, since.map(|_| self.boot_id)))
    }

    /// What the supervisors that live now serve.
    fn served(&self) -> rusqlite::Result<Served> {
        let sql = "SELECT id, boot, selection FROM supervisor
            WHERE namespace = ?1 AND selection IS NOT NULL";
        let rows = self.rows(sql, [self.namespace.as_str()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, [u8; 16]>(1)?,
                row.get::<_, Vec<u8>>(2)?,
            ))
        })?;
        let mut pairs = HashSet::new();
        for (row, boot, selection) in rows {
            if boot == self.boot_id && self.alive.is_alive(row) {
                Served::add(&mut pairs, &selection);
            }
        }
        Ok(Served(pairs))
    }
}
