//! Who serves a processor, and who holds what.

use std::time::Duration;

use bulkhead_shared::broker::{Bell, Heed, Listen, Wake};
use bulkhead_shared::stream::keep::{Pass, Seek};
use bulkhead_shared::stream::{Full, Place};
use bulkhead_tests::{Kind, for_each_backend, secs, supervisor};

use super::*;

for_each_backend!(members_are_listed_by_when_they_came, |scene| {
    let [one, two, three] = [supervisor(), supervisor(), supervisor()];
    let attendance = Attendance {
        duty: &ledger(),
        member: one,
        lease: LEASE,
        holds: &[],
    };
    let error = refusal(scene.store.streams.attend(attendance));
    assert!(error.contains("no stream `orders`"), "{error}");
    declare(scene, 2);
    assert_eq!(attend(scene, two, &[]).members, [two]);
    assert_eq!(attend(scene, one, &[]).members, [two, one]);
    assert_eq!(attend(scene, two, &[]).members, [two, one]);
    assert_eq!(attend(scene, three, &[]).members, [two, one, three]);
    assert_eq!(view(scene).members, [two, one, three]);
    // Another processor has others.
    assert_eq!(attend_to(scene, &duty("audit"), one, &[]).members, [one]);
    scene.clock.pass(LEASE - secs(1));
    assert_eq!(attend(scene, one, &[]).members, [two, one, three]);
    scene.clock.pass(secs(2));
    assert_eq!(view(scene).members, [one]);
    // Who was believed dead comes last.
    assert_eq!(attend(scene, two, &[]).members, [one, two]);
    scene.store.streams.depart(&ledger(), one).unwrap();
    assert_eq!(view(scene).members, [two]);
    assert_eq!(attend(scene, one, &[]).members, [two, one]);
});

for_each_backend!(
    a_processor_begins_before_the_first_event_that_is_kept,
    |scene| {
        let streams = &scene.store.streams;
        streams.declare(&spec(2, 10, Full::DropOldest)).unwrap();
        fill(scene, 0, 30);
        let first = kept(scene, 0)[0].place;
        let view = attend(scene, supervisor(), &[]);
        assert_eq!(view.shares.len(), 2);
        let [filled, empty] = [&view.shares[0], &view.shares[1]];
        assert_eq!(filled.passed.position + 1, first.position);
        assert_eq!((filled.partition, filled.fence, filled.owner), (0, 0, None));
        assert_eq!(filled.last.position, 30);
        let since = Timestamp::from_millis(first.id.ms);
        assert_eq!(filled.waiting_since, Some(since));
        assert_eq!(
            (empty.partition, empty.passed, empty.last),
            (1, Place::default(), Place::default())
        );
        assert_eq!((empty.waiting_since, empty.dead), (None, 0));
        assert_eq!(
            (&empty.trouble, empty.moved_to, &view.paused),
            (&None, None, &None)
        );
    }
);

for_each_backend!(a_partition_has_one_holder_under_fences_that_grow, |scene| {
    declare(scene, 3);
    let [one, two] = [supervisor(), supervisor()];
    // Nobody who has not attended.
    assert_eq!(take(scene, one, &[0, 1, 2]), []);
    attend(scene, one, &[]);
    attend(scene, two, &[]);
    let mine = take(scene, one, &[1, 0, 1]);
    let parts: Vec<_> = mine.iter().map(|taken| taken.hold.partition).collect();
    assert_eq!(parts, [0, 1]);
    assert!(mine.iter().all(|taken| taken.hold.fence > 0));
    let theirs = take(scene, two, &[0, 1, 2]);
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].hold.partition, 2);
    let owners = view(scene).shares.into_iter().map(|share| share.owner);
    assert!(owners.eq([Some(one), Some(one), Some(two)]));
    // Who asks again gets it again, under a new fence.
    let again = take_one(scene, one, 0);
    assert_eq!(again.hold.fence, mine[0].hold.fence + 1);
    assert_eq!(share(scene, 0).fence, again.hold.fence);
    assert!(!step(scene, mine[0].hold, Pass::To(Place::default())));
    let error = refusal(scene.store.streams.take(&ledger(), one, &[0, 3], LEASE));
    assert!(error.contains("no partition 3"), "{error}");
    assert_eq!(share(scene, 0).fence, again.hold.fence);
    // Unknown processors have no members.
    let streams = &scene.store.streams;
    assert_eq!(streams.take(&duty("nobody"), one, &[0], LEASE).unwrap(), []);
});

for_each_backend!(what_is_not_renewed_is_anybodys, |scene| {
    declare(scene, 3);
    let [one, two] = [supervisor(), supervisor()];
    attend(scene, one, &[]);
    let mine = take(scene, one, &[0, 1, 2]);
    let streams = &scene.store.streams;
    // A lease of its own length.
    let short = streams
        .take(&ledger(), one, &[2], secs(5))
        .unwrap()
        .remove(0);
    scene.clock.pass(secs(6));
    attend(scene, two, &[]);
    let owners = |view: View| view.shares.into_iter().map(|share| share.owner);
    assert!(owners(view(scene)).eq([Some(one), Some(one), None]));
    let theirs = take(scene, two, &[0, 1, 2]);
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].hold.fence, short.hold.fence + 1);
    scene.clock.pass(LEASE - secs(7));
    // Only what is named is renewed, and only by whoever holds it.
    let holds = [mine[0].hold, short.hold];
    attend(scene, one, &holds);
    attend(scene, two, &[mine[1].hold]);
    scene.clock.pass(secs(7));
    assert!(owners(view(scene)).eq([Some(one), None, None]));
    // One that has run out is renewed while nobody has taken it.
    scene.clock.pass(LEASE);
    assert!(owners(view(scene)).eq([None, None, None]));
    let seen = attend(scene, one, &[mine[0].hold, short.hold]);
    assert!(owners(seen).eq([Some(one), None, None]));
    // Who is believed dead gets nothing.
    assert_eq!(take(scene, two, &[1]), []);
});

for_each_backend!(what_is_given_back_can_be_taken_at_once, |scene| {
    declare(scene, 3);
    let [one, two] = [supervisor(), supervisor()];
    attend(scene, one, &[]);
    attend(scene, two, &[]);
    let mine = take(scene, one, &[0, 1, 2]);
    let again = take_one(scene, one, 1);
    let streams = &scene.store.streams;
    // The old hold of the second one is held no more.
    let unknown = Hold {
        partition: 9,
        fence: 1,
    };
    let holds = [mine[0].hold, mine[1].hold, unknown];
    streams.give_back(&ledger(), &holds).unwrap();
    streams.give_back(&ledger(), &holds).unwrap();
    let theirs = take(scene, two, &[0, 1, 2]);
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].hold.fence, mine[0].hold.fence + 1);
    // What was given back is not renewed.
    streams.give_back(&ledger(), &[again.hold]).unwrap();
    let seen = attend(scene, one, &[again.hold]);
    assert_eq!(seen.shares[1].owner, None);
    streams.depart(&ledger(), one).unwrap();
    assert_eq!(take(scene, two, &[1, 2]).len(), 2);
    assert_eq!(take(scene, one, &[0]), []);
    // Unknown ones have nothing to give.
    streams.give_back(&duty("nobody"), &holds).unwrap();
    streams.depart(&duty("nobody"), one).unwrap();
});

fn a_dead_supervisor_holds_nothing(kind: Kind) {
    let scene = &Scene::new(kind);
    declare(scene, 1);
    let [one, two] = [supervisor(), supervisor()];
    let other = scene.again();
    let attendance = Attendance {
        duty: &ledger(),
        member: one,
        lease: LEASE,
        holds: &[],
    };
    other.streams.attend(attendance).unwrap();
    assert_eq!(
        other
            .streams
            .take(&ledger(), one, &[0], LEASE)
            .unwrap()
            .len(),
        1
    );
    assert_eq!(attend(scene, two, &[]).members, [one, two]);
    assert_eq!(take(scene, two, &[0]), []);
    drop(other);
    assert_eq!(attend(scene, two, &[]).members, [two]);
    assert_eq!(take(scene, two, &[0]).len(), 1);
}

#[test]
fn who_is_known_to_be_dead_holds_nothing() {
    a_dead_supervisor_holds_nothing(Kind::SqliteFile);
}

#[test]
fn leases_of_an_earlier_start_of_the_machine_are_over() {
    for kind in [Kind::SqliteFile, Kind::SqliteMemory] {
        let scene = &Scene::new(kind);
        declare(scene, 1);
        let [one, two] = [supervisor(), supervisor()];
        attend(scene, one, &[]);
        take_one(scene, one, 0);
        scene.clock.reboot();
        // The boot is read when a store is opened.
        if kind == Kind::SqliteFile {
            let again = scene.again();
            let attendance = Attendance {
                duty: &ledger(),
                member: two,
                lease: LEASE,
                holds: &[],
            };
            assert_eq!(again.streams.attend(attendance).unwrap().members, [two]);
            let taken = again.streams.take(&ledger(), two, &[0], LEASE).unwrap();
            assert_eq!(taken.len(), 1);
        }
    }
}

for_each_backend!(supervisors_hear_when_there_is_something_to_do, |scene| {
    declare(scene, 2);
    let [one, two] = [supervisor(), supervisor()];
    attend(scene, one, &[]);
    let held = take(scene, one, &[0, 1]);
    let other = scene.again();
    let names = [orders(), StreamName::new("mail").unwrap()];
    let mut bell = other.broker.bell(Listen::Streams(&names)).unwrap();
    let mut rings = |act: &dyn Fn()| {
        act();
        let wake = bell.wait(Heed::Everything, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
        // What one move rings for is heard as one.
        while bell.wait(Heed::Everything, None, Duration::ZERO).unwrap() == Wake::Bell {}
    };
    let streams = &scene.store.streams;
    rings(&|| drop(fill(scene, 0, 3)));
    rings(&|| streams.give_back(&ledger(), &[held[0].hold]).unwrap());
    rings(&|| streams.seek(&ledger(), &[], Seek::Start).unwrap());
    rings(&|| drop(streams.release(&ledger(), &[]).unwrap()));
    rings(&|| streams.pause(&orders(), None, Some("rain")).unwrap());
    rings(&|| streams.pause(&orders(), None, None).unwrap());
    attend(scene, two, &[]);
    while bell_is_rung(&mut *bell) {}
    let mut rings = |act: &dyn Fn()| {
        act();
        let wake = bell.wait(Heed::Everything, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
    };
    rings(&|| streams.depart(&ledger(), one).unwrap());
});

fn bell_is_rung(bell: &mut dyn Bell) -> bool {
    bell.wait(Heed::Everything, None, Duration::ZERO).unwrap() == Wake::Bell
}
