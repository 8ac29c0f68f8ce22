//! Limits on how many jobs run at once, and the claims that keep to them.
//!
//! A queue's and a task's limit are looked at when jobs are claimed: what is above them stays
//! ready. A job whose own gate is shut (a key of which enough run, a lock that another holds) is
//! parked, so that no claim looks at it again, and the first that are parked, one of each lane and
//! number, are made ready by the move that opens the gate. While some are parked at a gate, as many
//! of their lane and number as it lets through are ready, or so many run: each of these, when it
//! goes, wakes the next.

use std::collections::HashMap;

use crate::broker::Claimed;
use crate::lock::Tenure;
use crate::message::{Gate, Header};
use crate::name::LockName;

use super::claim::{ChosenQueue, bound};
use super::ledger::{Ledger, name};

/// Jobs parked by one claim: those that are left make the answer say that there is more.
const PARKED: usize = 256;

/// Locks whose time is over that one claim looks at.
const ENDED_LOCKS: usize = 16;

/// A ready job as a claim finds it.
#[derive(Debug)]
pub(super) struct Candidate {
    id: i64,
    lane: i64,
    gate: Option<String>,
    most: i64,
}

/// What may run of a queue now.
struct Room {
    /// Jobs of the queue, and whether that is its own limit.
    jobs: usize,
    is_limited: bool,
    /// Something of the queue has a limit: what runs is counted.
    is_counted: bool,
    /// Jobs of those of its tasks that have a limit.
    tasks: HashMap<i64, usize>,
}

/// Whoever claims, and till when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lessee {
    pub(super) owner: i64,
    pub(super) end: i64,
}

impl Ledger {
    /// How the tables name a gate.
    pub(super) fn gate_word(&self, line: i64, gate: &Gate) -> (String, i64) {
        match gate {
            Gate::Key(key, most) => (format!("{line}:{key}"), (*most).into()),
            Gate::Lock(lock) => (self.lock_word(lock), 1),
        }
    }

    fn lock_word(&self, lock: &LockName) -> String {
        format!("{}!{lock}", self.namespace)
    }

    /// Leases up to `room` ready jobs of a queue; tells whether there are more.
    pub(super) fn admit_some(
        &mut self,
        queue: &ChosenQueue,
        room: usize,
        to: Lessee,
        claimed: &mut Vec<Claimed>,
    ) -> rusqlite::Result<bool> {
        let mut may = self.room(queue, room)?;
        let (mut taken, mut parked) = (0, 0);
        // Those without a gate are leased together, before anything looks at the table again.
        let mut open = Vec::new();
        let more = 'all: loop {
            let asked = may.jobs - taken + 1;
            let found = self.find(queue, asked, &may.tasks)?;
            let count = found.len();
            let mut changed = false;
            for one in found {
                if taken == may.jobs {
                    break 'all !may.is_limited;
                }
                let of_task = may.tasks.get_mut(&one.lane);
                if of_task.as_ref().is_some_and(|left| **left == 0) {
                    changed = true;
                    break;
                }
                let Some(gate) = &one.gate else {
                    open.push(one.id);
                    taken += 1;
                    of_task.into_iter().for_each(|left| *left -= 1);
                    continue;
                };
                self.lease(&std::mem::take(&mut open), to, may.is_counted, claimed)?;
                if !self.passes(&one, gate)? {
                    if parked == PARKED {
                        break 'all true;
                    }
                    self.execute("UPDATE job SET state = -1 WHERE id = ?1", [one.id])?;
                    parked += 1;
                    changed = true;
                    continue;
                }
                self.lease(&[one.id], to, true, claimed)?;
                if let Some(job) = claimed.last() {
                    self.take_lock(gate, job)?;
                }
                taken += 1;
                if let Some(left) = may.tasks.get_mut(&one.lane) {
                    *left -= 1;
                }
            }
            if count < asked && !changed {
                break false;
            }
            self.lease(&std::mem::take(&mut open), to, may.is_counted, claimed)?;
        };
        self.lease(&open, to, may.is_counted, claimed)?;
        Ok(more)
    }

    /// Whether a claim may find something; writes nothing.
    pub(super) fn has_some(&self, queue: &ChosenQueue) -> rusqlite::Result<bool> {
        let may = self.room(queue, 1)?;
        Ok(may.jobs > 0 && !self.find(queue, 1, &may.tasks)?.is_empty())
    }

    fn find(
        &self,
        queue: &ChosenQueue,
        limit: usize,
        tasks: &HashMap<i64, usize>,
    ) -> rusqlite::Result<Vec<Candidate>> {
        let candidate = |row: &rusqlite::Row<'_>| {
            Ok(Candidate {
                id: row.get(0)?,
                lane: row.get(1)?,
                gate: row.get(2)?,
                most: row.get::<_, Option<i64>>(3)?.unwrap_or(0),
            })
        };
        let is_shut = |lane: &i64| tasks.get(lane) == Some(&0);
        let key = (self.now.wall, bound(limit));
        if queue.lanes.iter().any(is_shut) {
            let open: Vec<i64> = queue
                .lanes
                .iter()
                .filter(|lane| !is_shut(lane))
                .copied()
                .collect();
            return self.rows(&super::claim::find(&open), key, candidate);
        }
        self.rows(&queue.find, key, candidate)
    }

    fn room(&self, queue: &ChosenQueue, room: usize) -> rusqlite::Result<Room> {
        let sql = "SELECT lane, most FROM cap WHERE line = ?1";
        let caps: Vec<(i64, i64)> =
            self.rows(sql, [queue.line], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut may = Room {
            jobs: room,
            is_limited: false,
            is_counted: !caps.is_empty(),
            tasks: HashMap::new(),
        };
        for (lane, most) in caps {
            let sql = if lane == 0 {
                "SELECT count(*) FROM (SELECT 1 FROM job
                    WHERE state = 2 AND counted = 1 AND line = ?1 AND ?2 = 0 LIMIT ?3)"
            } else {
                "SELECT count(*) FROM (SELECT 1 FROM job
                    WHERE state = 2 AND counted = 1 AND line = ?1 AND lane = ?2 LIMIT ?3)"
            };
            let run = self.row(sql, (queue.line, lane, most), |row| row.get::<_, i64>(0))?;
            let left = usize::try_from(most - run.unwrap_or(0)).unwrap_or(0);
            if lane != 0 {
                may.tasks.insert(lane, left);
            } else {
                may.is_limited = left <= room;
                may.jobs = left.min(room);
            }
        }
        Ok(may)
    }

    /// Whether fewer than `most` run of those with this gate.
    fn has_room(&self, gate: &str, most: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM job
            WHERE gate = ?1 AND state = 2 AND counted = 1 LIMIT ?2)";
        let run = self.row(sql, (gate, most), |row| row.get::<_, i64>(0))?;
        Ok(run.unwrap_or(0) < most)
    }

    /// Whether a job's gate is open to it.
    fn passes(&self, one: &Candidate, gate: &str) -> rusqlite::Result<bool> {
        if !self.has_room(gate, one.most)? {
            return Ok(false);
        }
        let Some(lock) = lock_of(gate) else {
            return Ok(true);
        };
        let Some(held) = self.held(&lock)? else {
            return Ok(true);
        };
        let (uuid, header) = self.linked(one.id)?;
        let is_handed_over = header.is_some_and(|fence| fence == held.fence);
        Ok(is_handed_over || held.owner == Tenure::Job(uuid).owner())
    }

    /// Takes the lock that a job's gate is, for the attempt that begins, or for the job if its
    /// producer has handed it over.
    fn take_lock(&mut self, gate: &str, job: &Claimed) -> rusqlite::Result<()> {
        let Some(lock) = lock_of(gate) else {
            return Ok(());
        };
        let uuid = job.receipt.uuid;
        let of_job = Tenure::Job(uuid).owner();
        let fence = fence_of(&job.header);
        match self.held(&lock)? {
            Some(held) if held.owner == of_job => {}
            Some(held) => self.hand_over(held.fence, &of_job)?,
            None => {
                let attempt = Tenure::Attempt {
                    job: uuid,
                    fence: job.receipt.fence,
                };
                let owner = if fence.is_some() {
                    of_job
                } else {
                    attempt.owner()
                };
                self.hold(&lock, &owner, None)?;
            }
        }
        Ok(())
    }

    /// A job's uuid, and the fence of the lock that its producer has handed over.
    fn linked(&self, id: i64) -> rusqlite::Result<(uuid::Uuid, Option<u64>)> {
        let sql = "SELECT uuid, header FROM job WHERE id = ?1";
        self.conn.prepare_cached(sql)?.query_row([id], |row| {
            Ok((
                super::claim::uuid(row, 0)?,
                fence_of(&row.get::<_, Vec<u8>>(1)?),
            ))
        })
    }

    /// Whether any job of any queue is parked.
    pub(super) fn has_parked(&self) -> rusqlite::Result<bool> {
        let found = self.row("SELECT 1 FROM job WHERE state = -1 LIMIT 1", [], |_| Ok(()))?;
        Ok(found.is_some())
    }

    /// A job has gone from where it was ready or ran: wakes the next at its gate.
    pub(super) fn wake_next(&self, id: i64) -> rusqlite::Result<()> {
        let sql = "SELECT gate FROM job WHERE id = ?1";
        let gate = self.row(sql, [id], |row| row.get::<_, Option<String>>(0))?;
        match gate.flatten() {
            Some(gate) => self.wake(&gate),
            None => Ok(()),
        }
    }

    /// An attempt has ended: frees its locks, and those of its job if that has ended too, and wakes
    /// who waits at them. Only where some are parked: others find out for themselves.
    pub(super) fn after_attempt(&mut self, id: i64, fence: u64) -> rusqlite::Result<()> {
        self.wake_next(id)?;
        let sql = "SELECT uuid, state FROM job WHERE id = ?1";
        let found = self.row(sql, [id], |row| {
            Ok((super::claim::uuid(row, 0)?, row.get::<_, i64>(1)?))
        })?;
        let Some((job, now)) = found else {
            return Ok(());
        };
        self.let_go_all(Tenure::Attempt { job, fence })?;
        if now >= 3 {
            self.let_go_all(Tenure::Job(job))?;
        }
        Ok(())
    }

    /// Frees all locks of a job or an attempt.
    pub(super) fn let_go_all(&mut self, of: Tenure) -> rusqlite::Result<()> {
        let sql = "SELECT name FROM held_lock WHERE owner = ?1 AND namespace = ?2";
        let key = (of.owner().as_str().to_owned(), self.namespace.as_str());
        let locks = self.rows(sql, key, |row| name(row, 0, LockName::new))?;
        for lock in locks {
            self.let_go(&lock)?;
        }
        Ok(())
    }

    /// Wakes who waits for a lock.
    pub(super) fn wake_at(&self, lock: &LockName) -> rusqlite::Result<()> {
        self.wake(&self.lock_word(lock))
    }

    /// Makes ready, of those that are parked at a gate and that it would let through, the first of
    /// each lane and number: the first of all may be in a lane that nobody claims from now. The
    /// claims park again whom the gate has no room for. A step for each lane and number, however
    /// many are parked.
    fn wake(&self, gate: &str) -> rusqlite::Result<()> {
        let first = "SELECT lane, gate_most, id FROM job INDEXED BY job_parked_kind
            WHERE state = -1 AND gate = ?1 AND (lane, gate_most) > (?2, ?3)
            ORDER BY lane, gate_most, priority, id LIMIT 1";
        let mut kind = (i64::MIN, i64::MIN);
        while let Some((lane, most, id)) = self.row(first, (gate, kind.0, kind.1), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
        })? {
            kind = (lane, most);
            if self.has_room(gate, most)? {
                self.execute("UPDATE job SET state = 0 WHERE id = ?1", [id])?;
            }
        }
        Ok(())
    }

    /// Frees locks whose time is over and that jobs wait for, and tells when the next ends.
    pub(super) fn end_locks(&mut self) -> rusqlite::Result<Option<i64>> {
        if !self.has_parked()? {
            return Ok(None);
        }
        let sql = "SELECT name FROM held_lock
            WHERE namespace = ?1 AND until <= ?2 ORDER BY until LIMIT ?3";
        let key = (self.namespace.as_str(), self.now.boot, bound(ENDED_LOCKS));
        let over = self.rows(sql, key, |row| name(row, 0, LockName::new))?;
        for lock in over {
            self.let_go(&lock)?;
        }
        self.next_end()
    }

    /// When the next lock ends that a job may wait for, in terms of the wall clock.
    pub(super) fn next_end(&self) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT until FROM held_lock
            WHERE namespace = ?1 AND until IS NOT NULL ORDER BY until LIMIT 1";
        let until = self.row(sql, [self.namespace.as_str()], |row| row.get::<_, i64>(0))?;
        Ok(until.map(|until| self.now.wall.saturating_add(until - self.now.boot)))
    }

    /// Sets how many jobs of a queue, or of one of its tasks, may run at once.
    pub(super) fn limit(
        &mut self,
        line: i64,
        lane: i64,
        most: Option<u32>,
    ) -> rusqlite::Result<()> {
        let known = "SELECT most FROM cap WHERE line = ?1 AND lane = ?2";
        let known = self.row(known, (line, lane), |row| row.get::<_, u32>(0))?;
        if known == most {
            return Ok(());
        }
        match most {
            Some(most) => {
                let sql = "INSERT OR REPLACE INTO cap(line, lane, most) VALUES(?1, ?2, ?3)";
                self.execute(sql, (line, lane, most))?;
                // Those that run already are among them.
                let sql = "UPDATE job SET counted = 1 WHERE state = 2 AND line = ?1";
                self.execute(sql, [line])?;
            }
            None => {
                let sql = "DELETE FROM cap WHERE line = ?1 AND lane = ?2";
                self.execute(sql, (line, lane))?;
            }
        }
        self.marks.rings = true;
        Ok(())
    }
}

/// The lock that a gate is, if it is one.
fn lock_of(gate: &str) -> Option<LockName> {
    let (_, lock) = gate.split_once('!')?;
    LockName::new(lock).ok()
}

/// The fence of the lock that a producer has handed over with a message.
fn fence_of(header: &[u8]) -> Option<u64> {
    let header: Header = serde_json::from_slice(header).ok()?;
    header.lock?.fence
}
