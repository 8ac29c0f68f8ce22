//! Reads jobs, on connections of their own that never write.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params_from_iter};
use uuid::Uuid;

use super::claim::uuid as uuid_of;
use super::clock::shown;
use super::control::gate;
use super::ledger::{self, name};
use super::schema::configure;
use super::transit::{ARRIVING, LEAVING};
use crate::catalog::{Filter, JobRow, KeptResult, QueueCounts, State};
use crate::name::{Namespace, QueueName, TaskName};
use crate::outcome::Cause;
use crate::task::TaskSpec;

/// Connections kept for the next reader; more are made when more read at once.
const KEPT: usize = 4;

/// Counting of unfinished jobs stops here.
const COUNTED: i64 = 10_000;

/// Connections that only read.
#[derive(Debug)]
pub(super) struct Readers {
    db: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) const fn new(db: PathBuf) -> Self {
        Self {
            db,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => self.open()?,
        };
        let done = read(&conn);
        let mut idle = idle();
        if idle.len() < KEPT {
            idle.push(conn);
        }
        done
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(&self.db, flags)?;
        configure(&conn, "NORMAL")?;
        Ok(conn)
    }
}

const ROW: &str = "SELECT job.uuid, task, queue, state, priority, fence, submitted_at, ready_at,
        started_at, finished_at, cause, revoked, progress, supervisor.host, job.pid, header,
        history, CASE WHEN result IS NULL OR result_until <= ?1 OR purge_at <= ?1 THEN NULL
            ELSE length(result) END
    FROM job JOIN lane ON lane.id = job.lane JOIN line ON line.id = job.line
        LEFT JOIN supervisor ON supervisor.id = job.owner
    WHERE line.namespace = ?2";

pub(super) fn jobs_by_id(
    conn: &Connection,
    namespace: &Namespace,
    uuids: &[Uuid],
    now: i64,
) -> rusqlite::Result<Vec<Option<JobRow>>> {
    let sql = format!("{ROW} AND job.uuid = ?3 ORDER BY job.id DESC LIMIT 1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut find = |uuid: &Uuid| {
        let key = (now, namespace.as_str(), uuid.as_bytes());
        statement.query_row(key, job).optional()
    };
    uuids.iter().map(&mut find).collect()
}

pub(super) fn list(
    conn: &Connection,
    namespace: &Namespace,
    filter: &Filter,
    limit: usize,
    now: i64,
) -> rusqlite::Result<Vec<JobRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut sql = ROW.to_owned();
    let mut values: Vec<Value> = vec![
        now.into(),
        namespace.as_str().to_owned().into(),
        limit.into(),
    ];
    let mut and = |column: &str, value: &str| {
        values.push(value.to_owned().into());
        sql.push_str(&format!(" AND {column} = ?{}", values.len()));
    };
    if let Some(task) = &filter.task {
        and("task", task.as_str());
    }
    if let Some(queue) = &filter.queue {
        and("queue", queue.as_str());
    }
    if let Some(cause) = filter.cause {
        and("cause", cause.as_str());
    }
    if !filter.states.is_empty() {
        let states: Vec<_> = filter
            .states
            .iter()
            .map(|s| number(*s))
            .flat_map(|s| {
                let parked = (s == ledger::state::READY).then_some(ledger::state::PARKED);
                [s, s + LEAVING, s + ARRIVING].into_iter().chain(parked)
            })
            .map(|s| s.to_string())
            .collect();
        sql.push_str(&format!(" AND state IN ({})", states.join(",")));
    }
    sql.push_str(" ORDER BY job.id DESC LIMIT ?3");
    let mut statement = conn.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), job)?;
    rows.collect()
}

/// The kept result of a job and the job's row.
pub(super) fn result(
    conn: &Connection,
    namespace: &Namespace,
    uuid: Uuid,
    now: i64,
) -> rusqlite::Result<Option<(i64, KeptResult)>> {
    let sql = "SELECT job.id, result, finished_at, result_until, purge_at
        FROM job JOIN line ON line.id = job.line
        WHERE uuid = ?1 AND namespace = ?2 ORDER BY job.id DESC LIMIT 1";
    let found = conn
        .prepare_cached(sql)?
        .query_row((uuid.as_bytes(), namespace.as_str()), |row| {
            let is_past = |index| -> rusqlite::Result<bool> {
                Ok(row
                    .get::<_, Option<i64>>(index)?
                    .is_some_and(|until| until <= now))
            };
            if is_past(3)? || is_past(4)? {
                return Ok(None);
            }
            let (id, at) = (row.get(0)?, row.get::<_, Option<i64>>(2)?);
            let bytes: Option<Vec<u8>> = row.get(1)?;
            let at = shown(at.unwrap_or(0));
            Ok(bytes.map(|bytes| (id, KeptResult { bytes, at })))
        })
        .optional()?;
    Ok(found.flatten())
}

pub(super) fn payload(
    conn: &Connection,
    namespace: &Namespace,
    uuid: Uuid,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT ifnull(job.payload, large.payload)
        FROM job JOIN line ON line.id = job.line LEFT JOIN large ON large.job = job.id
        WHERE uuid = ?1 AND namespace = ?2 ORDER BY job.id DESC LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    statement
        .query_row((uuid.as_bytes(), namespace.as_str()), |row| row.get(0))
        .optional()
}

pub(super) fn queues(
    conn: &Connection,
    namespace: &Namespace,
) -> rusqlite::Result<Vec<QueueCounts>> {
    // Each count is answered by the index of its state alone, without looking at rows.
    let sql = "SELECT queue,
            (SELECT count(*) FROM lane JOIN job ON job.lane = lane.id AND job.state = 0
                WHERE lane.line = line.id)
                + (SELECT count(*) FROM job WHERE state = -1 AND job.line = line.id),
            (SELECT count(*) FROM job WHERE state = 1 AND job.line = line.id),
            (SELECT count(*) FROM job WHERE state = 2 AND job.line = line.id),
            (SELECT count(*) FROM job WHERE state >= 3 AND state = 3 AND job.line = line.id),
            (SELECT count(*) FROM job WHERE state >= 3 AND state = 4 AND job.line = line.id),
            (SELECT min(ready_at) FROM lane JOIN job ON job.lane = lane.id AND job.state = 0
                WHERE lane.line = line.id),
            gate
        FROM line WHERE namespace = ?1 ORDER BY queue";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([namespace.as_str()], |row| {
        Ok(QueueCounts {
            queue: name(row, 0, QueueName::new)?,
            ready: unsigned(row, 1)?,
            delayed: unsigned(row, 2)?,
            leased: unsigned(row, 3)?,
            succeeded: unsigned(row, 4)?,
            dead: unsigned(row, 5)?,
            oldest_ready: row.get::<_, Option<i64>>(6)?.map(shown),
            gate: gate(row.get(7)?),
        })
    })?;
    rows.collect()
}

pub(super) fn unfinished(
    conn: &Connection,
    namespace: &Namespace,
    queues: &[QueueName],
) -> rusqlite::Result<u64> {
    let line = "(SELECT id FROM line WHERE namespace = ?1 AND queue = ?2 AND gate != 1)";
    let sql = format!(
        "SELECT (SELECT count(*) FROM (SELECT 1 FROM job WHERE state = 0
                AND lane IN (SELECT id FROM lane WHERE line = {line}) LIMIT ?3))
            + (SELECT count(*) FROM (SELECT 1 FROM job WHERE state = -1 AND line = {line} LIMIT ?3))
            + (SELECT count(*) FROM (SELECT 1 FROM job WHERE state = 1 AND line = {line} LIMIT ?3))
            + (SELECT count(*) FROM (SELECT 1 FROM job WHERE state = 2 AND line = {line} LIMIT ?3))"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut sum = 0;
    for queue in queues {
        let key = (namespace.as_str(), queue.as_str(), COUNTED);
        sum += statement.query_row(key, |row| unsigned(row, 0))?;
    }
    Ok(sum)
}

pub(super) fn tasks(conn: &Connection, namespace: &Namespace) -> rusqlite::Result<Vec<TaskSpec>> {
    let sql = "SELECT spec FROM task WHERE namespace = ?1 ORDER BY name";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([namespace.as_str()], |row| row.get::<_, Vec<u8>>(0))?;
    let mut specs = Vec::new();
    for spec in rows {
        // What cannot be read was written by a later version for its own kind.
        specs.extend(serde_json::from_slice(&spec?).ok());
    }
    Ok(specs)
}

/// A number that is never negative from column `index`.
pub(super) fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(index)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, number))
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let time = |index| -> rusqlite::Result<_> { Ok(shown(row.get(index)?)) };
    let maybe = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(index)?.map(shown)) };
    let cause: Option<String> = row.get(10)?;
    Ok(JobRow {
        uuid: uuid_of(row, 0)?,
        task: name(row, 1, TaskName::new)?,
        queue: name(row, 2, QueueName::new)?,
        state: state(row.get(3)?)?,
        priority: row.get(4)?,
        fence: unsigned(row, 5)?,
        submitted_at: time(6)?,
        ready_at: time(7)?,
        started_at: maybe(8)?,
        finished_at: maybe(9)?,
        cause: cause.as_deref().and_then(Cause::from_name),
        is_revoked: row.get(11)?,
        progress: row.get(12)?,
        owner_host: row.get(13)?,
        pid: row.get(14)?,
        header: row.get(15)?,
        history: row.get(16)?,
        result_bytes: row
            .get::<_, Option<i64>>(17)?
            .and_then(|n| u64::try_from(n).ok()),
    })
}

/// A job on its way between stores is shown as what it was.
pub(super) fn state(number: i64) -> rusqlite::Result<State> {
    Ok(match number % LEAVING {
        // Parked jobs are ready: it is others that keep them from running.
        -1 | 0 => State::Ready,
        1 => State::Delayed,
        2 => State::Leased,
        3 => State::Succeeded,
        4 => State::Dead,
        5 => State::Dropped,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
    })
}

pub(super) const fn number(state: State) -> i64 {
    match state {
        State::Ready => 0,
        State::Delayed => 1,
        State::Leased => 2,
        State::Succeeded => 3,
        State::Dead => 4,
        State::Dropped => 5,
    }
}
