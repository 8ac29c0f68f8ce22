//! A target without room.

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_shared::Message;
use bulkhead_tests::cli::{Ran, program};
use bulkhead_tests::{Helper, enlarge, role, small_disk, supervisor};

use crate::parts::{at, claim, submit};

const JOBS: usize = 1200;

fn migrate(dir: &Path) -> Ran {
    let url = |name: &str| format!("sqlite:{}", dir.join(name).display());
    let mut command = Command::new(program("supervisor"));
    command.args([
        "migrate",
        "--json",
        "--from",
        &url("s.db"),
        "--to",
        &url("disk/t.db"),
    ]);
    command.env_clear().current_dir(dir);
    Ran::of(command)
}

#[test]
fn part_moves_to_a_disk_that_is_full() {
    let Some(dir) = role("full") else { return };
    let dir = Path::new(&dir);
    let disk = dir.join("disk");
    fs::create_dir(&disk).unwrap();
    small_disk(&disk, "4m");
    let store = at(&dir.join("s.db"));
    let job = || Message::new("add").arg("x".repeat(2000));
    let submitted = submit(&store, (0..JOBS).map(|_| job()).collect());
    drop(store);
    let ran = migrate(dir).ends_with(5);
    let _ = ran.says(&["full", "repeat the same command", "nothing is lost"]);
    // It is full still.
    let _ = migrate(dir).ends_with(5);
    enlarge(&disk, "64m");
    let _ = migrate(dir).succeeds();
    let claimed = claim(&at(&disk.join("t.db")), supervisor(), 2 * JOBS);
    let moved: Vec<_> = claimed.iter().map(|job| job.receipt.uuid).collect();
    assert!(
        moved == submitted,
        "{} of {JOBS}, or out of order",
        moved.len()
    );
}

#[test]
fn a_full_target_stops_the_move_which_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let part = "full::part_moves_to_a_disk_that_is_full";
    Helper::start(part, "full", dir).finish();
}
