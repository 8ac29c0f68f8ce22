//! Checkpoints: written by whoever has read them, on every backend and as files.

use std::convert::Infallible;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::checkpoint::{
    BODY_LIMIT, Checkpoint, CheckpointError, CheckpointManager, Checkpoints, Dependency,
    FileCheckpoints, Keep, MOST,
};
use bulkhead_shared::{CheckpointName, Timestamp};
use bulkhead_tests::{Kind, Scene, for_each_backend, secs};

fn named(name: &str) -> CheckpointName {
    CheckpointName::new(name).unwrap()
}

fn written(kept: Keep) -> u64 {
    let Keep::Written { version } = kept else {
        panic!("it was not written: {kept:?}");
    };
    assert!(version > 0);
    version
}

/// A directory for files, and the store in it.
fn files() -> (tempfile::TempDir, FileCheckpoints) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileCheckpoints::open(&dir.path().join("kept")).unwrap();
    (dir, store)
}

fn changes_for_its_reader(store: &dyn Checkpoints) {
    let name = named("app/ledger:0@eu+1");
    assert_eq!(store.checkpoint(&name).unwrap(), None);
    assert!(!store.forget_checkpoint(&name).unwrap());
    assert_eq!(store.keep(&name, 5, b"x").unwrap(), Keep::Stale);
    let first = written(store.keep(&name, 0, b"a b\nc \x00\xff").unwrap());
    assert_eq!(store.keep(&name, 0, b"x").unwrap(), Keep::Stale);
    let found = store.checkpoint(&name).unwrap().unwrap();
    assert_eq!(
        (found.version, &found.body[..]),
        (first, &b"a b\nc \x00\xff"[..])
    );
    let second = written(store.keep(&name, first, b"").unwrap());
    assert_ne!(first, second);
    for version in [0, first, second + 1, u64::MAX] {
        assert_eq!(store.keep(&name, version, b"x").unwrap(), Keep::Stale);
    }
    let found = store.checkpoint(&name).unwrap().unwrap();
    assert_eq!((found.version, &found.body[..]), (second, &b""[..]));
    // Another name is another one, also if only a stroke tells them apart.
    assert_eq!(store.checkpoint(&named("app.ledger:0@eu+1")).unwrap(), None);
    assert!(store.place_of(&name).contains("ledger"));
    assert!(store.forget_checkpoint(&name).unwrap());
    assert_eq!(store.checkpoint(&name).unwrap(), None);
}

for_each_backend!(
    a_checkpoint_is_changed_only_by_whoever_has_read_it,
    |scene| {
        let store = &scene.store.checkpoints;
        changes_for_its_reader(&**store);
        // What is written anew has a version that the old one never had.
        let name = named("ledger");
        let old = written(store.keep(&name, 0, b"old").unwrap());
        let old = written(store.keep(&name, old, b"old").unwrap());
        store.forget_checkpoint(&name).unwrap();
        scene.clock.pass(secs(1));
        let new = written(store.keep(&name, 0, b"new").unwrap());
        assert!(new > old);
    }
);

#[test]
fn a_checkpoint_in_a_file_is_changed_only_by_whoever_has_read_it() {
    let (_dir, store) = files();
    changes_for_its_reader(&store);
}

for_each_backend!(a_checkpoint_belongs_to_its_namespace, |scene| {
    let (name, other) = (named("ledger"), scene.namespace("other"));
    written(scene.store.checkpoints.keep(&name, 0, b"here").unwrap());
    assert_eq!(other.checkpoints.checkpoint(&name).unwrap(), None);
    written(other.checkpoints.keep(&name, 0, b"there").unwrap());
    let found = scene.again().checkpoints.checkpoint(&name).unwrap();
    assert_eq!(found.unwrap().body, b"here");
});

fn bears_only_what_is_small(store: &dyn Checkpoints) {
    let name = named("ledger");
    let version = written(store.keep(&name, 0, &vec![7; BODY_LIMIT]).unwrap());
    assert_eq!(
        store.checkpoint(&name).unwrap().unwrap().body.len(),
        BODY_LIMIT
    );
    let error = store
        .keep(&name, version, &vec![7; BODY_LIMIT + 1])
        .unwrap_err();
    assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("`ledger` has 65537 bytes"),
        "{error}"
    );
    assert_eq!(store.checkpoint(&name).unwrap().unwrap().version, version);
}

for_each_backend!(a_checkpoint_that_is_too_large_is_refused, |scene| {
    bears_only_what_is_small(&*scene.store.checkpoints);
});

#[test]
fn a_checkpoint_that_is_too_large_for_a_file_is_refused() {
    let (_dir, store) = files();
    bears_only_what_is_small(&store);
}

/// There are [`MOST`] of them: one more is refused, and those that are there change on.
fn takes_no_more(store: Arc<dyn Checkpoints>, one_of_them: &str) {
    let name = named("one-more");
    assert_eq!(store.keep(&name, 0, b"x").unwrap(), Keep::Full);
    let mut manager = CheckpointManager::new(Arc::clone(&store), name.as_str()).unwrap();
    let never = || -> Result<(), Infallible> { panic!("acknowledged") };
    let error = manager.commit(1, never).unwrap_err().to_string();
    assert!(
        error.contains("`one-more`") && error.contains("10000"),
        "{error}"
    );
    assert!(store.forget_checkpoint(&named(one_of_them)).unwrap());
    written(store.keep(&name, 0, b"x").unwrap());
}

fn fills_up(kind: Kind) {
    let scene = Scene::new(kind);
    let store = &scene.store.checkpoints;
    for number in 0..MOST {
        written(store.keep(&named(&format!("c{number}")), 0, b"x").unwrap());
    }
    takes_no_more(Arc::clone(store), "c7");
}

#[test]
fn there_is_a_bound_to_checkpoints_on_sqlite() {
    fills_up(Kind::SqliteMemory);
}

#[test]
fn there_is_a_bound_to_checkpoints_on_redis() {
    fills_up(Kind::Redis);
}

#[test]
fn there_is_a_bound_to_checkpoints_in_a_directory() {
    let (dir, store) = files();
    for number in 0..MOST {
        std::fs::write(dir.path().join(format!("kept/c{number}.checkpoint")), b"").unwrap();
    }
    takes_no_more(Arc::new(store), "c7");
}

const RIVALS: usize = 4;
const TURNS: u64 = 25;

/// Each reads, and writes one more than it has read, until it has done so often enough.
fn counts_every_turn(stores: &[Arc<dyn Checkpoints>]) {
    let name = named("count");
    std::thread::scope(|scope| {
        for store in stores {
            let name = &name;
            scope.spawn(move || {
                let mut done = 0;
                while done < TURNS {
                    let found = store.checkpoint(name).unwrap();
                    let (version, count) = found.map_or((0, 0), |kept| {
                        let text = String::from_utf8(kept.body).unwrap();
                        (kept.version, text.parse::<u64>().unwrap())
                    });
                    match store.keep(name, version, (count + 1).to_string().as_bytes()) {
                        Ok(Keep::Written { .. }) => done += 1,
                        // Another process writes it just now.
                        Ok(Keep::Stale) | Err(BrokerError::Away { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    let found = stores[0].checkpoint(&name).unwrap().unwrap();
    let all = TURNS * u64::try_from(RIVALS).unwrap();
    assert_eq!(found.body, all.to_string().as_bytes());
}

for_each_backend!(of_many_who_write_at_once_each_change_counts_once, |scene| {
    let stores: Vec<_> = (0..RIVALS).map(|_| scene.again().checkpoints).collect();
    counts_every_turn(&stores);
});

#[test]
fn of_many_who_write_a_file_at_once_each_change_counts_once() {
    let (dir, _) = files();
    let open = |_| Arc::new(FileCheckpoints::open(&dir.path().join("kept")).unwrap()) as _;
    let stores: Vec<_> = (0..RIVALS).map(open).collect();
    counts_every_turn(&stores);
}

for_each_backend!(offsets_and_dependencies_survive_their_process, |scene| {
    let open = || scene.again().checkpoints;
    let mut manager = CheckpointManager::new(open(), "mail").unwrap();
    let mut acknowledged = 0;
    let acknowledge = || {
        acknowledged += 1;
        Ok::<(), Infallible>(())
    };
    manager.commit(17, acknowledge).unwrap();
    assert_eq!(acknowledged, 1);
    let mut manager = CheckpointManager::new(open(), "mail").unwrap();
    assert_eq!(manager.offset().unwrap(), 17);

    let at = |minute: u64| Timestamp::from_millis(minute * 60_000);
    let checkpoint = || {
        Checkpoint::builder("orders")
            .dependency(Dependency::new("prices"))
            .store(open())
            .open()
            .unwrap()
    };
    let mut c = checkpoint();
    c.check_pulse(at(0), [("offset", 8)]).unwrap();
    assert!(c.check_pulse(at(20), [("offset", 9)]).unwrap().is_some());
    let mut c = checkpoint();
    assert!(c.pulse().is_down());
    assert_eq!(c.pulse().dependencies()[0].checkpoint_state()["offset"], 8);
    assert!(!c.heartbeat(at(21)).unwrap().is_late);
});

for_each_backend!(
    a_checkpoint_that_is_none_names_its_place_and_the_way_out,
    |scene| {
        let store = &scene.store.checkpoints;
        written(store.keep(&named("mail"), 0, b"{\"offset\": 3}").unwrap());
        let mut manager = CheckpointManager::new(Arc::clone(store), "mail").unwrap();
        let error = manager.offset().unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        let error = error.to_string();
        let place = scene.store.catalog.place();
        assert!(
            error.contains("`mail`") && error.contains(&place),
            "{error}"
        );
        assert!(error.contains("forget_checkpoint"), "{error}");
    }
);

fn path(dir: &Path) -> std::path::PathBuf {
    dir.join("kept/mail.checkpoint")
}

#[test]
fn a_file_is_its_owners_alone_and_nothing_else_is_left_behind() {
    let (dir, store) = files();
    let version = written(store.keep(&named("mail"), 0, b"1").unwrap());
    written(store.keep(&named("mail"), version, b"2").unwrap());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path(dir.path())), 0o600);
    assert_eq!(mode(&dir.path().join("kept")), 0o700);
    let names = std::fs::read_dir(dir.path().join("kept")).unwrap();
    let mut names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["mail.checkpoint", "mail.checkpoint.lock"]);
}

#[test]
fn a_torn_or_foreign_file_is_an_error_and_never_offset_0() {
    let (dir, store) = files();
    let store: Arc<dyn Checkpoints> = Arc::new(store);
    let mut manager = CheckpointManager::new(Arc::clone(&store), "mail").unwrap();
    manager.commit(3, || Ok::<(), Infallible>(())).unwrap();
    let path = path(dir.path());
    let good = std::fs::read(&path).unwrap();
    let of_another = String::from_utf8(good.clone())
        .unwrap()
        .replace("mail ", "male ");
    for bytes in [
        Vec::new(),
        b"{\"offset\": 0}".to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..20].to_vec(),
        of_another.into_bytes(),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let never = || -> Result<(), Infallible> { panic!("acknowledged") };
        for error in [
            manager.offset().unwrap_err(),
            manager.commit(9, never).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("mail.checkpoint`") && error.contains("copy"),
                "{error}"
            );
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it was written over");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(manager.offset().unwrap(), 3);
    // A whole file under another name is that of another checkpoint.
    std::fs::copy(&path, dir.path().join("kept/male.checkpoint")).unwrap();
    let error = store.checkpoint(&named("male")).unwrap_err().to_string();
    assert!(error.contains("that of `mail`"), "{error}");
}

#[test]
fn no_link_is_followed() {
    let (dir, store) = files();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, b"mine").unwrap();
    symlink(&outside, path(dir.path())).unwrap();
    let error = store.checkpoint(&named("mail")).unwrap_err().to_string();
    assert!(
        error.contains("is a link") && error.contains("not followed"),
        "{error}"
    );
    assert!(store.keep(&named("mail"), 0, b"x").is_err());
    // What lies where the new file is written first is replaced, and a lock is no link either.
    symlink(&outside, dir.path().join("kept/post.checkpoint.new")).unwrap();
    written(store.keep(&named("post"), 0, b"x").unwrap());
    symlink(&outside, dir.path().join("kept/note.checkpoint.lock")).unwrap();
    assert!(store.keep(&named("note"), 0, b"x").is_err());
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
}

#[test]
fn a_directory_that_others_can_write_to_or_that_was_replaced_is_refused() {
    let (dir, store) = files();
    let kept = dir.path().join("kept");
    std::fs::rename(&kept, dir.path().join("gone")).unwrap();
    std::fs::create_dir(&kept).unwrap();
    for error in [
        store.checkpoint(&named("mail")).unwrap_err(),
        store.keep(&named("mail"), 0, b"x").unwrap_err(),
    ] {
        assert!(error.to_string().contains("replaced"), "{error}");
    }
    std::fs::set_permissions(&kept, PermissionsExt::from_mode(0o777)).unwrap();
    let error = FileCheckpoints::open(&kept).unwrap_err().to_string();
    assert!(
        error.contains("others can write") && error.contains("chec"),
        "{error}"
    );
    let error = FileCheckpoints::open(&dir.path().join("a/b"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a/b`") && error.contains("directory"),
        "{error}"
    );
    let error = FileCheckpoints::open(&kept.join("../gone/mail.checkpoint/x"));
    assert!(error.is_err());
}

#[test]
fn what_is_no_directory_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = FileCheckpoints::open(&pipe).unwrap_err().to_string();
    assert!(error.contains("pipe"), "{error}");
}
