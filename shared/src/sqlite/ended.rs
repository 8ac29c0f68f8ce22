//! What users do to jobs from outside, and what is forgotten in time.

use uuid::Uuid;

use super::claim::bound;
use super::clock::stored_length;
use super::flow::Unrun;
use super::ledger::Ledger;
use crate::broker::Revocation;
use crate::catalog::KeptResult;
use crate::history::with_fresh_budgets;
use crate::lock::Tenure;
use crate::policy::VERDICT_KEPT;

/// Of a round of forgetting, each kind but the jobs has one of so many parts.
const PARTS: usize = 8;

impl Ledger {
    /// Rows of ours with that uuid, newest first.
    fn ours(&self, uuid: Uuid) -> rusqlite::Result<Vec<(i64, i64, bool)>> {
        let sql = "SELECT job.id, state, revoked FROM job JOIN line ON line.id = job.line
            WHERE uuid = ?1 AND namespace = ?2 ORDER BY job.id DESC";
        self.rows(sql, (uuid.as_bytes(), self.namespace.as_str()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }

    pub(super) fn revoke(&mut self, uuid: Uuid, skip: bool) -> rusqlite::Result<Revocation> {
        let mut answer = Revocation::Unknown;
        for (id, state, _) in self.ours(uuid)? {
            let one = match state {
                -1..=1 => {
                    let sql = "UPDATE job SET state = 5, cause = 'revoked', finished_at = ?2,
                        purge_at = ?3, deadline = NULL WHERE id = ?1";
                    let now = self.now.wall;
                    let purge = now.saturating_add(stored_length(VERDICT_KEPT));
                    self.execute(sql, (id, now, purge))?;
                    self.end_unrun(id, Unrun::Revoked)?;
                    self.after_waiting(id, uuid)?;
                    Revocation::Ended
                }
                // On its way from or to another store: its end travels instead.
                10 | 11 | 20 | 21 => {
                    let sql = "UPDATE job SET state = state / 10 * 10 + 5, cause = 'revoked',
                        fence = fence + 1, finished_at = ?2, purge_at = ?3, deadline = NULL
                        WHERE id = ?1";
                    let now = self.now.wall;
                    let purge = now.saturating_add(stored_length(VERDICT_KEPT));
                    self.execute(sql, (id, now, purge))?;
                    self.end_unrun(id, Unrun::Revoked)?;
                    Revocation::Ended
                }
                2 if skip => Revocation::Skipped,
                2 => {
                    self.execute("UPDATE job SET revoked = 1 WHERE id = ?1", [id])?;
                    Revocation::Told
                }
                _ => Revocation::AlreadyEnded,
            };
            if weight(one) > weight(answer) {
                answer = one;
            }
        }
        self.marks.rings |= matches!(answer, Revocation::Ended | Revocation::Told);
        Ok(answer)
    }

    pub(super) fn remove(&mut self, uuids: &[Uuid]) -> rusqlite::Result<usize> {
        let mut removed = 0;
        for uuid in uuids {
            for (id, state, _) in self.ours(*uuid)? {
                if state < 10 && state != 2 {
                    if state < 2 {
                        self.end_unrun(id, Unrun::Removed)?;
                        self.after_waiting(id, *uuid)?;
                    }
                    self.forget(id)?;
                    removed += 1;
                }
            }
        }
        self.marks.rings |= removed > 0;
        Ok(removed)
    }

    /// A job that waited does so no more: whoever waits behind it may go on.
    fn after_waiting(&mut self, id: i64, uuid: Uuid) -> rusqlite::Result<()> {
        if self.has_parked()? {
            self.wake_next(id)?;
            self.let_go_all(Tenure::Job(uuid))?;
        }
        Ok(())
    }

    pub(super) fn retry_dead(&mut self, uuids: &[Uuid]) -> rusqlite::Result<usize> {
        self.each_dead(uuids, Self::revive)
    }

    pub(super) fn drop_dead_jobs(&mut self, uuids: &[Uuid]) -> rusqlite::Result<usize> {
        self.each_dead(uuids, Self::forget)
    }

    /// Does something to those that are dead letters; how many there were.
    fn each_dead(
        &mut self,
        uuids: &[Uuid],
        what: fn(&Self, i64) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<usize> {
        let mut done = 0;
        for uuid in uuids {
            for (id, state, _) in self.ours(*uuid)? {
                if state == 4 {
                    what(self, id)?;
                    done += 1;
                }
            }
        }
        self.marks.rings |= done > 0;
        Ok(done)
    }

    fn revive(&self, id: i64) -> rusqlite::Result<()> {
        let sql = "SELECT history FROM job WHERE id = ?1";
        let history: Vec<u8> = self.row(sql, [id], |row| row.get(0))?.unwrap_or_default();
        // A life time that has ended would end it again at once; whoever retries it wants it run.
        let sql = "UPDATE job SET state = 0, fence = fence + 1, history = ?3, due = ?2,
                ready_at = ?2, revoked = 0, cause = NULL, finished_at = NULL, started_at = NULL,
                pid = NULL, progress = NULL, purge_at = NULL, result = NULL, result_until = NULL,
                expires_at = NULL, deadline = ?2 + ttl_ms
            WHERE id = ?1";
        self.execute(sql, (id, self.now.wall, with_fresh_budgets(history)))?;
        Ok(())
    }

    pub(super) fn take_result(&mut self, uuid: Uuid) -> rusqlite::Result<Option<KeptResult>> {
        let namespace = self.namespace.clone();
        let found = super::read::result(&self.conn, &namespace, uuid, self.now.wall)?;
        let Some((id, kept)) = found else {
            return Ok(None);
        };
        self.execute(
            "UPDATE job SET result = NULL, result_until = NULL WHERE id = ?1",
            [id],
        )?;
        Ok(Some(kept))
    }

    /// Forgets what is past its time. A part of the limit is for all that is no job, however many
    /// jobs there are; what one leaves of its part is for the others.
    pub(super) fn prune(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let mut forgotten = self.forget_others(limit.div_ceil(PARTS), limit)?;
        forgotten += self.forget_jobs(limit - forgotten)?;
        let left = limit - forgotten;
        Ok(forgotten + self.forget_others(left, left)?)
    }

    fn forget_jobs(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let mut forgotten = 0;
        for line in self.rows("SELECT id FROM line", [], |row| row.get::<_, i64>(0))? {
            for state in 3..=5 {
                let sql = "SELECT id FROM job INDEXED BY job_ended WHERE state >= 3
                    AND line = ?1 AND state = ?2 AND purge_at <= ?3 LIMIT ?4";
                let key = (line, state, self.now.wall, bound(limit - forgotten));
                for id in self.rows(sql, key, |row| row.get(0))? {
                    self.forget(id)?;
                    forgotten += 1;
                }
            }
        }
        Ok(forgotten)
    }

    /// Forgets at most `each` of every kind, and at most `limit` together.
    fn forget_others(&mut self, each: usize, limit: usize) -> rusqlite::Result<usize> {
        let kinds = [
            Self::forget_results,
            Self::forget_groups,
            Self::forget_supervisors,
            Self::forget_locks,
            Self::forget_keys,
        ];
        let mut forgotten = 0;
        for forget in kinds {
            forgotten += forget(self, each.min(limit - forgotten))?;
        }
        Ok(forgotten)
    }

    fn forget_results(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let sql = "UPDATE job SET result = NULL, result_until = NULL WHERE id IN (
            SELECT id FROM job WHERE result_until IS NOT NULL AND result_until <= ?1 LIMIT ?2)";
        self.execute(sql, (self.now.wall, bound(limit)))
    }
}

/// Of several jobs with one uuid, the answer that matters most.
const fn weight(answer: Revocation) -> u8 {
    match answer {
        Revocation::Unknown => 0,
        Revocation::AlreadyEnded => 1,
        Revocation::Skipped => 2,
        Revocation::Ended => 3,
        Revocation::Told => 4,
    }
}
