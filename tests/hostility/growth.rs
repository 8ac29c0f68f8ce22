//! A file does not grow from round to round: what is forgotten makes room for what comes.

use bulkhead_tests::{KEPT, Kind, Scene, rounds};
use rusqlite::Connection;

const ROUNDS: usize = 6;
const JOBS: usize = 600;

/// Pages of the file, whether they are in use or not.
fn pages(scene: &Scene) -> i64 {
    let conn = Connection::open(scene.path()).unwrap();
    conn.pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap()
}

#[test]
fn after_many_jobs_and_all_their_times_a_file_has_as_many_pages_as_after_a_few() {
    let scene = Scene::new(Kind::SqliteFile);
    let elsewhere = scene.namespace("elsewhere");
    let empty = pages(&scene);
    let mut after = Vec::new();
    for _ in 0..ROUNDS {
        rounds::play(&scene, JOBS);
        // Some end here, and some elsewhere.
        rounds::move_all(&scene.store, &elsewhere);
        rounds::play(&scene, JOBS);
        scene.clock.pass(KEPT * 2);
        rounds::forget_all(&scene.store);
        rounds::forget_all(&elsewhere);
        after.push(pages(&scene));
    }
    assert!(after[0] > 4 * empty, "too few jobs to show anything");
    // Pages are filled a little differently each time.
    let most = after[0] + after[0] / 20;
    assert!(after.iter().all(|pages| *pages <= most), "{after:?}");
}
