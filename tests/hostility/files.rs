//! Files that are not what they seem.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bulkhead_shared::backend::{Missing, Options, open};
use bulkhead_shared::broker::BrokerError;
use rusqlite::Connection;

use crate::parts::{at, claim, place, refusal, store, submit};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn all_files_of_a_store_are_closed_to_others() {
    let (dir, path) = place();
    let store = store(&path);
    submit(&store, 1).unwrap();
    let all = [
        "s.db",
        "s.db-shm",
        "s.db-wal",
        "s.db.bell",
        "s.db.gate",
        "s.db.start",
    ];
    assert_eq!(names(dir.path()), all);
    for name in all {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn the_group_gets_in_only_when_it_is_asked_for() {
    let (dir, path) = place();
    let options = Options {
        group_access: true,
        ..at(&path)
    };
    let store = open(&options).unwrap();
    submit(&store, 1).unwrap();
    for name in names(dir.path()) {
        assert_eq!(mode(&dir.path().join(&name)), 0o660, "{name}");
    }
}

#[test]
fn a_store_that_was_left_open_to_others_is_closed() {
    let (_dir, path) = place();
    drop(store(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let _store = store(&path);
    assert_eq!(mode(&path) & 0o007, 0);
}

#[test]
fn a_missing_store_is_not_made_when_it_must_exist() {
    let (dir, path) = place();
    let options = Options {
        missing: Missing::Refuse,
        ..at(&path)
    };
    let error = open(&options).unwrap_err().to_string();
    assert!(
        error.contains("there is no store at") && error.contains("--store"),
        "{error}"
    );
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let (dir, path) = place();
    for mode in [0o777, 0o770, 0o1777] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = refusal(&path).to_string();
        assert!(
            error.contains("others can write") && error.contains("mkdir"),
            "{error}"
        );
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    submit(&store(&path), 1).unwrap();
}

#[test]
fn a_directory_below_one_that_others_can_rename_in_is_refused() {
    let (dir, _) = place();
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = refusal(&own.join("s.db")).to_string();
    assert!(error.contains("others can write"), "{error}");
}

#[test]
fn links_in_place_of_any_file_are_refused_and_what_they_point_to_is_untouched() {
    for name in ["s.db", "s.db.gate", "s.db.bell", "s.db.start"] {
        let (dir, path) = place();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&victim, dir.path().join(name)).unwrap();
        let error = refusal(&path).to_string();
        assert!(error.contains("links are not followed"), "{name}: {error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{name}");
        assert_eq!(mode(&victim), 0o644, "{name}");
    }
}

#[test]
fn a_link_to_nowhere_makes_no_file() {
    let (dir, path) = place();
    let target = dir.path().join("target");
    symlink(&target, &path).unwrap();
    refusal(&path);
    assert!(!target.exists());
}

#[test]
fn a_pipe_or_directory_in_place_of_a_file_is_refused_at_once() {
    for name in ["s.db", "s.db.gate", "s.db.bell"] {
        let (dir, path) = place();
        nix::unistd::mkfifo(&dir.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            matches!(refusal(&path), BrokerError::Refused { .. }),
            "{name}"
        );
        let (dir, path) = place();
        fs::create_dir(dir.path().join(name)).unwrap();
        assert!(
            matches!(refusal(&path), BrokerError::Refused { .. }),
            "{name}"
        );
    }
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let (dir, path) = place();
    let foreign = Connection::open(&path).unwrap();
    foreign
        .execute_batch("CREATE TABLE mine(x); INSERT INTO mine VALUES(1);")
        .unwrap();
    drop(foreign);
    let before = fs::read(&path).unwrap();
    let error = refusal(&path).to_string();
    assert!(
        error.contains("another program") && error.contains("name another"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(dir.path()), ["s.db"]);
}

#[test]
fn the_database_of_another_program_with_a_log_is_refused_too() {
    let (_dir, path) = place();
    let foreign = Connection::open(&path).unwrap();
    let sql = "PRAGMA journal_mode=WAL; CREATE TABLE mine(x); INSERT INTO mine VALUES(1);";
    foreign.execute_batch(sql).unwrap();
    let error = refusal(&path).to_string();
    assert!(error.contains("another program"), "{error}");
    let rows: i64 = foreign
        .query_row("SELECT count(*) FROM mine", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    for text in ["hello", &"hello, world\n".repeat(1000)] {
        let (dir, path) = place();
        fs::write(&path, text).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        assert_eq!(names(dir.path()), ["s.db"]);
    }
}

#[test]
fn a_newer_layout_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    submit(&store(&path), 1).unwrap();
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 999").unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let error = refusal(&path).to_string();
    assert!(
        error.contains("layout 999") && error.contains("newer release"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_file_gives_an_error_with_a_way_out_and_no_panic() {
    let (_dir, path) = place();
    let first = store(&path);
    for _ in 0..500 {
        submit(&first, 500).unwrap();
    }
    drop(first);
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0xA5);
    fs::write(&path, bytes).unwrap();
    let error = match open(&at(&path)) {
        Ok(store) => submit(&store, 1).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(".recover"), "{error}");
}

#[test]
fn a_file_that_was_replaced_underneath_is_noticed_and_the_new_one_is_untouched() {
    let (dir, path) = place();
    let old = store(&path);
    submit(&old, 1).unwrap();
    let other = dir.path().join("other.db");
    drop(store(&other));
    fs::rename(&other, &path).unwrap();
    let before = fs::read(&path).unwrap();
    let error = submit(&old, 1).unwrap_err().to_string();
    assert!(
        error.contains("replaced") && error.contains("restart"),
        "{error}"
    );
    assert!(claim(&old, 1).is_err());
    assert!(old.catalog.queues().is_err(), "readers notice too");
    drop(old);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_was_removed_underneath_is_noticed_and_usable_again_when_put_back() {
    let (dir, path) = place();
    let store = store(&path);
    let uuid = submit(&store, 1).unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let error = submit(&store, 1).unwrap_err().to_string();
    assert!(error.contains("removed or replaced"), "{error}");
    assert!(!path.exists());
    fs::rename(&aside, &path).unwrap();
    assert_eq!(claim(&store, 5).unwrap().claimed[0].receipt.uuid, uuid);
}
