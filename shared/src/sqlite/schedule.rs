//! Schedules: one row each.

use rusqlite::Row as Found;

use super::claim::bound;
use super::clock::{shown, stored};
use super::ledger::{Ledger, name};
use super::read::unsigned;
use super::store::Store;
use super::submit::Entry;
use super::writer::Urgency;
use crate::broker::{BrokerError, Submission, Submitted};
use crate::fault;
use crate::name::{QueueName, ScheduleName};
use crate::schedule::{self, Due, Fire, Fired, MOST, Put, Row, Schedules, Step};

const COLUMNS: &str = "name, queue, version, due, body";

impl Schedules for Store {
    fn put(&self, row: &Row) -> Result<Put, BrokerError> {
        schedule::check(row)?;
        let row = row.clone();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.put_schedule(&row))
    }

    fn find(&self, name: &ScheduleName) -> Result<Option<Row>, BrokerError> {
        let name = name.clone();
        self.read(move |conn, namespace, _| {
            let sql = format!("SELECT {COLUMNS} FROM schedule WHERE namespace = ?1 AND name = ?2");
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query_map((namespace.as_str(), name.as_str()), read)?;
            rows.next().transpose()
        })
    }

    fn all(&self) -> Result<Vec<Row>, BrokerError> {
        self.read(move |conn, namespace, _| {
            let sql = format!("SELECT {COLUMNS} FROM schedule WHERE namespace = ?1 ORDER BY name");
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map([namespace.as_str()], read)?.collect()
        })
    }

    fn forget(&self, row: &Row) -> Result<bool, BrokerError> {
        let (name, version) = (row.name.clone(), number(row.version));
        self.writer.write(Urgency::Usual, move |ledger| {
            let sql = "DELETE FROM schedule WHERE namespace = ?1 AND name = ?2 AND version = ?3";
            let key = (ledger.namespace.as_str(), name.as_str(), version);
            Ok(ledger.execute(sql, key)? == 1)
        })
    }

    fn due(&self, limit: usize) -> Result<Due, BrokerError> {
        self.read(move |conn, namespace, now| {
            let sql = format!(
                "SELECT {COLUMNS} FROM schedule INDEXED BY schedule_due
                WHERE namespace = ?1 AND due IS NOT NULL AND due <= ?2 ORDER BY due LIMIT ?3"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let key = (namespace.as_str(), now, bound(limit));
            let rows = statement.query_map(key, read)?;
            let rows = rows.collect::<rusqlite::Result<_>>()?;
            let sql = "SELECT min(due) FROM schedule INDEXED BY schedule_due
                WHERE namespace = ?1 AND due IS NOT NULL AND due > ?2";
            let mut statement = conn.prepare_cached(sql)?;
            let next: Option<i64> =
                statement.query_row((namespace.as_str(), now), |row| row.get(0))?;
            let now = shown(now);
            Ok(Due {
                now,
                rows,
                next: next.map(|next| shown(next).since(now)),
            })
        })
    }

    fn fire(&self, fires: &[Fire]) -> Result<Vec<Fired>, BrokerError> {
        let fires: Vec<_> = fires.iter().map(Prepared::new).collect();
        self.writer.write(Urgency::Usual, move |ledger| {
            let fired = fires.iter().map(|fire| ledger.fire(fire));
            let fired = fired.collect::<rusqlite::Result<_>>()?;
            fault::point("fire");
            Ok(fired)
        })
    }
}

/// A [`Fire`] whose messages are rows, prepared by the caller's thread.
struct Prepared {
    fire: Fire,
    entries: Vec<Entry>,
}

impl Prepared {
    fn new(fire: &Fire) -> Self {
        let queue = &fire.queue;
        let entry = |message| Entry::new(&Submission { message, queue });
        Self {
            entries: fire.messages.iter().map(entry).collect(),
            fire: fire.clone(),
        }
    }
}

impl Ledger {
    fn put_schedule(&mut self, row: &Row) -> rusqlite::Result<Put> {
        let due = row.due.map(stored);
        let (namespace, name) = (self.namespace.as_str(), row.name.as_str());
        if row.version > 0 {
            let sql = "UPDATE schedule SET version = version + 1, due = ?5, body = ?6
                WHERE namespace = ?1 AND name = ?2 AND queue = ?3 AND version = ?4";
            let version = number(row.version);
            let key = (namespace, name, row.queue.as_str(), version, due, &row.body);
            let is_written = self.execute(sql, key)? == 1;
            self.marks.rings |= is_written;
            return Ok(if is_written { Put::Written } else { Put::Stale });
        }
        let sql = "SELECT count(*) FROM schedule WHERE namespace = ?1";
        let count: i64 = self.row(sql, [namespace], |row| row.get(0))?.unwrap_or(0);
        if usize::try_from(count).is_ok_and(|count| count >= MOST) {
            return Ok(Put::Full);
        }
        // From the clock: no later row of that name has a version that this one had.
        let sql = "INSERT INTO schedule(namespace, name, queue, version, due, body)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        let key = (
            namespace,
            name,
            row.queue.as_str(),
            self.now.wall.max(1),
            due,
            &row.body,
        );
        let is_written = self.execute(sql, key)? == 1;
        self.marks.rings |= is_written;
        Ok(if is_written { Put::Written } else { Put::Stale })
    }

    fn fire(&mut self, Prepared { fire, entries }: &Prepared) -> rusqlite::Result<Fired> {
        let busy = match &fire.unless {
            Some((uuid, step)) if self.is_unfinished(&fire.queue, *uuid)? => Some(step),
            _ => None,
        };
        if !self.advance(fire, busy.unwrap_or(&fire.next))? {
            return Ok(Fired::Stale);
        }
        if busy.is_some() {
            return Ok(Fired::Busy);
        }
        for entry in entries {
            let became = self.submit_one(entry)?;
            self.marks.rings |= became == Submitted::Created;
        }
        Ok(Fired::Free)
    }

    fn advance(&self, fire: &Fire, step: &Step) -> rusqlite::Result<bool> {
        let sql = "UPDATE schedule SET version = version + 1, due = ?5, body = ?6
            WHERE namespace = ?1 AND name = ?2 AND queue = ?3 AND version = ?4";
        let key = (
            self.namespace.as_str(),
            fire.name.as_str(),
            fire.queue.as_str(),
            number(fire.version),
            step.due.map(stored),
            &step.body,
        );
        Ok(self.execute(sql, key)? == 1)
    }

    fn is_unfinished(&mut self, queue: &QueueName, uuid: uuid::Uuid) -> rusqlite::Result<bool> {
        let line = self.line(queue)?;
        // On its way to or from another store a job keeps the last digit of its state.
        let sql = "SELECT 1 FROM job WHERE uuid = ?1 AND line = ?2 AND state % 10 < 3";
        let found = self.row(sql, (uuid.as_bytes(), line), |_| Ok(()))?;
        Ok(found.is_some())
    }
}

fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn read(row: &Found<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        name: name(row, 0, ScheduleName::new)?,
        queue: name(row, 1, QueueName::new)?,
        version: unsigned(row, 2)?,
        due: row.get::<_, Option<i64>>(3)?.map(shown),
        body: row.get(4)?,
    })
}
