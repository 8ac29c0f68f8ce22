//! Jobs on their way from one store to another.
//!
//! Such a row keeps the number of its state, with ten added while it leaves and twenty while it
//! arrives: no statement about jobs that wait, run or have ended finds it.

use std::time::Duration;

use rusqlite::Row;

use super::claim::{bound, uuid};
use super::clock::{shown, stored, stored_length};
use super::ledger::{Lane, Ledger};
use super::read::{number, state, unsigned};
use super::store::Store;
use super::submit::{LARGE, deadline};
use super::writer::Urgency;
use crate::broker::BrokerError;
use crate::catalog::State;
use crate::message::Header;
use crate::outcome::Cause;
use crate::transit::{Parcel, Received, Sent, Transit, Underway};

/// Added to the state of a row.
pub(super) const LEAVING: i64 = 10;
pub(super) const ARRIVING: i64 = 20;

/// Bytes of payloads, histories and results in one answer, about: a page of large jobs is cut
/// short by it.
const PAGE_BYTES: usize = 32 << 20;

/// The columns of a parcel, in the order of [`parcel`].
const COLUMNS: &str = "payload, state, uuid, priority, fence, submitted_at, ready_at, ttl_ms,
    expires_at, started_at, pid, finished_at, cause, progress, header, history, result,
    result_until, purge_at";

impl Transit for Store {
    fn send_off(&self, limit: usize) -> Result<Vec<Parcel>, BrokerError> {
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.send_off(limit))
    }

    fn receive(&self, parcels: &[Parcel]) -> Result<Vec<Received>, BrokerError> {
        let parcels = parcels.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.receive(&parcels))
    }

    fn forget_sent(&self, sent: &[Sent]) -> Result<Vec<bool>, BrokerError> {
        let sent = sent.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.forget_sent(&sent))
    }

    fn admit(&self, limit: usize) -> Result<usize, BrokerError> {
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.admit(limit))
    }

    fn underway(&self) -> Result<Underway, BrokerError> {
        self.writer.call(
            Urgency::Usual,
            |ledger| ledger.underway().map(Some),
            |ledger| ledger.underway(),
        )
    }
}

impl Ledger {
    fn send_off(&mut self, limit: usize) -> rusqlite::Result<Vec<Parcel>> {
        // In the order of the table: what has been sent off is forgotten, so the first rows are
        // soon those that are still to go.
        let sql = "SELECT id, lane FROM job NOT INDEXED
            WHERE line IN (SELECT id FROM line WHERE namespace = ?1)
                AND (state IN (-1, 0, 1) OR state BETWEEN 3 AND 5 OR state BETWEEN 10 AND 15)
            ORDER BY id LIMIT ?2";
        let key = (self.namespace.as_str(), bound(limit));
        let found: Vec<(i64, i64)> = self.rows(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut parcels = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for (id, lane) in found {
            let names = self.names(lane)?;
            let parcel = self.send_one(id, names)?;
            bytes += parcel.payload.len() + parcel.history.len() + parcel.header.len();
            bytes += parcel.result.as_ref().map_or(0, Vec::len);
            parcels.push(parcel);
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(parcels)
    }

    fn send_one(&self, id: i64, names: Lane) -> rusqlite::Result<Parcel> {
        if self.has_parked()? {
            self.wake_next(id)?;
        }
        let sql = "UPDATE job SET state = max(state, 0) + CASE WHEN state < 10 THEN 10 ELSE 0 END,
                fence = fence + 1
            WHERE id = ?1";
        self.execute(sql, [id])?;
        let payload = "SELECT payload FROM large WHERE job = ?1";
        let payload = self.row(payload, [id], |row| row.get::<_, Vec<u8>>(0))?;
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?1");
        let found = self.row(&sql, [id], |row| parcel(row, names, payload))?;
        found.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn receive(&mut self, parcels: &[Parcel]) -> rusqlite::Result<Vec<Received>> {
        parcels
            .iter()
            .map(|parcel| self.receive_one(parcel))
            .collect()
    }

    fn receive_one(&mut self, parcel: &Parcel) -> rusqlite::Result<Received> {
        let (line, lane) = self.lane(&parcel.queue, &parcel.task)?;
        self.forget_outdated(parcel.uuid, line)?;
        let is_large = parcel.payload.len() > LARGE;
        let (ready_at, ttl) = (stored(parcel.ready_at), parcel.ttl.map(stored_length));
        let expires_at = parcel.expires_at.map(stored);
        let waits = matches!(parcel.state, State::Ready | State::Delayed);
        let deadline = deadline(ready_at, ttl, expires_at).filter(|_| waits);
        // The fence of a parcel fits: it comes from a store that counts as we do.
        let fence = i64::try_from(parcel.fence).unwrap_or(i64::MAX);
        let header: Option<Header> = serde_json::from_slice(&parcel.header).ok();
        let gate = header.as_ref().and_then(Header::gate);
        let (gate, most) = gate.map(|gate| self.gate_word(line, &gate)).unzip();
        let sql =
            "INSERT INTO job(line, lane, state, uuid, priority, fence, submitted_at, ready_at,
                due, ttl_ms, expires_at, deadline, started_at, pid, finished_at, cause, progress,
                header, payload, history, result, result_until, purge_at, gate, gate_most)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                ?18, ?19, ?20, ?21, ?22, ?23, ?24)
            ON CONFLICT(uuid, line) DO UPDATE SET lane = excluded.lane, state = excluded.state,
                priority = excluded.priority, fence = excluded.fence, due = excluded.due,
                submitted_at = excluded.submitted_at, ready_at = excluded.ready_at,
                ttl_ms = excluded.ttl_ms, expires_at = excluded.expires_at,
                deadline = excluded.deadline, started_at = excluded.started_at,
                pid = excluded.pid, finished_at = excluded.finished_at, cause = excluded.cause,
                progress = excluded.progress, header = excluded.header,
                payload = excluded.payload, history = excluded.history,
                result = excluded.result, result_until = excluded.result_until,
                purge_at = excluded.purge_at
            WHERE job.state >= 20 AND job.fence < excluded.fence
                AND NOT (job.state >= 23 AND excluded.state < 23)
            RETURNING id";
        let key = rusqlite::params![
            line,
            lane,
            ARRIVING + number(parcel.state),
            parcel.uuid.as_bytes(),
            parcel.priority,
            fence,
            stored(parcel.submitted_at),
            ready_at,
            ttl,
            expires_at,
            deadline,
            parcel.started_at.map(stored),
            parcel.pid,
            parcel.finished_at.map(stored),
            parcel.cause.map(Cause::as_str),
            parcel.progress,
            parcel.header,
            (!is_large).then_some(&parcel.payload),
            parcel.history,
            parcel.result,
            parcel.result_until.map(stored),
            parcel.purge_at.map(stored),
            gate,
            most,
        ];
        let Some(id) = self.row(sql, key, |row| row.get::<_, i64>(0))? else {
            // A job that somebody holds keeps its fence: his settlement must count.
            let sql = "UPDATE job SET fence = max(fence, ?3)
                WHERE uuid = ?1 AND line = ?2 AND state != 2";
            self.execute(sql, (parcel.uuid.as_bytes(), line, fence))?;
            return Ok(Received::Known);
        };
        if is_large {
            let sql = "INSERT OR REPLACE INTO large(job, payload) VALUES(?1, ?2)";
            self.execute(sql, (id, &parcel.payload))?;
        }
        if let Some(unique) = header.and_then(|header| header.unique)
            && self.has_key(line, &unique, parcel.uuid)?.is_none()
        {
            self.keep_key(line, &unique, parcel.uuid, stored(parcel.submitted_at))?;
        }
        Ok(Received::Stored)
    }

    fn forget_sent(&self, sent: &[Sent]) -> rusqlite::Result<Vec<bool>> {
        let sql = "SELECT job.id FROM job JOIN line ON line.id = job.line
            WHERE uuid = ?1 AND namespace = ?2 AND queue = ?3 AND fence = ?4
                AND state BETWEEN 10 AND 15";
        let forget = |Sent { uuid, queue, fence }: &Sent| {
            let fence = i64::try_from(*fence).unwrap_or(-1);
            let namespace = self.namespace.as_str();
            let key = (uuid.as_bytes(), namespace, queue.as_str(), fence);
            let found = self.row(sql, key, |row| row.get(0))?;
            if let Some(id) = found {
                self.forget(id)?;
            }
            Ok(found.is_some())
        };
        sent.iter().map(forget).collect()
    }

    fn admit(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let mut admitted = 0;
        for line in self.all_lines()? {
            let sql = "SELECT id FROM job INDEXED BY job_ended WHERE state >= 3
                AND line = ?1 AND state BETWEEN 20 AND 25 LIMIT ?2";
            let key = (line, bound(limit - admitted));
            let ids: Vec<i64> = self.rows(sql, key, |row| row.get(0))?;
            for id in ids {
                self.execute("UPDATE job SET state = state - 20 WHERE id = ?1", [id])?;
                admitted += 1;
            }
        }
        self.marks.rings |= admitted > 0;
        Ok(admitted)
    }

    pub(super) fn underway(&self) -> rusqlite::Result<Underway> {
        let count = |first: i64, last: i64| {
            let sql = "SELECT count(*) FROM line JOIN job INDEXED BY job_ended
                    ON job.line = line.id AND job.state >= 3 AND job.state BETWEEN ?2 AND ?3
                WHERE namespace = ?1";
            let key = (self.namespace.as_str(), first, last);
            let count = self.row(sql, key, |row| unsigned(row, 0))?;
            Ok::<_, rusqlite::Error>(count.unwrap_or(0))
        };
        Ok(Underway {
            leaving: count(LEAVING, LEAVING + 5)?,
            arriving: count(ARRIVING, ARRIVING + 5)?,
        })
    }
}

/// A parcel; `payload` is the one that is kept apart.
fn parcel(row: &Row<'_>, names: Lane, payload: Option<Vec<u8>>) -> rusqlite::Result<Parcel> {
    let time = |index| -> rusqlite::Result<_> { Ok(shown(row.get(index)?)) };
    let maybe = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(index)?.map(shown)) };
    let payload = payload.map_or_else(|| row.get::<_, Option<Vec<u8>>>(0), |apart| Ok(Some(apart)));
    let ttl = row.get::<_, Option<i64>>(7)?;
    let ttl = ttl.and_then(|ms| u64::try_from(ms).ok());
    let cause: Option<String> = row.get(12)?;
    Ok(Parcel {
        uuid: uuid(row, 2)?,
        queue: names.queue,
        task: names.task,
        state: state(row.get(1)?)?,
        priority: row.get(3)?,
        fence: unsigned(row, 4)?,
        submitted_at: time(5)?,
        ready_at: time(6)?,
        ttl: ttl.map(Duration::from_millis),
        expires_at: maybe(8)?,
        started_at: maybe(9)?,
        pid: row.get(10)?,
        finished_at: maybe(11)?,
        cause: cause.as_deref().and_then(Cause::from_name),
        progress: row.get(13)?,
        header: row.get(14)?,
        payload: payload?.unwrap_or_default(),
        history: row.get(15)?,
        result: row.get(16)?,
        result_until: maybe(17)?,
        purge_at: maybe(18)?,
    })
}
