//! No room, no rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_shared::broker::BrokerError;
use bulkhead_tests::{Helper, enlarge, role, small_disk};
use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::parts::{claim, place, refusal, store, submit};

/// Plays `part` in a process of its own, which must end well.
fn play(test: &str, part: &str, argument: &Path) {
    Helper::start(test, part, argument.to_str().unwrap()).finish();
}

fn is_root() -> bool {
    Uid::effective().is_root()
}

#[test]
fn part_fills_the_disk() {
    let Some(dir) = role("fill") else { return };
    let dir = Path::new(&dir);
    small_disk(dir, "1m");
    let store = store(&dir.join("s.db"));
    let mut stored = 0;
    let error = loop {
        match submit(&store, 10_000) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "the disk was never full");
    };
    assert!(matches!(error, BrokerError::Full { .. }), "{error}");
    assert!(
        error.is_transient() && error.to_string().contains("free some space"),
        "{error}"
    );
    // Space comes back: everything that was acknowledged is there, and work goes on.
    enlarge(dir, "64m");
    submit(&store, 10_000).unwrap();
    assert_eq!(claim(&store, 2000).unwrap().claimed.len(), stored + 1);
}

#[test]
fn a_full_disk_is_said_to_be_full_and_loses_nothing() {
    let (dir, _) = place();
    play("limits::part_fills_the_disk", "fill", dir.path());
}

#[test]
fn part_opens_a_store_on_a_read_only_disk() {
    let Some(dir) = role("readonly") else { return };
    let dir = Path::new(&dir);
    small_disk(dir, "8m");
    let path = dir.join("s.db");
    submit(&store(&path), 1).unwrap();
    let none: Option<&str> = None;
    mount(
        none,
        dir,
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        none,
    )
    .unwrap();
    let error = refusal(&path);
    assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("let this user write"), "{error}");
    assert!(matches!(
        refusal(&dir.join("new.db")),
        BrokerError::Refused { .. }
    ));
}

#[test]
fn a_read_only_disk_is_refused_with_a_way_out() {
    let (dir, _) = place();
    play(
        "limits::part_opens_a_store_on_a_read_only_disk",
        "readonly",
        dir.path(),
    );
}

#[test]
fn part_opens_a_store_without_rights() {
    let Some(path) = role("rights") else { return };
    if is_root() {
        setgroups(&[]).unwrap();
        setgid(Gid::from_raw(65534)).unwrap();
        setuid(Uid::from_raw(65534)).unwrap();
    }
    let error = refusal(Path::new(&path));
    assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("let this user write"), "{error}");
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_with_a_way_out() {
    let (dir, path) = place();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    play("limits::part_opens_a_store_without_rights", "rights", &path);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_store_of_another_user_is_refused_with_a_way_out() {
    let (dir, path) = place();
    drop(store(&path));
    if !is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    play("limits::part_opens_a_store_without_rights", "rights", &path);
}
