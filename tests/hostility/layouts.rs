//! Files of earlier releases.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_shared::Uuid;
use bulkhead_shared::catalog::State;
use rusqlite::Connection;

use crate::parts::{claim, place, store};

/// The tables of layout 1, as that release made them.
const LAYOUT_1: &str = "
CREATE TABLE line(id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, queue TEXT NOT NULL,
    UNIQUE(namespace, queue)) STRICT;
CREATE TABLE lane(id INTEGER PRIMARY KEY, line INTEGER NOT NULL, task TEXT NOT NULL,
    orphan_since INTEGER, orphan_boot BLOB, UNIQUE(line, task)) STRICT;
CREATE TABLE job(id INTEGER PRIMARY KEY AUTOINCREMENT, uuid BLOB NOT NULL,
    line INTEGER NOT NULL, lane INTEGER NOT NULL, priority INTEGER NOT NULL,
    state INTEGER NOT NULL, due INTEGER NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0,
    owner INTEGER, revoked INTEGER NOT NULL DEFAULT 0, submitted_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL, ttl_ms INTEGER, expires_at INTEGER, deadline INTEGER,
    started_at INTEGER, pid INTEGER, finished_at INTEGER, cause TEXT, result_until INTEGER,
    purge_at INTEGER, header BLOB NOT NULL, payload BLOB, history BLOB NOT NULL DEFAULT x'',
    progress BLOB, result BLOB) STRICT;
CREATE UNIQUE INDEX job_uuid ON job(uuid, line);
CREATE INDEX job_ready ON job(lane, priority, id, deadline, ready_at) WHERE state = 0;
CREATE INDEX job_delayed ON job(line, due) WHERE state = 1;
CREATE INDEX job_leased ON job(owner, due, line) WHERE state = 2;
CREATE INDEX job_revoked ON job(owner) WHERE state = 2 AND revoked = 1;
CREATE INDEX job_ended ON job(line, state, purge_at) WHERE state >= 3;
CREATE INDEX job_deadline ON job(line, deadline) WHERE state < 2 AND deadline IS NOT NULL;
CREATE INDEX job_result ON job(result_until) WHERE result_until IS NOT NULL;
CREATE TABLE large(job INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
CREATE TABLE supervisor(id INTEGER PRIMARY KEY AUTOINCREMENT, uuid BLOB NOT NULL UNIQUE,
    namespace TEXT NOT NULL, boot BLOB NOT NULL, seen INTEGER NOT NULL, host TEXT, pid INTEGER,
    selection BLOB) STRICT;
CREATE TABLE task(namespace TEXT NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL,
    PRIMARY KEY(namespace, name)) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x424C4B48;
PRAGMA user_version = 1;
";

const HEADER: &str = r#"{"v":1,"created_at":1800000000000}"#;

/// A file of layout 1 with one ready job and a supervisor that is gone.
fn old_file(path: &Path) -> Uuid {
    let uuid = Uuid::now_v7();
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(LAYOUT_1).unwrap();
    conn.execute_batch(
        r#"INSERT INTO line VALUES(1, 'bulkhead', 'default');
        INSERT INTO lane(id, line, task) VALUES(1, 1, 'add');
        INSERT INTO supervisor VALUES(1, zeroblob(16), 'bulkhead', zeroblob(16), 5, 'h', 7,
            CAST('{"queues":["default"],"tasks":["add"]}' AS BLOB));"#,
    )
    .unwrap();
    let sql = "INSERT INTO job(uuid, line, lane, priority, state, fence, submitted_at, ready_at,
        header, payload) VALUES(?1, 1, 1, 0, 0, 41, 5, 5, ?2, x'7b7d')";
    conn.execute(sql, (uuid.as_bytes(), HEADER.as_bytes()))
        .unwrap();
    drop(conn);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    uuid
}

#[test]
fn a_file_of_layout_1_is_brought_forward_with_all_that_is_in_it() {
    let (_dir, path) = place();
    let uuid = old_file(&path);
    let store_of = store(&path);
    let fleet = store_of.catalog.fleet().unwrap();
    assert_eq!(fleet.len(), 1);
    assert_eq!(
        (&fleet[0].host, &fleet[0].version),
        (&Some("h".into()), &None)
    );
    assert_eq!((fleet[0].slots, fleet[0].started_at), (None, None));
    assert!(!fleet[0].is_alive);
    let claimed = claim(&store_of, 5).unwrap().claimed;
    assert_eq!(claimed[0].receipt.uuid, uuid);
    assert_eq!(claimed[0].receipt.fence, 42);
    drop(store_of);
    // Once more: there is nothing left to be done.
    let store_of = store(&path);
    let rows = store_of.catalog.jobs_by_id(&[uuid]).unwrap();
    assert_eq!(rows[0].as_ref().unwrap().state, State::Leased);
    let conn = Connection::open(&path).unwrap();
    let version: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert!(version >= 2);
}
