//! Stores new jobs.

use super::clock::{stored, stored_length};
use super::ledger::{Ledger, state};
use crate::broker::{Submission, Submitted};
use crate::control::QueueGate;
use crate::fault;
use crate::message::{Gate, Unique};
use crate::name::{QueueName, TaskName};
use crate::time::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// A payload longer than this is kept apart: each move of a job rewrites its row.
pub(super) const LARGE: usize = 8 << 10;

/// A submission as the row holds it, prepared by the caller's thread.
#[derive(Debug)]
pub(super) struct Entry {
    uuid: Uuid,
    queue: QueueName,
    task: TaskName,
    priority: u32,
    ready_at: Option<i64>,
    ttl: Option<i64>,
    expires_at: Option<i64>,
    header: Vec<u8>,
    payload: Vec<u8>,
    unique: Option<Unique>,
    gate: Option<Gate>,
}

impl Entry {
    pub(super) fn new(submission: &Submission<'_>) -> Self {
        let message = submission.message;
        let header = &message.header;
        Self {
            uuid: message.uuid,
            queue: submission.queue.clone(),
            task: message.task.clone(),
            priority: message.priority,
            ready_at: message.ready_at.map(stored),
            ttl: header
                .ttl_ms
                .map(|ms| stored_length(Duration::from_millis(ms))),
            expires_at: header.expires_at.map(stored),
            header: serde_json::to_vec(header)
                .expect("a header holds only text, numbers and checked JSON"),
            payload: message.payload.clone(),
            unique: header.unique.clone(),
            gate: header.gate(),
        }
    }
}

impl Ledger {
    pub(super) fn submit(&mut self, batch: &[Entry]) -> rusqlite::Result<Vec<Submitted>> {
        let mut answers = Vec::with_capacity(batch.len());
        for entry in batch {
            let line = self.line(&entry.queue)?;
            let answer = match self.gate(line)? {
                QueueGate::Draining => self.refuse(entry, line)?,
                QueueGate::Open | QueueGate::Paused => self.submit_one(entry)?,
            };
            self.marks.rings |= answer == Submitted::Created;
            answers.push(answer);
        }
        fault::point("submit");
        Ok(answers)
    }

    pub(super) fn submit_one(&mut self, entry: &Entry) -> rusqlite::Result<Submitted> {
        let (line, lane) = self.lane(&entry.queue, &entry.task)?;
        if let Some(unique) = &entry.unique
            && let Some(by) = self.has_key(line, unique, entry.uuid)?
        {
            return Ok(Submitted::NotUnique { by });
        }
        let answer = self.submit_to(entry, line, lane)?;
        if let Some(unique) = &entry.unique
            && answer == Submitted::Created
        {
            self.keep_key(line, unique, entry.uuid, self.now.wall)?;
        }
        Ok(answer)
    }

    fn submit_to(&self, entry: &Entry, line: i64, lane: i64) -> rusqlite::Result<Submitted> {
        if self.insert(entry, line, lane)? {
            return Ok(Submitted::Created);
        }
        // The queue knows the uuid, unless its time to be forgotten has come.
        if !self.forget_outdated(entry.uuid, line)? {
            return Ok(Submitted::Duplicate);
        }
        self.insert(entry, line, lane)?;
        Ok(Submitted::Created)
    }

    /// A resend of what came in before is known, as ever.
    fn refuse(&self, entry: &Entry, line: i64) -> rusqlite::Result<Submitted> {
        let sql = "SELECT 1 FROM job WHERE uuid = ?1 AND line = ?2";
        let known = self.row(sql, (entry.uuid.as_bytes(), line), |_| Ok(()))?;
        Ok(known.map_or(Submitted::Closed, |()| Submitted::Duplicate))
    }

    /// Forgets an ended job whose time has come; whether there was one.
    pub(super) fn forget_outdated(&self, uuid: Uuid, line: i64) -> rusqlite::Result<bool> {
        let outdated = self.row(
            "SELECT id FROM job
            WHERE uuid = ?1 AND line = ?2 AND state BETWEEN 3 AND 5 AND purge_at <= ?3",
            (uuid.as_bytes(), line, self.now.wall),
            |row| row.get(0),
        )?;
        if let Some(id) = outdated {
            self.forget(id)?;
        }
        Ok(outdated.is_some())
    }

    fn insert(&self, entry: &Entry, line: i64, lane: i64) -> rusqlite::Result<bool> {
        let now = self.now.wall;
        let ready_at = entry.ready_at.map_or(now, |at| at.max(now));
        let state = if ready_at > now {
            state::DELAYED
        } else {
            state::READY
        };
        let is_large = entry.payload.len() > LARGE;
        let (gate, most) = entry
            .gate
            .as_ref()
            .map(|gate| self.gate_word(line, gate))
            .unzip();
        let sql = "INSERT INTO job(uuid, line, lane, priority, state, due, submitted_at, ready_at,
                ttl_ms, expires_at, deadline, header, payload, gate, gate_most)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            ON CONFLICT(uuid, line) DO NOTHING";
        let inserted = self.execute(
            sql,
            (
                entry.uuid.as_bytes(),
                line,
                lane,
                entry.priority,
                state,
                ready_at,
                now,
                entry.ttl,
                entry.expires_at,
                deadline(ready_at, entry.ttl, entry.expires_at),
                &entry.header,
                (!is_large).then_some(&entry.payload),
                gate,
                most,
            ),
        )? == 1;
        if inserted && is_large {
            let id = self.conn.last_insert_rowid();
            let sql = "INSERT OR REPLACE INTO large(job, payload) VALUES(?1, ?2)";
            self.execute(sql, (id, &entry.payload))?;
        }
        Ok(inserted)
    }

    /// Removes all there is about a job.
    pub(super) fn forget(&self, id: i64) -> rusqlite::Result<()> {
        self.execute("DELETE FROM large WHERE job = ?1", [id])?;
        self.forget_journal(id)?;
        self.execute("DELETE FROM job WHERE id = ?1", [id])?;
        Ok(())
    }
}

/// When a job that is ready at `ready_at` has waited too long.
pub(super) fn deadline(ready_at: i64, ttl: Option<i64>, expires_at: Option<i64>) -> Option<i64> {
    let waited = ttl.map(|ttl| ready_at.saturating_add(ttl).min(stored(Timestamp::MAX)));
    match (waited, expires_at) {
        (Some(waited), Some(expires)) => Some(waited.min(expires)),
        (waited, expires) => waited.or(expires),
    }
}
