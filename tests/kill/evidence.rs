//! Two logs that do not know of each other: the transitions that the store accepted, and the
//! attempts that tasks say they were.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkhead_shared::Uuid;
use rusqlite::{Connection, Row};

/// States as the table has them; from 3 on a job has ended.
pub(crate) const LEASED: i64 = 2;
pub(crate) const SUCCEEDED: i64 = 3;
pub(crate) const ENDED: i64 = 3;

/// A removed row is written down as a transition into this state.
const REMOVED: i64 = -1;

const TRIGGERS: &str = "
CREATE TABLE witness(
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL DEFAULT (unixepoch('subsec')),
    uuid BLOB NOT NULL,
    old INTEGER, state INTEGER NOT NULL,
    old_fence INTEGER, fence INTEGER NOT NULL,
    old_owner INTEGER, owner INTEGER,
    old_due INTEGER,
    cause TEXT,
    errors INTEGER NOT NULL, crashes INTEGER NOT NULL,
    lost INTEGER NOT NULL, released INTEGER NOT NULL);
CREATE TRIGGER witness_insert AFTER INSERT ON job BEGIN
    INSERT INTO witness(uuid, state, fence, owner, errors, crashes, lost, released)
    VALUES(NEW.uuid, NEW.state, NEW.fence, NEW.owner, 0, 0, 0, 0);
END;
CREATE TRIGGER witness_update AFTER UPDATE ON job
WHEN OLD.state <> NEW.state OR OLD.fence <> NEW.fence OR OLD.owner IS NOT NEW.owner BEGIN
    INSERT INTO witness(uuid, old, state, old_fence, fence, old_owner, owner, old_due, cause,
        errors, crashes, lost, released)
    SELECT NEW.uuid, OLD.state, NEW.state, OLD.fence, NEW.fence, OLD.owner, NEW.owner, OLD.due,
        NEW.cause, history ->> 'errors', history ->> 'crashes', history ->> 'lost',
        history ->> 'released'
    FROM (SELECT CASE length(NEW.history)
        WHEN 0 THEN '{\"errors\":0,\"crashes\":0,\"lost\":0,\"released\":0}'
        ELSE CAST(NEW.history AS TEXT) END AS history);
END;
CREATE TRIGGER witness_delete AFTER DELETE ON job BEGIN
    INSERT INTO witness(uuid, old, state, old_fence, fence, errors, crashes, lost, released)
    VALUES(OLD.uuid, OLD.state, -1, OLD.fence, OLD.fence, 0, 0, 0, 0);
END;";

/// How often a job's attempts have ended in each way, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) errors: i64,
    pub(crate) crashes: i64,
    pub(crate) lost: i64,
    pub(crate) released: i64,
}

/// One transition that the store accepted.
#[derive(Debug, Clone)]
pub(crate) struct Transition {
    pub(crate) at: f64,
    pub(crate) uuid: Uuid,
    /// `None` for the submission.
    pub(crate) old: Option<i64>,
    pub(crate) state: i64,
    pub(crate) old_fence: Option<i64>,
    pub(crate) fence: i64,
    pub(crate) old_owner: Option<i64>,
    pub(crate) owner: Option<i64>,
    /// When the lease that was there would have ended, in ms since the machine's start.
    pub(crate) old_due: Option<i64>,
    pub(crate) cause: Option<String>,
    pub(crate) counts: Counts,
}

impl Transition {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            at: row.get("at")?,
            uuid: Uuid::from_bytes(row.get("uuid")?),
            old: row.get("old")?,
            state: row.get("state")?,
            old_fence: row.get("old_fence")?,
            fence: row.get("fence")?,
            old_owner: row.get("old_owner")?,
            owner: row.get("owner")?,
            old_due: row.get("old_due")?,
            cause: row.get("cause")?,
            counts: Counts {
                errors: row.get("errors")?,
                crashes: row.get("crashes")?,
                lost: row.get("lost")?,
                released: row.get("released")?,
            },
        })
    }

    /// A job got a new fence and an owner.
    pub(crate) fn is_claim(&self) -> bool {
        self.state == LEASED
    }

    /// An attempt ended, well or not.
    pub(crate) fn is_settlement(&self) -> bool {
        self.old == Some(LEASED) && self.state != LEASED && self.state != REMOVED
    }

    pub(crate) const fn is_ending(&self) -> bool {
        self.state >= ENDED
    }
}

/// What the triggers wrote.
#[derive(Debug)]
pub(crate) struct Witness(Connection);

impl Witness {
    /// Installs the triggers in the store's file.
    pub(crate) fn install(store: &Path) -> Self {
        let conn = Connection::open(store).unwrap();
        let patience = std::time::Duration::from_secs(30);
        conn.busy_timeout(patience).unwrap();
        conn.execute_batch(TRIGGERS).unwrap();
        Self(conn)
    }

    /// Everything, in the order in which it happened.
    pub(crate) fn transitions(&self) -> Vec<Transition> {
        let mut all = self
            .0
            .prepare("SELECT * FROM witness ORDER BY seq")
            .unwrap();
        let rows = all.query_map([], Transition::read).unwrap();
        rows.map(Result::unwrap).collect()
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// How many endings there are.
    pub(crate) fn endings(&self) -> i64 {
        self.number("SELECT count(*) FROM witness WHERE state >= 3")
    }

    /// The newest supervisor the store knows.
    pub(crate) fn newest_owner(&self) -> i64 {
        self.number("SELECT seq FROM sqlite_sequence WHERE name = 'supervisor'")
    }

    /// The leases there are now: job, fence and owner.
    pub(crate) fn leases(&self) -> Vec<(Uuid, u64, i64)> {
        let sql = "SELECT uuid, fence, owner FROM job WHERE state = 2";
        let mut statement = self.0.prepare_cached(sql).unwrap();
        let row = |row: &Row<'_>| {
            let fence: i64 = row.get(1)?;
            let uuid = Uuid::from_bytes(row.get(0)?);
            Ok((uuid, fence.unsigned_abs(), row.get(2)?))
        };
        let rows = statement.query_map([], row).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// What SQLite finds wrong with the file: `ok`.
    pub(crate) fn integrity(&self) -> String {
        let sql = "PRAGMA integrity_check";
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The process that the store says a job runs in.
    pub(crate) fn pid(&self, uuid: Uuid) -> Option<i32> {
        let sql = "SELECT pid FROM job WHERE uuid = ?1";
        let row = self.0.query_row(sql, [uuid.as_bytes()], |row| row.get(0));
        row.unwrap()
    }
}

/// The lines that attempts have appended.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
    read: u64,
    /// In the order of the file.
    all: Vec<(Uuid, u64)>,
    known: HashSet<(Uuid, u64)>,
}

impl Lines {
    /// An empty file that every user may append to and nobody else may read.
    pub(crate) fn create(path: PathBuf) -> Self {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&path, "").unwrap();
        let mode = std::fs::Permissions::from_mode(0o622);
        std::fs::set_permissions(&path, mode).unwrap();
        let file = File::open(&path).unwrap();
        Self {
            path,
            file,
            read: 0,
            all: Vec::new(),
            known: HashSet::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has come since.
    pub(crate) fn refresh(&mut self) {
        let length = self.file.metadata().unwrap().len();
        let more = usize::try_from(length - self.read).unwrap();
        let mut bytes = vec![0; more];
        self.file.read_exact_at(&mut bytes, self.read).unwrap();
        self.read = length;
        // No line crosses a page, so there are no halves.
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            let (uuid, fence) = line.trim_end().split_once(' ').expect("a uuid and a fence");
            let attempt = (uuid.parse().unwrap(), fence.parse().unwrap());
            assert!(
                self.known.insert(attempt),
                "{attempt:?} was started twice under one fence"
            );
            self.all.push(attempt);
        }
    }

    pub(crate) fn has(&self, attempt: &(Uuid, u64)) -> bool {
        self.known.contains(attempt)
    }

    pub(crate) fn all(&self) -> &[(Uuid, u64)] {
        &self.all
    }
}
