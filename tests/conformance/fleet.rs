//! Supervisors as they announce themselves.

use std::fs::{File, FileTimes};
use std::time::SystemTime;

use bulkhead_shared::broker::{Presence, Selection, SupervisorId};
use bulkhead_shared::retry::Move;
use bulkhead_shared::task::TaskSpec;
use bulkhead_tests::{
    Kind, Scene, TestClock, for_each_backend, job, queue, secs, supervisor, task, uuids,
};

fn presence(id: SupervisorId, slots: u32) -> Presence {
    Presence {
        id,
        host: "here".into(),
        pid: 7,
        selection: Selection {
            queues: vec![queue("a"), queue("default")],
            tasks: vec![task("add")],
        },
        tasks: vec![TaskSpec::new(task("add"))],
        version: "1.2.3".into(),
        slots,
        started_at: TestClock::START,
    }
}

fn ids(scene: &Scene) -> Vec<SupervisorId> {
    let fleet = scene.store.catalog.fleet().unwrap();
    fleet.iter().map(|member| member.id).collect()
}

for_each_backend!(a_fleet_lists_what_its_supervisors_have_announced, |scene| {
    assert_eq!(ids(scene), []);
    let other = supervisor();
    scene.broker().announce(&presence(other, 4)).unwrap();
    scene.broker().announce(&presence(scene.me, 2)).unwrap();
    scene.clock.pass(secs(3));
    scene.broker().announce(&presence(other, 4)).unwrap();
    let fleet = scene.store.catalog.fleet().unwrap();
    assert_eq!(fleet.len(), 2);
    let member = fleet.iter().find(|member| member.id == other).unwrap();
    assert_eq!(member.host.as_deref(), Some("here"));
    assert_eq!(member.pid, Some(7));
    assert_eq!(member.version.as_deref(), Some("1.2.3"));
    assert_eq!(member.slots, Some(4));
    assert_eq!(member.selection, presence(other, 4).selection);
    assert_eq!(member.started_at, Some(TestClock::START));
    assert_eq!(member.seen_at, TestClock::START.plus(secs(3)));
    assert!(fleet.iter().all(|member| member.is_alive));
});

#[test]
fn the_file_that_tells_who_lives_stays_young_while_somebody_does() {
    let scene = Scene::new(Kind::SqliteFile);
    let path = scene.path().with_added_extension("start");
    let file = File::options().write(true).open(&path).unwrap();
    let old = SystemTime::UNIX_EPOCH + secs(1);
    let times = FileTimes::new().set_accessed(old).set_modified(old);
    file.set_times(times).unwrap();
    let is_old = || file.metadata().unwrap().modified().unwrap() == old;
    assert!(is_old());
    scene.broker().announce(&presence(scene.me, 2)).unwrap();
    assert!(!is_old(), "a cleaner would take it away");
}

for_each_backend!(a_member_tells_how_many_jobs_it_holds, |scene| {
    scene.broker().announce(&presence(scene.me, 2)).unwrap();
    scene.submit(job());
    scene.submit(job());
    let held = || scene.store.catalog.fleet().unwrap()[0].held;
    // A store may not know it; what it says is right.
    assert!(held().is_none_or(|held| held == 0));
    let claimed = scene.claim(2);
    assert!(held().is_none_or(|held| held == 2));
    scene.settle(&claimed[0], Move::Release);
    assert!(held().is_none_or(|held| held == 1));
});

for_each_backend!(
    a_supervisor_that_has_left_is_listed_only_while_it_holds_jobs,
    |scene| {
        scene.broker().announce(&presence(scene.me, 2)).unwrap();
        let uuid = scene.submit(job());
        assert_eq!(uuids(&scene.claim(1)), [uuid]);
        scene.broker().leave(scene.me).unwrap();
        for member in scene.store.catalog.fleet().unwrap() {
            assert!(!member.is_alive && member.selection.queues.is_empty());
        }
        let other = supervisor();
        scene.broker().announce(&presence(other, 1)).unwrap();
        scene.broker().leave(other).unwrap();
        assert!(!ids(scene).contains(&other));
    }
);

for_each_backend!(a_fleet_is_that_of_its_namespace, |scene| {
    scene.broker().announce(&presence(scene.me, 2)).unwrap();
    let other = scene.namespace("other");
    assert_eq!(other.catalog.fleet().unwrap(), []);
});
