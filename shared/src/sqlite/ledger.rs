//! The writing connection and what is remembered beside it. Runs on the writer's thread alone.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::alive::Alive;
use super::claim::Chosen;
use super::clock::{Clock, Moment};
use crate::broker::SupervisorId;
use crate::name::{Namespace, QueueName, TaskName};

/// States as the tables hold them.
pub(super) mod state {
    pub(in super::super) const READY: i64 = 0;
    /// Ready but for its gate. Below all others, so that what asks for jobs that wait finds it.
    pub(in super::super) const PARKED: i64 = -1;
    pub(in super::super) const DELAYED: i64 = 1;
}

/// What is to be done once the transaction is committed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Marks {
    pub(super) rings: bool,
    pub(super) has_claimed: bool,
    pub(super) has_settled: bool,
    pub(super) has_completed: bool,
}

/// A queue and a task, as a lane stands for them.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) queue: QueueName,
    pub(super) task: TaskName,
}

pub(super) struct Ledger {
    pub(super) conn: Connection,
    pub(super) namespace: Namespace,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boot_id: [u8; 16],
    pub(super) now: Moment,
    pub(super) marks: Marks,
    pub(super) alive: Alive,
    lines: HashMap<QueueName, i64>,
    ids: HashMap<QueueName, HashMap<TaskName, (i64, i64)>>,
    lanes: HashMap<i64, Lane>,
    pub(super) chosen: Vec<Arc<Chosen>>,
}

impl Ledger {
    pub(super) fn new(
        conn: Connection,
        namespace: Namespace,
        clock: Arc<dyn Clock>,
        alive: Alive,
    ) -> Self {
        Self {
            conn,
            namespace,
            boot_id: clock.boot_id(),
            now: Moment::read(&*clock, 0),
            clock,
            marks: Marks::default(),
            alive,
            lines: HashMap::new(),
            ids: HashMap::new(),
            lanes: HashMap::new(),
            chosen: Vec::new(),
        }
    }

    pub(super) fn read_clock(&mut self) {
        self.now = Moment::read(&*self.clock, self.now.wall);
    }

    /// Runs a statement that is kept prepared; returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params)
    }

    /// The first row of a statement that is kept prepared.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        statement.query_row(params, read).optional()
    }

    /// All rows of a statement that is kept prepared.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        rows.collect()
    }

    pub(super) fn committed(&mut self) -> Marks {
        self.alive.committed();
        std::mem::take(&mut self.marks)
    }

    /// Ends a transaction that failed, and forgets what it had taught us.
    pub(super) fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // SQLite rolls back by itself after some errors; the connection stays usable.
            let _ = self.execute("ROLLBACK", []);
        }
        self.alive.rolled_back();
        self.marks = Marks::default();
        self.lines.clear();
        self.ids.clear();
        self.lanes.clear();
        self.chosen.clear();
    }

    /// Folds the write-ahead log into the file, unless somebody is in the way.
    pub(super) fn fold_log(&self) -> rusqlite::Result<()> {
        self.conn.execute_batch("PRAGMA busy_timeout = 50")?;
        let done = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.conn.execute_batch("PRAGMA busy_timeout = 10000")?;
        done
    }

    /// The row of a queue of ours, made if it is new.
    pub(super) fn line(&mut self, queue: &QueueName) -> rusqlite::Result<i64> {
        if let Some(line) = self.lines.get(queue) {
            return Ok(*line);
        }
        let key = (self.namespace.as_str(), queue.as_str());
        self.execute(
            "INSERT OR IGNORE INTO line(namespace, queue) VALUES(?1, ?2)",
            key,
        )?;
        let sql = "SELECT id FROM line WHERE namespace = ?1 AND queue = ?2";
        let line = self.conn.query_row(sql, key, |row| row.get(0))?;
        self.lines.insert(queue.clone(), line);
        Ok(line)
    }

    /// The rows of a queue and of its lane for a task, made if they are new.
    pub(super) fn lane(
        &mut self,
        queue: &QueueName,
        task: &TaskName,
    ) -> rusqlite::Result<(i64, i64)> {
        if let Some(found) = self.ids.get(queue).and_then(|tasks| tasks.get(task)) {
            return Ok(*found);
        }
        let line = self.line(queue)?;
        let key = (line, task.as_str());
        self.execute("INSERT OR IGNORE INTO lane(line, task) VALUES(?1, ?2)", key)?;
        let sql = "SELECT id FROM lane WHERE line = ?1 AND task = ?2";
        let lane = self.conn.query_row(sql, key, |row| row.get(0))?;
        let tasks = self.ids.entry(queue.clone()).or_default();
        tasks.insert(task.clone(), (line, lane));
        Ok((line, lane))
    }

    /// What a lane stands for.
    pub(super) fn names(&mut self, lane: i64) -> rusqlite::Result<Lane> {
        if let Some(names) = self.lanes.get(&lane) {
            return Ok(names.clone());
        }
        let sql =
            "SELECT queue, task FROM lane JOIN line ON line.id = lane.line WHERE lane.id = ?1";
        let names = self.conn.query_row(sql, [lane], |row| {
            Ok(Lane {
                queue: name(row, 0, QueueName::new)?,
                task: name(row, 1, TaskName::new)?,
            })
        })?;
        self.lanes.insert(lane, names.clone());
        Ok(names)
    }

    /// All queues of our namespace.
    pub(super) fn all_lines(&self) -> rusqlite::Result<Vec<i64>> {
        let namespace = self.namespace.as_str();
        self.rows(
            "SELECT id FROM line WHERE namespace = ?1",
            [namespace],
            |row| row.get(0),
        )
    }

    /// The row of a supervisor that this store speaks for; it holds the lock that says so.
    pub(super) fn owner(&mut self, id: SupervisorId) -> rusqlite::Result<i64> {
        if let Some(row) = self.alive.row(id) {
            return Ok(row);
        }
        let sql = "INSERT INTO supervisor(uuid, namespace, boot, seen) VALUES(?1, ?2, ?3, ?4)
            ON CONFLICT(uuid) DO UPDATE SET boot = excluded.boot, seen = excluded.seen
            RETURNING id";
        let row = self.conn.query_row(
            sql,
            (
                id.0.as_bytes(),
                self.namespace.as_str(),
                self.boot_id,
                self.now.wall,
            ),
            |row| row.get(0),
        )?;
        self.alive.hold(id, row);
        Ok(row)
    }
}

/// A checked name from column `index`.
pub(super) fn name<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    index: usize,
    check: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    check(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            index,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}
