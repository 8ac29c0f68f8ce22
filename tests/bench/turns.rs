//! A limit: jobs a second through bare SQLite, 64 of them in a transaction.
//!
//! One transaction completes 64 jobs with a result of 200 bytes and claims the next 64, on a table
//! of what a queue cannot do without.

use std::path::Path;

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::measure::{rate, timed};

/// Jobs in a transaction.
const BATCH: usize = 64;

/// Bytes of a job and of a result.
const BYTES: usize = 200;

const TABLE: &str = "
PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16000; PRAGMA journal_size_limit = 16777216;
CREATE TABLE job(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid BLOB NOT NULL UNIQUE,
    lane INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL) STRICT;
CREATE INDEX ready ON job(lane, priority, id) WHERE state = 0;
CREATE INDEX leased ON job(due) WHERE state = 2;
CREATE INDEX ended ON job(due) WHERE state >= 3;
";

const CLAIM: &str = "
UPDATE job SET state = 2, due = ?1, fence = fence + 1 WHERE id IN (
    SELECT id FROM job WHERE state = 0 AND lane IN (1) ORDER BY priority, id LIMIT ?2)
RETURNING id, fence, uuid, body";

const COMPLETE: &str =
    "UPDATE job SET state = 3, due = ?3, body = ?4 WHERE id = ?1 AND fence = ?2 AND state = 2";

/// Jobs a second, of about `count`, in a file of its own at `path`.
pub(crate) fn measure(path: &Path, count: usize) -> anyhow::Result<f64> {
    let mut conn = Connection::open(path)?;
    conn.execute_batch(TABLE)?;
    let count = count.next_multiple_of(BATCH);
    fill(&mut conn, count)?;
    let (time, ()) = timed(|| {
        let mut held = Vec::new();
        for _ in 0..count / BATCH {
            held = turn(&mut conn, &held)?;
        }
        turn(&mut conn, &held)?;
        Ok(())
    })?;
    Ok(rate(count, time))
}

fn fill(conn: &mut Connection, count: usize) -> anyhow::Result<()> {
    let tx = conn.transaction()?;
    {
        let sql =
            "INSERT INTO job(uuid, lane, priority, state, due, body) VALUES(?1, 1, 0, 0, 0, ?2)";
        let mut insert = tx.prepare(sql)?;
        for _ in 0..count {
            insert.execute(params![Uuid::now_v7().as_bytes(), [b'j'; BYTES]])?;
        }
    }
    Ok(tx.commit()?)
}

fn turn(conn: &mut Connection, held: &[(i64, i64)]) -> anyhow::Result<Vec<(i64, i64)>> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut complete = tx.prepare_cached(COMPLETE)?;
    for (id, fence) in held {
        complete.execute(params![id, fence, 1_000_000, [b'r'; BYTES]])?;
    }
    drop(complete);
    let mut claim = tx.prepare_cached(CLAIM)?;
    let rows = claim.query_map(params![1000, i64::try_from(BATCH)?], |row| {
        // Read as a claim reads them.
        let (_, _): ([u8; 16], Vec<u8>) = (row.get(2)?, row.get(3)?);
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let claimed = rows.collect::<Result<_, _>>()?;
    drop(claim);
    tx.commit()?;
    Ok(claimed)
}
