//! Neighbours who hold what everybody needs.

use std::fs::File;

use bulkhead_shared::broker::BrokerError;
use rusqlite::Connection;

use crate::parts::{claim, place, store, submit};

#[test]
fn a_neighbour_who_holds_the_gate_for_ever_stops_nobody() {
    let (dir, path) = place();
    let store = store(&path);
    submit(&store, 1).unwrap();
    let gate = File::open(dir.path().join("s.db.gate")).unwrap();
    gate.lock().unwrap();
    for _ in 0..500 {
        submit(&store, 1).unwrap();
    }
    assert_eq!(claim(&store, 1000).unwrap().claimed.len(), 501);
    gate.unlock().unwrap();
    submit(&store, 1).unwrap();
    drop(store);
    // The store's own thread may have been let in at the unlock: it leaves when it sees the end.
    gate.lock().unwrap();
}

#[test]
fn a_neighbour_who_holds_a_snapshot_stops_nobody_and_the_log_shrinks_when_it_leaves() {
    let (dir, path) = place();
    let store = store(&path);
    submit(&store, 1).unwrap();
    let neighbour = Connection::open(&path).unwrap();
    neighbour.execute_batch("BEGIN").unwrap();
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM job";
        neighbour.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1);
    for _ in 0..300 {
        submit(&store, 4000).unwrap();
    }
    assert_eq!(claim(&store, 1000).unwrap().claimed.len(), 301);
    assert_eq!(count(), 1, "its snapshot is its own");
    let log = dir.path().join("s.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 1 << 20);
    neighbour.execute_batch("COMMIT").unwrap();
    drop(neighbour);
    drop(store);
    assert!(!log.exists(), "the last one folds the log into the file");
}

#[test]
fn a_store_whose_tables_were_dropped_is_damaged_and_not_merely_away() {
    let (_dir, path) = place();
    let store = store(&path);
    submit(&store, 1).unwrap();
    let neighbour = Connection::open(&path).unwrap();
    neighbour.execute_batch("DROP TABLE lane").unwrap();
    let error = claim(&store, 1).unwrap_err();
    assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
    assert!(!error.is_transient());
}
