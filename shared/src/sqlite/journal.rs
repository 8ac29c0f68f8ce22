//! What jobs remember.

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::clock::shown;
use super::ledger::{Ledger, state};
use super::settle::key;
use super::store::Store;
use super::writer::Urgency;
use crate::broker::{BrokerError, Receipt};
use crate::fault;
use crate::journal::{
    BYTES_MOST, ENTRIES_MOST, Entry, Journal, Journals, KeptSignal, PAGE, PAGE_BYTES, Page, Record,
    Recorded, SIGNALS_MOST, Signal, Signalled, Taken,
};
use crate::name::Key;

impl Journals for Store {
    fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, BrokerError> {
        let records = records.to_vec();
        let written = self.writer.write(Urgency::Usual, move |ledger| {
            let written = records.iter().map(|record| ledger.record(record));
            let written = written.collect();
            fault::point("record");
            written
        });
        fault::point("recorded");
        written
    }

    fn recall(&self, receipt: &Receipt, after: u32) -> Result<Option<Page>, BrokerError> {
        let receipt = receipt.clone();
        self.read(move |conn, _, now| {
            let sql = "SELECT 1 FROM job WHERE id = ?1 AND fence = ?2 AND state = 2";
            let mut held = conn.prepare_cached(sql)?;
            if !held.exists((receipt.mark, key(receipt.fence)))? {
                return Ok(None);
            }
            page(conn, receipt.mark, after).map(|(entries, more)| {
                let now = shown(now);
                Some(Page { entries, more, now })
            })
        })
    }

    fn take(&self, receipt: &Receipt, name: &Key, by: &str) -> Result<Taken, BrokerError> {
        let (receipt, name, by) = (receipt.clone(), name.clone(), by.to_owned());
        self.writer.write(Urgency::Usual, move |ledger| {
            ledger.take_signal(&receipt, &name, &by)
        })
    }

    fn signal(&self, uuid: Uuid, signal: &Signal) -> Result<Signalled, BrokerError> {
        let signal = signal.clone();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.signal(uuid, &signal))
    }

    fn remembering(&self) -> Result<u64, BrokerError> {
        self.read(|conn, namespace, _| {
            let sql = "SELECT count(*) FROM diary JOIN job ON job.id = diary.job
                JOIN line ON line.id = job.line
                WHERE namespace = ?1 AND (state < 3 OR state IN (10, 11, 20, 21))";
            let mut statement = conn.prepare_cached(sql)?;
            let count: i64 = statement.query_row([namespace.as_str()], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
    }

    fn journal(&self, uuid: Uuid) -> Result<Option<Journal>, BrokerError> {
        self.read(move |conn, namespace, _| {
            let sql = "SELECT job.id FROM job JOIN line ON line.id = job.line
                WHERE uuid = ?1 AND namespace = ?2 ORDER BY job.id DESC LIMIT 1";
            let mut found = conn.prepare_cached(sql)?;
            let mut ids = found.query_map((uuid.as_bytes(), namespace.as_str()), |row| {
                row.get::<_, i64>(0)
            })?;
            let Some(job) = ids.next().transpose()? else {
                return Ok(None);
            };
            whole(conn, job).map(Some)
        })
    }
}

/// All that the job of a row remembers.
pub(super) fn whole(conn: &Connection, job: i64) -> rusqlite::Result<Journal> {
    let sql = "SELECT key, at, number, body FROM journal WHERE job = ?1 ORDER BY number";
    let mut statement = conn.prepare_cached(sql)?;
    let entries = statement.query_map([job], entry)?;
    let entries = entries.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT name, key, at, taken_by, payload FROM signal WHERE job = ?1 ORDER BY number";
    let mut statement = conn.prepare_cached(sql)?;
    let signals = statement.query_map([job], |row| {
        Ok(KeptSignal {
            name: row.get(0)?,
            key: row.get(1)?,
            at: shown(row.get(2)?),
            taken_by: row.get(3)?,
            payload: row.get(4)?,
        })
    })?;
    let signals = signals.collect::<rusqlite::Result<_>>()?;
    Ok(Journal { entries, signals })
}

fn page(conn: &Connection, job: i64, after: u32) -> rusqlite::Result<(Vec<Entry>, bool)> {
    let sql = "SELECT key, at, number, body FROM journal INDEXED BY journal_number
        WHERE job = ?1 AND number > ?2 ORDER BY number";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((job, after))?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if entries.len() == PAGE || bytes >= PAGE_BYTES {
            return Ok((entries, true));
        }
        let entry = entry(row)?;
        bytes += entry.body.len();
        entries.push(entry);
    }
    Ok((entries, false))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        at: shown(row.get(1)?),
        number: row.get(2)?,
        body: row.get(3)?,
    })
}

/// What is counted of a journal, so that nothing grows with its length.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    entries: u32,
    bytes: i64,
    signals: u32,
}

impl Ledger {
    fn counted(&self, job: i64) -> rusqlite::Result<Counted> {
        let sql = "SELECT entries, bytes, signals FROM diary WHERE job = ?1";
        let counted = self.row(sql, [job], |row| {
            Ok(Counted {
                entries: row.get(0)?,
                bytes: row.get(1)?,
                signals: row.get(2)?,
            })
        })?;
        Ok(counted.unwrap_or_default())
    }

    fn count_journal(&self, job: i64, counted: Counted) -> rusqlite::Result<()> {
        let sql = "INSERT INTO diary(job, entries, bytes, signals) VALUES(?1, ?2, ?3, ?4)
            ON CONFLICT(job) DO UPDATE SET entries = excluded.entries, bytes = excluded.bytes,
                signals = excluded.signals";
        let Counted {
            entries,
            bytes,
            signals,
        } = counted;
        self.execute(sql, (job, entries, bytes, signals))?;
        Ok(())
    }

    fn holds(&self, receipt: &Receipt) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM job WHERE id = ?1 AND fence = ?2 AND state = 2 AND revoked = 0";
        let held = self.row(sql, (receipt.mark, key(receipt.fence)), |_| Ok(()))?;
        Ok(held.is_some())
    }

    fn record(&self, record: &Record) -> rusqlite::Result<Recorded> {
        if !self.holds(&record.receipt)? {
            return Ok(Recorded::Lost);
        }
        let (job, name) = (record.receipt.mark, record.key.as_str());
        let mut counted = self.counted(job)?;
        if record.is_first && counted.entries > 0 {
            return Ok(Recorded::Behind);
        }
        let sql = "SELECT length(body), at FROM journal WHERE job = ?1 AND key = ?2";
        let before: Option<(i64, i64)> =
            self.row(sql, (job, name), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let length = i64::try_from(record.body.len()).unwrap_or(i64::MAX);
        let bytes = counted.bytes.saturating_add(length) - before.map_or(0, |(len, _)| len);
        if bytes > BYTES_MOST || (before.is_none() && counted.entries >= ENTRIES_MOST) {
            return Ok(Recorded::Full);
        }
        counted.bytes = bytes;
        counted.entries += u32::from(before.is_none());
        let at = before.map_or(self.now.wall, |(_, at)| at);
        let sql = "INSERT INTO journal(job, key, number, at, body) VALUES(?1, ?2, ?3, ?4, ?5)
            ON CONFLICT(job, key) DO UPDATE SET body = excluded.body";
        self.execute(sql, (job, name, counted.entries, at, &record.body))?;
        self.count_journal(job, counted)?;
        Ok(Recorded::Written {
            at: shown(at),
            now: shown(self.now.wall),
        })
    }

    fn take_signal(&self, receipt: &Receipt, name: &Key, by: &str) -> rusqlite::Result<Taken> {
        if !self.holds(receipt)? {
            return Ok(Taken::Lost);
        }
        let (job, now) = (receipt.mark, shown(self.now.wall));
        // The one that was taken before comes first.
        let sql = "SELECT key, payload FROM signal
            WHERE job = ?1 AND name = ?2 AND (taken_by IS NULL OR taken_by = ?3)
            ORDER BY taken_by IS NULL, number LIMIT 1";
        let found: Option<(String, Vec<u8>)> = self.row(sql, (job, name.as_str(), by), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let Some((key, payload)) = found else {
            return Ok(Taken::Nothing { now });
        };
        let sql = "UPDATE signal SET taken_by = ?4 WHERE job = ?1 AND name = ?2 AND key = ?3";
        self.execute(sql, (job, name.as_str(), key, by))?;
        Ok(Taken::Signal { payload, now })
    }

    fn signal(&mut self, uuid: Uuid, signal: &Signal) -> rusqlite::Result<Signalled> {
        let sql = "SELECT job.id, state, fence FROM job JOIN line ON line.id = job.line
            WHERE uuid = ?1 AND namespace = ?2 AND state < 10 ORDER BY state > 2, job.id DESC LIMIT 1";
        let found: Option<(i64, i64, i64)> =
            self.row(sql, (uuid.as_bytes(), self.namespace.as_str()), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let Some((job, state, fence)) = found else {
            return Ok(Signalled::Unknown);
        };
        if state > 2 {
            return Ok(Signalled::Ended);
        }
        let (name, now) = (signal.name.as_str(), self.now.wall);
        let sql = "SELECT 1 FROM signal WHERE job = ?1 AND name = ?2 AND key = ?3";
        if self
            .row(sql, (job, name, &signal.key), |_| Ok(()))?
            .is_some()
        {
            return Ok(Signalled::Known);
        }
        let mut counted = self.counted(job)?;
        if counted.signals >= SIGNALS_MOST {
            return Ok(Signalled::Full);
        }
        counted.signals += 1;
        let sql = "INSERT INTO signal(job, name, key, number, at, payload)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        let row = (
            job,
            name,
            &signal.key,
            counted.signals,
            now,
            &signal.payload,
        );
        self.execute(sql, row)?;
        self.count_journal(job, counted)?;
        let sql = "UPDATE job SET state = ?2, due = ?3, ready_at = ?3,
            deadline = CASE WHEN ttl_ms IS NULL THEN expires_at
                ELSE min(?3 + ttl_ms, ifnull(expires_at, ?3 + ttl_ms)) END
            WHERE id = ?1 AND state = ?4 AND EXISTS (
                SELECT 1 FROM diary WHERE job = ?1 AND asleep_fence = ?5 AND asleep_for = ?6)";
        let woken = (job, state::READY, now, state::DELAYED, fence, name);
        self.marks.rings |= self.execute(sql, woken)? == 1;
        Ok(Signalled::Kept)
    }

    /// Whether a signal waits that nobody has taken.
    pub(super) fn has_signal(&self, job: i64, name: &Key) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM signal WHERE job = ?1 AND name = ?2 AND taken_by IS NULL LIMIT 1";
        Ok(self.row(sql, (job, name.as_str()), |_| Ok(()))?.is_some())
    }

    /// Says that a job sleeps under this fence until the signal comes.
    pub(super) fn sleep_for(&self, job: i64, fence: u64, name: &Key) -> rusqlite::Result<()> {
        let sql = "INSERT INTO diary(job, asleep_fence, asleep_for) VALUES(?1, ?2, ?3)
            ON CONFLICT(job) DO UPDATE SET asleep_fence = excluded.asleep_fence,
                asleep_for = excluded.asleep_for";
        self.execute(sql, (job, key(fence), name.as_str()))?;
        Ok(())
    }

    /// Forgets all that a job remembers.
    pub(super) fn forget_journal(&self, job: i64) -> rusqlite::Result<()> {
        if self.execute("DELETE FROM diary WHERE job = ?1", [job])? > 0 {
            self.execute("DELETE FROM journal WHERE job = ?1", [job])?;
            self.execute("DELETE FROM signal WHERE job = ?1", [job])?;
        }
        Ok(())
    }
}
