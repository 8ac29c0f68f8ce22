//! Pauses, processors that go, and what is left of all.

use bulkhead_shared::finding::{Depth, Severity};
use bulkhead_shared::stream::Full;
use bulkhead_shared::stream::keep::{Pass, Seek};
use bulkhead_tests::{for_each_backend, supervisor};

use super::*;

for_each_backend!(a_pause_says_why_until_it_is_lifted, |scene| {
    declare(scene, 2);
    let streams = &scene.store.streams;
    let (one, audit) = (supervisor(), duty("audit"));
    attend(scene, one, &[]);
    attend_to(scene, &audit, one, &[]);
    let why = |duty: &Duty| view_of(scene, duty).paused;
    let ledger_name = ledger().processor;
    let pause = |who: Option<&TaskName>, why: Option<&str>| {
        streams.pause(&orders(), who, why).unwrap();
    };
    pause(Some(&ledger_name), Some("prices are\n  down"));
    assert_eq!(why(&ledger()).as_deref(), Some("prices are\n  down"));
    assert_eq!(attend(scene, one, &[]).paused, why(&ledger()));
    assert_eq!(why(&audit), None);
    pause(None, Some(""));
    assert_eq!(why(&ledger()).as_deref(), Some(""));
    assert_eq!(why(&audit).as_deref(), Some(""));
    // It stays when all have gone and come again.
    streams.depart(&ledger(), one).unwrap();
    let two = supervisor();
    assert_eq!(attend(scene, two, &[]).paused.as_deref(), Some(""));
    // Processors that come later are not paused.
    assert_eq!(attend_to(scene, &duty("later"), one, &[]).paused, None);
    pause(Some(&ledger_name), None);
    assert_eq!((why(&ledger()), why(&audit).as_deref()), (None, Some("")));
    pause(None, None);
    assert_eq!(why(&audit), None);
});

for_each_backend!(a_processor_is_forgotten_once_nobody_serves_it, |scene| {
    let streams = &scene.store.streams;
    assert!(!streams.forget(&ledger()).unwrap());
    streams.declare(&spec(2, 5, Full::Block)).unwrap();
    assert!(!streams.forget(&ledger()).unwrap());
    let places = fill(scene, 0, 5);
    let one = supervisor();
    attend(scene, one, &[]);
    let hold = take_one(scene, one, 0).hold;
    let buried = Pass::Buried {
        to: places[0],
        events: kept(scene, 0)[..1].to_vec(),
        trouble: trouble(places[0], 1, None),
    };
    assert!(step(scene, hold, buried));
    let error = refusal(streams.forget(&ledger()));
    assert!(
        error.contains("`ledger` of stream `orders` is served"),
        "{error}"
    );
    streams.depart(&ledger(), one).unwrap();
    assert!(streams.forget(&ledger()).unwrap());
    assert_eq!(streams.streams(None).unwrap()[0].processors, []);
    // It begins anew, and no fence of it comes back.
    attend(scene, one, &[]);
    let seen = share(scene, 0);
    assert_eq!((seen.fence, seen.passed.position, seen.dead), (0, 0, 0));
    assert_eq!(streams.dead(&ledger(), 0, 1).unwrap(), []);
    assert!(!step(scene, hold, Pass::To(places[3])));
    assert!(take_one(scene, one, 0).hold.fence > hold.fence);
    assert!(!step(scene, hold, Pass::To(places[3])));
});

for_each_backend!(
    a_forgotten_processor_leaves_the_fences_of_others_alone,
    |scene| {
        declare(scene, 1);
        let (one, two) = (supervisor(), supervisor());
        attend(scene, one, &[]);
        let first = take_one(scene, one, 0).hold.fence;
        let streams = &scene.store.streams;
        let audit = duty("audit");
        attend_to(scene, &audit, two, &[]);
        for _ in 0..5 {
            let taken = streams.take(&audit, two, &[0], LEASE).unwrap();
            assert_eq!(taken.len(), 1);
        }
        streams.depart(&audit, two).unwrap();
        assert!(streams.forget(&audit).unwrap());
        assert_eq!(take_one(scene, one, 0).hold.fence, first + 1);
    }
);

for_each_backend!(all_streams_are_seen_at_a_glance, |scene| {
    let streams = &scene.store.streams;
    assert_eq!(streams.streams(None).unwrap(), []);
    assert_eq!(streams.streams(Some(&orders())).unwrap(), []);
    let mail = StreamSpec {
        name: StreamName::new("mail").unwrap(),
        ..spec(1, 7, Full::Error)
    };
    declare(scene, 2);
    streams.declare(&mail).unwrap();
    let places = fill(scene, 1, 3);
    let one = supervisor();
    attend_to(scene, &duty("b"), one, &[]);
    attend_to(scene, &duty("a"), one, &[]);
    let all = streams.streams(None).unwrap();
    assert_eq!((all.len(), &all[0].spec), (2, &mail));
    assert_eq!(streams.streams(Some(&orders())).unwrap(), all[1..]);
    let names: Vec<_> = all[1]
        .processors
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let [empty, filled] = [all[1].partitions[0], all[1].partitions[1]];
    assert_eq!((empty.len, empty.first, empty.last.position), (0, None, 0));
    assert_eq!(
        (filled.len, filled.first, filled.last),
        (3, Some(places[0]), places[2])
    );
    assert_eq!(scene.again().streams.streams(None).unwrap(), all);
    // All that lies there is ours.
    let found = scene.store.catalog.examine(Depth::Thorough).unwrap();
    let strange = found.iter().find(|one| one.check == "keys");
    assert!(
        strange.is_none_or(|one| one.severity == Severity::Ok),
        "{strange:?}"
    );
});

for_each_backend!(a_namespace_that_is_cleared_has_no_streams, |scene| {
    declare(scene, 2);
    let places = fill(scene, 0, 9);
    let one = supervisor();
    attend(scene, one, &[]);
    let hold = take_one(scene, one, 0).hold;
    let buried = Pass::Buried {
        to: places[0],
        events: kept(scene, 0)[..1].to_vec(),
        trouble: trouble(places[0], 1, None),
    };
    assert!(step(scene, hold, buried));
    let other = scene.namespace("other");
    other.streams.declare(&spec(1, 7, Full::Error)).unwrap();
    assert_eq!(scene.store.control.clear(1_000).unwrap(), 0);
    let streams = &scene.store.streams;
    assert_eq!(streams.streams(None).unwrap(), []);
    assert!(refusal(streams.seek(&ledger(), &[], Seek::End)).contains("no stream"));
    assert_eq!(other.streams.streams(None).unwrap().len(), 1);
    // Another one of that name has nothing of the old one; a hold of that is worth nothing.
    scene.clock.pass(bulkhead_tests::secs(1));
    declare(scene, 2);
    fill(scene, 0, 9);
    attend(scene, one, &[]);
    assert_eq!(streams.dead(&ledger(), 0, 9).unwrap(), []);
    assert_eq!(share(scene, 0).passed.position, 0);
    take_one(scene, one, 0);
    assert!(!step(scene, hold, Pass::To(places[3])));
});
