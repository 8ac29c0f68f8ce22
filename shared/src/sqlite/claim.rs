//! Gives ready jobs to supervisors.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Row;
use uuid::Uuid;

use super::clock::stored_length;
use super::ledger::Ledger;
use super::limit::Lessee;
use crate::broker::{Claim, Claimed, Receipt, Selection, SupervisorId, Turned};
use crate::control::QueueGate;
use crate::fault;

/// Delayed jobs made ready by one claim: bounded, so that a hundred thousand that are due at
/// once do not hold everybody up. What is left makes the answer say that there is more.
const PROMOTED: usize = 128;

/// Jobs leased by one statement: each statement costs something by itself.
const TOGETHER: usize = 8;

/// Leases the jobs whose ids are given.
macro_rules! lease {
    ($whose:literal) => {
        concat!(
            "UPDATE job SET state = 2, due = ?1, owner = ?2, fence = fence + 1,
                counted = CASE WHEN state = 2 THEN counted ELSE ?3 END,
                started_at = NULL, pid = NULL, progress = NULL
            WHERE id ",
            $whose
        )
    };
}

/// Selections remembered: one per supervisor that uses this store, hardly ever more than one.
const CHOSEN: usize = 8;

/// A [`Claim`] of its own.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) owner: SupervisorId,
    pub(super) selection: Arc<Selection>,
    room: usize,
    lease: i64,
}

impl Request {
    pub(super) fn new(claim: &Claim<'_>, selection: Arc<Selection>) -> Self {
        Self {
            owner: claim.owner,
            selection,
            room: claim.room.min(u32::MAX as usize),
            lease: stored_length(claim.lease),
        }
    }
}

/// A selection in terms of the tables.
#[derive(Debug)]
pub(super) struct Chosen {
    selection: Arc<Selection>,
    queues: Vec<ChosenQueue>,
}

#[derive(Debug)]
pub(super) struct ChosenQueue {
    pub(super) line: i64,
    pub(super) lanes: Vec<i64>,
    /// Finds ready jobs of the known tasks, first ones first.
    pub(super) find: String,
}

/// What a look at the queues found.
struct Found {
    /// Until the next delayed job, over all queues.
    next_due: Option<i64>,
    /// How many may still be promoted.
    left: usize,
}

impl Ledger {
    /// Answers a claim without writing if there is nothing to claim.
    pub(super) fn look_for(&mut self, request: &Request) -> rusqlite::Result<Option<Turned>> {
        let (Some(owner), Some(chosen)) = (self.alive.row(request.owner), self.known(request))
        else {
            return Ok(None);
        };
        let mut next_due = None;
        let mut more = false;
        for queue in &chosen.queues {
            if self.gate(queue.line)? == QueueGate::Paused {
                continue;
            }
            let due = self.next_due(queue.line)?;
            more |= self.has_some(queue)?;
            if due.is_some_and(|due| due <= self.now.wall) || (more && request.room > 0) {
                return Ok(None);
            }
            next_due = earlier(next_due, due);
        }
        if self.has_parked()? {
            let end = self.next_end()?;
            if end.is_some_and(|end| end <= self.now.wall) {
                return Ok(None);
            }
            next_due = earlier(next_due, end);
        }
        Ok(Some(Turned {
            revoked: self.revoked_of(owner)?,
            next_due: self.until(next_due),
            more,
            ..Turned::default()
        }))
    }

    /// Claims jobs.
    pub(super) fn claim(&mut self, request: &Request, turned: &mut Turned) -> rusqlite::Result<()> {
        let owner = self.owner(request.owner)?;
        let chosen = self.chosen(request)?;
        let lock_end = self.end_locks()?;
        let mut open = Vec::with_capacity(chosen.queues.len());
        for queue in &chosen.queues {
            if self.gate(queue.line)? != QueueGate::Paused {
                open.push(queue);
            }
        }
        let found = self.promote(&open)?;
        let to = Lessee {
            owner,
            end: self.now.boot.saturating_add(request.lease),
        };
        for queue in open {
            let room = request.room - turned.claimed.len();
            if self.admit_some(queue, room, to, &mut turned.claimed)? {
                turned.more = true;
                break;
            }
        }
        if !turned.claimed.is_empty() {
            self.marks.has_claimed = true;
            fault::point("claim");
        }
        turned.more |= found.left == 0 && found.next_due.is_some_and(|due| due <= self.now.wall);
        turned.revoked = self.revoked_of(owner)?;
        turned.next_due = self.until(earlier(found.next_due, lock_end));
        Ok(())
    }

    /// Takes waiting or leased jobs under new fences. Those that waited count as running for limits if
    /// `are_counted`.
    pub(super) fn lease(
        &mut self,
        ids: &[i64],
        to: Lessee,
        are_counted: bool,
        claimed: &mut Vec<Claimed>,
    ) -> rusqlite::Result<()> {
        claimed.reserve(ids.len());
        for &id in ids {
            claimed.push(self.look_at(id)?);
        }
        let (some, rest) = ids.as_chunks::<TOGETHER>();
        for &[a, b, c, d, e, f, g, h] in some {
            let key = (to.end, to.owner, are_counted, a, b, c, d, e, f, g, h);
            self.execute(lease!("IN (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"), key)?;
        }
        for id in rest {
            self.execute(lease!("= ?4"), (to.end, to.owner, are_counted, id))?;
        }
        Ok(())
    }

    /// A job as it is claimed a moment later.
    fn look_at(&mut self, id: i64) -> rusqlite::Result<Claimed> {
        // Not by one statement that returns the row: SQLite makes and drops a table in memory for that, job
        // by job.
        let sql = "SELECT uuid, fence + 1, lane, header, payload, history FROM job WHERE id = ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let row = |row: &Row<'_>| -> rusqlite::Result<_> {
            let payload: Option<Vec<u8>> = row.get(4)?;
            let (header, history) = (row.get(3)?, row.get(5)?);
            Ok((
                uuid(row, 0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
                header,
                payload,
                history,
            ))
        };
        let (uuid, fence, lane, header, payload, history) = statement.query_row([id], row)?;
        drop(statement);
        let payload = match payload {
            Some(payload) => payload,
            None => {
                let sql = "SELECT payload FROM large WHERE job = ?1";
                self.row(sql, [id], |row| row.get(0))?.unwrap_or_default()
            }
        };
        let names = self.names(lane)?;
        Ok(Claimed {
            receipt: Receipt {
                uuid,
                fence: u64::try_from(fence).unwrap_or(0),
                mark: id,
                queue: names.queue,
            },
            task: names.task,
            header,
            payload,
            history,
        })
    }

    /// Makes due jobs of the chosen queues ready.
    fn promote(&self, queues: &[&ChosenQueue]) -> rusqlite::Result<Found> {
        let mut found = Found {
            next_due: None,
            left: PROMOTED,
        };
        for queue in queues {
            let mut due = self.next_due(queue.line)?;
            if found.left > 0 && due.is_some_and(|due| due <= self.now.wall) {
                let sql = "UPDATE job SET state = 0 WHERE id IN (
                    SELECT id FROM job WHERE state = 1 AND line = ?1 AND due <= ?2
                    ORDER BY due, id LIMIT ?3)";
                found.left -= self.execute(sql, (queue.line, self.now.wall, bound(found.left)))?;
                due = self.next_due(queue.line)?;
            }
            found.next_due = earlier(found.next_due, due);
        }
        Ok(found)
    }

    fn next_due(&self, line: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT due FROM job WHERE state = 1 AND line = ?1 ORDER BY due LIMIT 1";
        self.row(sql, [line], |row| row.get(0))
    }

    fn revoked_of(&mut self, owner: i64) -> rusqlite::Result<Vec<Receipt>> {
        let sql = "SELECT id, uuid, fence, lane FROM job
            WHERE state = 2 AND revoked = 1 AND owner = ?1";
        let found = self.rows(sql, [owner], |row| {
            Ok((
                row.get(0)?,
                uuid(row, 1)?,
                row.get::<_, i64>(2)?,
                row.get(3)?,
            ))
        })?;
        let receipt = |(mark, uuid, fence, lane)| {
            Ok(Receipt {
                uuid,
                fence: u64::try_from(fence).unwrap_or(0),
                mark,
                queue: self.names(lane)?.queue,
            })
        };
        found.into_iter().map(receipt).collect()
    }

    fn known(&self, request: &Request) -> Option<Arc<Chosen>> {
        let same = |chosen: &&Arc<Chosen>| {
            Arc::ptr_eq(&chosen.selection, &request.selection)
                || chosen.selection == request.selection
        };
        self.chosen.iter().find(same).cloned()
    }

    fn chosen(&mut self, request: &Request) -> rusqlite::Result<Arc<Chosen>> {
        if let Some(known) = self.known(request) {
            return Ok(known);
        }
        let selection = Arc::clone(&request.selection);
        let mut queues = Vec::with_capacity(selection.queues.len());
        for queue in &selection.queues {
            let mut lanes = Vec::with_capacity(selection.tasks.len());
            // All lanes are made now, so that none has to be looked for later.
            for task in &selection.tasks {
                lanes.push(self.lane(queue, task)?.1);
            }
            queues.push(ChosenQueue {
                line: self.line(queue)?,
                find: find(&lanes),
                lanes,
            });
        }
        let chosen = Arc::new(Chosen { selection, queues });
        if self.chosen.len() == CHOSEN {
            self.chosen.remove(0);
        }
        self.chosen.push(Arc::clone(&chosen));
        Ok(chosen)
    }

    fn until(&self, due: Option<i64>) -> Option<Duration> {
        let ms = due?.saturating_sub(self.now.wall);
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }
}

/// Finds ready jobs of these lanes, first ones first.
pub(super) fn find(lanes: &[i64]) -> String {
    // With an empty list the index is of no use to the planner, and it refuses.
    let none = lanes.is_empty().then_some(-1);
    let lanes: Vec<_> = lanes
        .iter()
        .copied()
        .chain(none)
        .map(|lane| lane.to_string())
        .collect();
    format!(
        "SELECT id, lane, gate, gate_most FROM job INDEXED BY job_ready
        WHERE state = 0 AND lane IN ({})
            AND (deadline IS NULL OR deadline > ?1) ORDER BY priority, id LIMIT ?2",
        lanes.join(",")
    )
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// A uuid from column `index`.
pub(super) fn uuid(row: &Row<'_>, index: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(index).map(Uuid::from_bytes)
}

/// A bound on rows as statements take it.
pub(super) fn bound(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
