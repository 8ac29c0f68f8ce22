//! Ends attempts, renews leases, notes what runs.

use super::clock::{stored, stored_length};
use super::ledger::{Ledger, state};
use crate::broker::{Note, Receipt, Renewal, Settled, Settlement};
use crate::fault;
use crate::name::Key;
use crate::outcome::Cause;
use crate::policy::VERDICT_KEPT;
use crate::retry::Move;
use crate::time::Timestamp;

/// Lets a job wait again, from `?4` on in state `?5`.
const WAIT_AGAIN: &str =
    "UPDATE job SET state = ?5, owner = NULL, history = ?3, due = ?4, ready_at = ?4,
    deadline = CASE WHEN ttl_ms IS NULL THEN expires_at
        ELSE min(?4 + ttl_ms, ifnull(expires_at, ?4 + ttl_ms)) END,
    started_at = NULL, pid = NULL, progress = NULL
    WHERE id = ?1 AND fence = ?2 AND state = 2 AND revoked = 0";

impl Ledger {
    pub(super) fn settle(&mut self, batch: &[Settlement]) -> rusqlite::Result<Vec<Settled>> {
        let mut answers = Vec::with_capacity(batch.len());
        let has_parked = self.has_parked()?;
        for settlement in batch {
            let answer = self.settle_one(settlement)?;
            if has_parked && answer != Settled::Stale {
                self.after_attempt(settlement.receipt.mark, settlement.receipt.fence)?;
            }
            self.marks.has_settled |= answer != Settled::Stale;
            answers.push(answer);
        }
        self.marks.rings |= self.marks.has_settled;
        fault::point("settle");
        Ok(answers)
    }

    fn settle_one(&mut self, settlement: &Settlement) -> rusqlite::Result<Settled> {
        if self.apply(settlement)? {
            self.run_errands(&settlement.errands.applied)?;
            return Ok(Settled::Applied);
        }
        let sql = "UPDATE job SET state = 5, cause = 'revoked', owner = NULL, history = ?3,
                finished_at = ?4, purge_at = ?5
            WHERE id = ?1 AND fence = ?2 AND state = 2 AND revoked = 1";
        let Receipt { mark, fence, .. } = &settlement.receipt;
        let revoked = self.execute(
            sql,
            (
                mark,
                key(*fence),
                &settlement.history,
                stored(settlement.at),
                purge_after_revocation(settlement),
            ),
        )?;
        if revoked == 0 {
            return Ok(Settled::Stale);
        }
        self.run_errands(&settlement.errands.revoked)?;
        Ok(Settled::Revoked)
    }

    fn apply(&self, settlement: &Settlement) -> rusqlite::Result<bool> {
        let (mark, fence) = (settlement.receipt.mark, key(settlement.receipt.fence));
        let (history, at) = (&settlement.history, stored(settlement.at));
        let changed = match &settlement.next {
            Move::Succeed {
                result,
                result_until,
                purge_at,
            } => {
                let (until, purge) = (result_until.map(stored), purge_at.map(stored));
                // A result that is forgotten with its job needs no time of its own.
                let until = until.filter(|until| purge.is_none_or(|purge| *until < purge));
                let sql = "UPDATE job SET state = 3, owner = NULL, history = ?3, finished_at = ?4,
                        purge_at = ?5, result = ?6, result_until = ?7, cause = NULL
                    WHERE id = ?1 AND fence = ?2 AND state = 2 AND revoked = 0";
                self.execute(sql, (mark, fence, history, at, purge, result, until))?
            }
            Move::Retry { at } if stored(*at) > self.now.wall => {
                let key = (mark, fence, history, stored(*at), state::DELAYED);
                self.execute(WAIT_AGAIN, key)?
            }
            Move::Snooze { until, signal } => self.snooze(settlement, *until, signal.as_ref())?,
            Move::Retry { .. } | Move::Release => {
                let key = (mark, fence, history, self.now.wall, state::READY);
                self.execute(WAIT_AGAIN, key)?
            }
            Move::Bury { cause, purge_at } => self.fail(4, settlement, *cause, *purge_at)?,
            Move::Drop { cause, purge_at } => self.fail(5, settlement, *cause, *purge_at)?,
        };
        Ok(changed == 1)
    }

    /// Lets a job sleep, unless what it would wait for is there.
    fn snooze(
        &self,
        settlement: &Settlement,
        until: Timestamp,
        signal: Option<&Key>,
    ) -> rusqlite::Result<usize> {
        let Receipt { mark, fence, .. } = settlement.receipt;
        let is_there = signal.map_or(Ok(false), |signal| self.has_signal(mark, signal))?;
        let due = stored(until);
        let (due, state) = match is_there || due <= self.now.wall {
            true => (self.now.wall, state::READY),
            false => (due, state::DELAYED),
        };
        let row = (mark, key(fence), &settlement.history, due, state);
        let changed = self.execute(WAIT_AGAIN, row)?;
        if let (1, Some(signal)) = (changed, signal) {
            self.sleep_for(mark, fence, signal)?;
        }
        Ok(changed)
    }

    fn fail(
        &self,
        state: i64,
        settlement: &Settlement,
        cause: Cause,
        purge_at: Option<Timestamp>,
    ) -> rusqlite::Result<usize> {
        let sql = "UPDATE job SET state = ?7, owner = NULL, history = ?3, finished_at = ?4,
                purge_at = ?5, cause = ?6
            WHERE id = ?1 AND fence = ?2 AND state = 2 AND revoked = 0";
        let Receipt { mark, fence, .. } = &settlement.receipt;
        self.execute(
            sql,
            (
                mark,
                key(*fence),
                &settlement.history,
                stored(settlement.at),
                purge_at.map(stored),
                cause.as_str(),
                state,
            ),
        )
    }

    pub(super) fn renew(&self, receipts: &[Receipt], lease: i64) -> rusqlite::Result<Vec<Renewal>> {
        let end = self.now.boot.saturating_add(lease);
        let held = "SELECT revoked FROM job WHERE id = ?1 AND fence = ?2 AND state = 2";
        let renew = |receipt: &Receipt| {
            let key = (receipt.mark, key(receipt.fence));
            let revoked = self.row(held, key, |row| row.get::<_, bool>(0))?;
            if revoked.is_some() {
                self.execute("UPDATE job SET due = ?2 WHERE id = ?1", (receipt.mark, end))?;
            }
            Ok(match revoked {
                Some(false) => Renewal::Held,
                Some(true) => Renewal::Revoked,
                None => Renewal::Lost,
            })
        };
        receipts.iter().map(renew).collect()
    }

    pub(super) fn note(&mut self, notes: &[Note]) -> rusqlite::Result<()> {
        let sql = "UPDATE job SET started_at = ?3, pid = ?4, progress = ifnull(?5, progress)
            WHERE id = ?1 AND fence = ?2 AND state = 2";
        for note in notes {
            let Receipt { mark, fence, .. } = &note.receipt;
            let started = stored(note.started_at);
            let written =
                self.execute(sql, (mark, key(*fence), started, note.pid, &note.progress))?;
            self.marks.rings |= written == 1 && note.progress.is_some();
        }
        Ok(())
    }
}

/// A fence as the tables hold it. One that is too large belongs to no job.
pub(super) fn key(fence: u64) -> i64 {
    i64::try_from(fence).unwrap_or(-1)
}

/// When a job that ended as revoked is forgotten.
fn purge_after_revocation(settlement: &Settlement) -> Option<i64> {
    match &settlement.next {
        Move::Succeed { purge_at, .. }
        | Move::Bury { purge_at, .. }
        | Move::Drop { purge_at, .. } => purge_at.map(stored),
        Move::Retry { .. } | Move::Release | Move::Snooze { .. } => {
            Some(stored(settlement.at).saturating_add(stored_length(VERDICT_KEPT)))
        }
    }
}
