//! Gates of queues, and the end of a namespace.

use super::claim::bound;
use super::ledger::Ledger;
use super::store::Store;
use super::writer::Urgency;
use crate::broker::BrokerError;
use crate::control::{Control, QueueGate};
use crate::name::QueueName;

/// As the tables hold it.
const fn number(gate: QueueGate) -> i64 {
    match gate {
        QueueGate::Open => 0,
        QueueGate::Paused => 1,
        QueueGate::Draining => 2,
    }
}

/// A gate from the tables; one that a later version may know is as good as open.
pub(super) const fn gate(number: i64) -> QueueGate {
    match number {
        1 => QueueGate::Paused,
        2 => QueueGate::Draining,
        _ => QueueGate::Open,
    }
}

impl Ledger {
    /// What a queue lets through.
    pub(super) fn gate(&self, line: i64) -> rusqlite::Result<QueueGate> {
        let sql = "SELECT gate FROM line WHERE id = ?1";
        let found = self.row(sql, [line], |row| row.get(0))?;
        Ok(gate(found.unwrap_or_default()))
    }

    fn set_gate(&mut self, queue: &QueueName, gate: QueueGate) -> rusqlite::Result<QueueGate> {
        let line = self.line(queue)?;
        let before = self.gate(line)?;
        if before != gate {
            self.execute(
                "UPDATE line SET gate = ?2 WHERE id = ?1",
                (line, number(gate)),
            )?;
            self.marks.rings = true;
        }
        Ok(before)
    }

    fn clear(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let mut ids = Vec::new();
        for line in self.all_lines()? {
            let left = bound(limit - ids.len());
            let sql = "SELECT id FROM job WHERE line = ?1 LIMIT ?2";
            ids.extend(self.rows(sql, (line, left), |row| row.get::<_, i64>(0))?);
        }
        for id in &ids {
            self.forget(*id)?;
        }
        if ids.is_empty() {
            let namespace = self.namespace.as_str();
            let places = "DELETE FROM place WHERE bundle IN
                (SELECT id FROM bundle WHERE namespace = ?1)";
            self.execute(places, [namespace])?;
            for table in ["unique_key", "cap"] {
                let sql = format!(
                    "DELETE FROM {table} WHERE line IN (SELECT id FROM line WHERE namespace = ?1)"
                );
                self.execute(&sql, [namespace])?;
            }
            for table in ["bundle", "schedule", "task"] {
                let sql = format!("DELETE FROM {table} WHERE namespace = ?1");
                self.execute(&sql, [namespace])?;
            }
            self.execute("UPDATE line SET gate = 0 WHERE namespace = ?1", [namespace])?;
        }
        self.marks.rings = true;
        Ok(ids.len())
    }
}

impl Control for Store {
    fn set_gate(&self, queue: &QueueName, gate: QueueGate) -> Result<QueueGate, BrokerError> {
        let queue = queue.clone();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.set_gate(&queue, gate))
    }

    fn clear(&self, limit: usize) -> Result<usize, BrokerError> {
        let cleared = self
            .writer
            .write(Urgency::Usual, move |ledger| ledger.clear(limit))?;
        if cleared == 0 {
            self.clear_streams()?;
        }
        Ok(cleared)
    }

    /// Nothing: one row holds the job, its status and its place, and goes as a whole.
    fn mend(&self, _: usize) -> Result<usize, BrokerError> {
        Ok(0)
    }
}
