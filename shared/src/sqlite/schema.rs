//! The layout of the file: tables, its version, and how older ones are brought forward.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::files::refused;
use super::trouble::{is_busy, translate};
use crate::broker::BrokerError;

/// "BLKH": says that the file is ours.
const APPLICATION_ID: i64 = 0x424C_4B48;

/// One step per version: `STEPS[n]` brings version n to n + 1.
const STEPS: [&str; 10] = [
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8,
    VERSION_9, VERSION_10,
];

/// One row per job holds all there is about it, so that settling touches one page.
///
/// `due` is when a delayed job is ready (wall clock) and when a lease ends (since boot).
/// `deadline` is when a waiting job expires. Each state has a partial index that serves exactly
/// its question, in order, without looking at rows.
const VERSION_1: &str = "
CREATE TABLE line(
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    queue TEXT NOT NULL,
    UNIQUE(namespace, queue)) STRICT;
CREATE TABLE lane(
    id INTEGER PRIMARY KEY,
    line INTEGER NOT NULL,
    task TEXT NOT NULL,
    orphan_since INTEGER,
    orphan_boot BLOB,
    UNIQUE(line, task)) STRICT;
CREATE TABLE job(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid BLOB NOT NULL,
    line INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    owner INTEGER,
    revoked INTEGER NOT NULL DEFAULT 0,
    submitted_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    ttl_ms INTEGER,
    expires_at INTEGER,
    deadline INTEGER,
    started_at INTEGER,
    pid INTEGER,
    finished_at INTEGER,
    cause TEXT,
    result_until INTEGER,
    purge_at INTEGER,
    header BLOB NOT NULL,
    payload BLOB,
    history BLOB NOT NULL DEFAULT x'',
    progress BLOB,
    result BLOB) STRICT;
CREATE UNIQUE INDEX job_uuid ON job(uuid, line);
CREATE INDEX job_ready ON job(lane, priority, id, deadline, ready_at) WHERE state = 0;
CREATE INDEX job_delayed ON job(line, due) WHERE state = 1;
CREATE INDEX job_leased ON job(owner, due, line) WHERE state = 2;
CREATE INDEX job_revoked ON job(owner) WHERE state = 2 AND revoked = 1;
CREATE INDEX job_ended ON job(line, state, purge_at) WHERE state >= 3;
CREATE INDEX job_deadline ON job(line, deadline) WHERE state < 2 AND deadline IS NOT NULL;
CREATE INDEX job_result ON job(result_until) WHERE result_until IS NOT NULL;
CREATE TABLE large(job INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
CREATE TABLE supervisor(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid BLOB NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    boot BLOB NOT NULL,
    seen INTEGER NOT NULL,
    host TEXT,
    pid INTEGER,
    selection BLOB) STRICT;
CREATE TABLE task(
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    spec BLOB NOT NULL,
    PRIMARY KEY(namespace, name)) STRICT, WITHOUT ROWID;
";

/// What supervisors say about themselves. No name that another table has: a process of an earlier
/// release that has the file open goes on with its own statements, which join these tables.
const VERSION_2: &str = "
ALTER TABLE supervisor ADD COLUMN version TEXT;
ALTER TABLE supervisor ADD COLUMN slots INTEGER;
ALTER TABLE supervisor ADD COLUMN since INTEGER;
";

/// Groups of jobs, and the ends of their members. A place is kept once.
const VERSION_3: &str = "
CREATE TABLE bundle(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid BLOB NOT NULL,
    namespace TEXT NOT NULL,
    home TEXT NOT NULL,
    record BLOB NOT NULL,
    members INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    forget_at INTEGER) STRICT;
CREATE UNIQUE INDEX bundle_uuid ON bundle(uuid, namespace);
CREATE INDEX bundle_open ON bundle(namespace) WHERE closed_at IS NULL;
CREATE INDEX bundle_complete ON bundle(namespace, id) WHERE closed_at IS NULL AND ended >= members;
CREATE INDEX bundle_closed ON bundle(forget_at) WHERE forget_at IS NOT NULL;
CREATE TABLE place(
    bundle INTEGER NOT NULL,
    place INTEGER NOT NULL,
    member BLOB NOT NULL,
    is_failed INTEGER NOT NULL,
    body BLOB,
    PRIMARY KEY(bundle, place)) STRICT, WITHOUT ROWID;
";

/// What queues let through: 0 all, 1 nothing is started, 2 nothing comes in.
const VERSION_4: &str = "
ALTER TABLE line ADD COLUMN gate INTEGER NOT NULL DEFAULT 0;
";

/// Schedules, those that are due in order.
const VERSION_5: &str = "
CREATE TABLE schedule(
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    version INTEGER NOT NULL,
    due INTEGER,
    body BLOB NOT NULL,
    PRIMARY KEY(namespace, name)) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_due ON schedule(namespace, due) WHERE due IS NOT NULL;
";

/// Locks: the number of a row is the lock's fence, and no number comes twice. They begin at the time
/// of the file's making, so that a new file does not begin below an old one.
///
/// What jobs share: keys of which one job is enough, how many of a queue (lane 0) or a lane may run
/// at once, and what a job waits at. A job that is counted runs and uses up such a limit.
const VERSION_6: &str = "
CREATE TABLE held_lock(
    fence INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    boot BLOB NOT NULL,
    UNIQUE(namespace, name)) STRICT;
INSERT INTO sqlite_sequence(name, seq)
    VALUES('held_lock', CAST(strftime('%s', 'now') AS INTEGER) * 1048576);
CREATE INDEX held_lock_until ON held_lock(namespace, until);
CREATE INDEX held_lock_owner ON held_lock(owner);
CREATE TABLE unique_key(
    line INTEGER NOT NULL,
    key TEXT NOT NULL,
    uuid BLOB NOT NULL,
    until INTEGER,
    look_at INTEGER NOT NULL,
    PRIMARY KEY(line, key)) STRICT, WITHOUT ROWID;
CREATE INDEX unique_key_look_at ON unique_key(look_at);
CREATE TABLE cap(
    line INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    most INTEGER NOT NULL,
    PRIMARY KEY(line, lane)) STRICT, WITHOUT ROWID;
ALTER TABLE job ADD COLUMN gate TEXT;
ALTER TABLE job ADD COLUMN gate_most INTEGER;
ALTER TABLE job ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_gate ON job(gate, state, priority, id) WHERE gate IS NOT NULL;
CREATE INDEX job_parked ON job(line) WHERE state = -1;
CREATE INDEX job_counted ON job(line, lane) WHERE state = 2 AND counted = 1;
";

/// What jobs remember: entries, signals, and what is counted of both.
const VERSION_7: &str = "
CREATE TABLE journal(
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX journal_key ON journal(job, key);
CREATE INDEX journal_number ON journal(job, number);
CREATE TABLE signal(
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    taken_by TEXT,
    payload BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX signal_key ON signal(job, name, key);
CREATE TABLE diary(
    job INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    signals INTEGER NOT NULL DEFAULT 0,
    asleep_fence INTEGER,
    asleep_for TEXT) STRICT;
";

/// Checkpoints, whatever is in them.
const VERSION_8: &str = "
CREATE TABLE checkpoint(
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY(namespace, name)) STRICT, WITHOUT ROWID;
";

/// Streams. A track is one partition: its last event, and the last that was removed. A share is a
/// partition as a processor sees it; an attendant is a supervisor that serves a processor. All
/// fences of a stream are above its own, which begins at the time of its making.
const VERSION_9: &str = "
CREATE TABLE stream(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    partitions INTEGER NOT NULL,
    size INTEGER NOT NULL,
    on_full TEXT NOT NULL,
    fence INTEGER NOT NULL,
    UNIQUE(namespace, name)) STRICT;
CREATE TABLE track(
    stream INTEGER NOT NULL,
    part INTEGER NOT NULL,
    last INTEGER NOT NULL DEFAULT 0,
    last_ms INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0,
    gone_ms INTEGER NOT NULL DEFAULT 0,
    gone_seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(stream, part)) STRICT, WITHOUT ROWID;
CREATE TABLE event(
    stream INTEGER NOT NULL,
    part INTEGER NOT NULL,
    position INTEGER NOT NULL,
    ms INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    fields BLOB NOT NULL,
    PRIMARY KEY(stream, part, position)) STRICT, WITHOUT ROWID;
CREATE TABLE processor(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    paused TEXT,
    UNIQUE(stream, name)) STRICT;
CREATE TABLE share(
    processor INTEGER NOT NULL,
    part INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0,
    owner BLOB,
    seat INTEGER NOT NULL DEFAULT 0,
    until INTEGER NOT NULL DEFAULT 0,
    boot BLOB,
    passed INTEGER NOT NULL,
    passed_ms INTEGER NOT NULL,
    passed_seq INTEGER NOT NULL,
    moved_to TEXT,
    trouble TEXT,
    dead INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(processor, part)) STRICT, WITHOUT ROWID;
CREATE TABLE attendant(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    processor INTEGER NOT NULL,
    uuid BLOB NOT NULL,
    seat INTEGER NOT NULL,
    until INTEGER NOT NULL,
    boot BLOB NOT NULL,
    UNIQUE(processor, uuid)) STRICT;
CREATE TABLE dead_event(
    processor INTEGER NOT NULL,
    part INTEGER NOT NULL,
    position INTEGER NOT NULL,
    ms INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    trouble TEXT NOT NULL,
    fields BLOB NOT NULL,
    PRIMARY KEY(processor, part, position)) STRICT, WITHOUT ROWID;
";

/// A row has several events, and its place is that of the last one.
const VERSION_10: &str = "
ALTER TABLE event ADD COLUMN count INTEGER NOT NULL DEFAULT 1;
";

/// What a layout gained without a new version: the release before keeps it up without knowing it.
const ADDED: &str = "
CREATE INDEX IF NOT EXISTS job_parked_kind ON job(gate, lane, gate_most, priority, id)
    WHERE state = -1;
";

/// What a file says about itself.
enum Found {
    Empty,
    Ours(usize),
}

/// Refuses a file that belongs to another program; a look that writes nothing.
pub(super) fn check(conn: &Connection, place: &str) -> Result<(), BrokerError> {
    look(conn, place).map(drop)
}

/// Brings the file to this version, in one transaction.
pub(super) fn bring_forward(conn: &mut Connection, place: &str) -> Result<(), BrokerError> {
    if let Found::Ours(version) = look(conn, place)?
        && version == STEPS.len()
        && has_added(conn).map_err(|error| translate(&error, place))?
    {
        return Ok(());
    }
    let sql = |error: rusqlite::Error| translate(&error, place);
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql)?;
    // Looked at again under the lock: another process may have been first.
    let version = match look(&tx, place)? {
        Found::Empty => 0,
        Found::Ours(version) => version,
    };
    for step in STEPS.iter().skip(version) {
        tx.execute_batch(step).map_err(sql)?;
    }
    tx.execute_batch(ADDED).map_err(sql)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(sql)?;
    let version = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    tx.pragma_update(None, "user_version", version)
        .map_err(sql)?;
    tx.commit().map_err(sql)
}

fn has_added(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = 'job_parked_kind'";
    conn.prepare(sql)?.exists([])
}

fn look(conn: &Connection, place: &str) -> Result<Found, BrokerError> {
    let sql = |error: rusqlite::Error| translate(&error, place);
    let number = |name: &str| -> Result<i64, BrokerError> {
        conn.pragma_query_value(None, name, |row| row.get(0))
            .map_err(sql)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let foreign = || {
        Err(refused(
            format!("`{place}` is the database of another program"),
            "name another file; this one was left as it is",
        ))
    };
    if application == APPLICATION_ID {
        let known = usize::try_from(version).ok().filter(|v| *v <= STEPS.len());
        return known.map(Found::Ours).ok_or_else(|| {
            refused(
                format!(
                    "`{place}` has layout {version}, this version knows up to {}",
                    STEPS.len()
                ),
                "use the newer release that wrote it, or name another file",
            )
        });
    }
    if application != 0 || version != 0 {
        return foreign();
    }
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sql)?;
    if tables == 0 {
        Ok(Found::Empty)
    } else {
        foreign()
    }
}

/// What every connection needs. Says so if the file cannot have a write-ahead log.
pub(super) fn configure(conn: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    // No memory map: if the file is cut short by others, a map kills the process by SIGBUS.
    conn.execute_batch(&format!(
        "PRAGMA busy_timeout = 10000; PRAGMA synchronous = {synchronous};
         PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; PRAGMA cache_size = -14000;
         PRAGMA journal_size_limit = 16777216; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;"
    ))?;
    // Plans depend on the tables alone: otherwise a statement is prepared anew whenever a value
    // that it compares a column with has changed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Switches the file to a write-ahead log; the mode stays with the file.
pub(super) fn write_ahead(conn: &Connection) -> rusqlite::Result<()> {
    // The switch does not always wait by itself when others open the file at the same time.
    for _ in 0..20 {
        let mode = conn.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        });
        match mode {
            Err(error) if is_busy(&error) => {
                // A read waits in SQLite's own way until the others are done.
                let _ = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
                std::thread::yield_now();
            }
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
}
