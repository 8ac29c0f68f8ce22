//! Where operators send processors.

use bulkhead_shared::stream::keep::{Pass, Seek};
use bulkhead_shared::stream::{EventId, Full, Place};
use bulkhead_tests::{Scene, for_each_backend, supervisor};

use super::*;

/// Seeks, and gives the position that the next holder has passed.
fn after(scene: &Scene, member: SupervisorId, to: Seek) -> Place {
    let streams = &scene.store.streams;
    streams.seek(&ledger(), &[0], to).unwrap();
    assert_eq!(share(scene, 0).moved_to, Some(to));
    let taken = take_one(scene, member, 0);
    let seen = share(scene, 0);
    assert_eq!((seen.moved_to, seen.passed), (None, taken.passed));
    taken.passed
}

for_each_backend!(a_processor_goes_on_where_it_is_sent, |scene| {
    let streams = &scene.store.streams;
    streams.declare(&spec(2, 20, Full::DropOldest)).unwrap();
    let places = fill(scene, 0, 60);
    let first = kept(scene, 0)[0].place;
    let index = |position: u64| usize::try_from(position - 1).unwrap();
    let before_first = places[index(first.position) - 1];
    let member = supervisor();
    attend(scene, member, &[]);
    let go = |to| after(scene, member, to);
    assert_eq!(go(Seek::End), places[59]);
    assert_eq!(go(Seek::Start), before_first);
    assert_eq!(go(Seek::Skip(0)), before_first);
    assert_eq!(go(Seek::Skip(3)), places[index(first.position) + 2]);
    assert_eq!(go(Seek::Skip(u64::MAX)), places[59]);
    assert_eq!(go(Seek::Id(places[49].id)), places[48]);
    assert_eq!(go(Seek::Id(first.id)), before_first);
    let early = EventId { ms: 1, seq: 0 };
    assert_eq!(go(Seek::Id(early)), before_first);
    let late = EventId {
        ms: u64::MAX,
        seq: u64::MAX,
    };
    assert_eq!(go(Seek::Id(late)), places[59]);
    // Between two events: the later one is next.
    let between = EventId {
        ms: places[59].id.ms + 10,
        seq: 0,
    };
    let next = with_id(0, between.ms + 5, 5);
    send(scene, std::slice::from_ref(&next));
    assert_eq!(go(Seek::Id(between)), places[59]);
    // A partition without events.
    streams.seek(&ledger(), &[1], Seek::Id(between)).unwrap();
    assert_eq!(take_one(scene, member, 1).passed, Place::default());
});

for_each_backend!(a_wish_waits_until_a_partition_is_taken_anew, |scene| {
    declare(scene, 2);
    let places = fill(scene, 0, 9);
    let [one, two] = [supervisor(), supervisor()];
    attend(scene, one, &[]);
    let hold = take_one(scene, one, 0).hold;
    let resting = trouble(places[0], 5, Some(Rest::Quarantined));
    assert!(step(scene, hold, Pass::Failed(resting.clone())));
    let streams = &scene.store.streams;
    streams.seek(&ledger(), &[], Seek::Start).unwrap();
    streams.seek(&ledger(), &[], Seek::Skip(2)).unwrap();
    let seen = view(scene);
    // The last wish counts, for all partitions; what rested rests no more.
    assert!(
        seen.shares
            .iter()
            .all(|share| share.moved_to == Some(Seek::Skip(2)))
    );
    assert_eq!(seen.shares[0].trouble.as_ref().unwrap().rest, None);
    assert_eq!(seen.shares[0].owner, Some(one));
    // Its holder goes on until then, and what it passes counts.
    assert!(step(scene, hold, Pass::To(places[3])));
    assert_eq!(
        attend(scene, one, &[hold]).shares[0].moved_to,
        Some(Seek::Skip(2))
    );
    assert_eq!(take(scene, two, &[0]), []);
    streams.give_back(&ledger(), &[hold]).unwrap();
    attend(scene, two, &[]);
    let taken = take_one(scene, two, 0);
    assert_eq!((taken.passed, taken.trouble), (places[5], None));
    assert!(!step(scene, hold, Pass::To(places[8])));
    // Back is where only an operator sends it.
    streams
        .seek(&ledger(), &[0], Seek::Id(places[1].id))
        .unwrap();
    assert_eq!(take_one(scene, two, 0).passed, places[0]);
});

for_each_backend!(what_is_wished_of_nobody_is_refused, |scene| {
    let streams = &scene.store.streams;
    let seek = |duty: &Duty, parts: &[u16]| refusal(streams.seek(duty, parts, Seek::End));
    let release = |duty: &Duty, parts: &[u16]| refusal(streams.release(duty, parts));
    assert!(seek(&ledger(), &[]).contains("no stream `orders`"));
    assert!(release(&ledger(), &[]).contains("no stream `orders`"));
    assert!(refusal(streams.pause(&orders(), None, Some("x"))).contains("no stream"));
    declare(scene, 2);
    for error in [
        seek(&ledger(), &[]),
        release(&ledger(), &[]),
        refusal(streams.pause(&orders(), Some(&ledger().processor), None)),
    ] {
        assert!(error.contains("no processor `ledger`"), "{error}");
    }
    attend(scene, supervisor(), &[]);
    assert!(seek(&ledger(), &[1, 2]).contains("no partition 2"));
    assert!(release(&ledger(), &[1, 2]).contains("no partition 2"));
    assert_eq!(share(scene, 1).moved_to, None);
});
