//! How long partitions become, and what goes.

use bulkhead_shared::stream::keep::{Pass, Record, Sent};
use bulkhead_shared::stream::{EventId, Full, Place};
use bulkhead_tests::{Scene, for_each_backend, supervisor};

use super::*;

fn of_size(scene: &Scene, size: u64, full: Full) {
    scene.store.streams.declare(&spec(2, size, full)).unwrap();
}

/// Passes all up to a place, as a member of its own.
fn pass(scene: &Scene, processor: &str, to: Place) {
    let (duty, member) = (duty(processor), supervisor());
    attend_to(scene, &duty, member, &[]);
    let streams = &scene.store.streams;
    let taken = streams.take(&duty, member, &[0], LEASE).unwrap();
    let step = Step {
        hold: taken[0].hold,
        pass: Pass::To(to),
    };
    assert_eq!(streams.step(&duty, &[step], &[]).unwrap().steps, [true]);
    streams.depart(&duty, member).unwrap();
}

fn ten(partition: u16) -> Vec<Record> {
    (0..10).map(|n| record(partition, &n.to_string())).collect()
}

fn are_stored(sent: &[Sent]) -> Vec<bool> {
    let is_stored = |sent: &Sent| matches!(sent, Sent::Stored(_));
    sent.iter().map(is_stored).collect()
}

for_each_backend!(a_full_partition_takes_nothing_and_loses_nothing, |scene| {
    for full in [Full::Block, Full::Error] {
        of_size(scene, 6, full);
        let missing = 6 - kept(scene, 0).len();
        let sent = send(scene, &ten(0));
        let expected: Vec<_> = (0..10).map(|n| n < missing).collect();
        assert_eq!(are_stored(&sent), expected);
        assert!(sent[missing..].iter().all(|sent| *sent == Sent::Full));
        assert_eq!(positions(&kept(scene, 0)), [1, 2, 3, 4, 5, 6]);
    }
    // The other one has room.
    let mixed = [
        record(0, "x"),
        record(1, "x"),
        record(0, "x"),
        record(1, "x"),
    ];
    assert_eq!(are_stored(&send(scene, &mixed)), [false, true, false, true]);
});

for_each_backend!(
    after_a_record_without_room_none_of_its_partition_is_stored,
    |scene| {
        of_size(scene, 700, Full::Block);
        fill(scene, 0, 650);
        let many: Vec<_> = (0..1_500).map(|n| record(n % 2, "x")).collect();
        let sent = send(scene, &many);
        let of = |partition: u16| -> Vec<bool> {
            let both = many.iter().zip(are_stored(&sent));
            let both = both.filter(|(record, _)| record.partition == partition);
            both.map(|(_, is_stored)| is_stored).collect()
        };
        for (partition, room) in [(0, 50), (1, 700)] {
            let stored = of(partition);
            assert!(stored[..room].iter().all(|is_stored| *is_stored));
            assert!(!stored[room..].iter().any(|is_stored| *is_stored));
        }
    }
);

for_each_backend!(events_go_when_every_processor_has_passed_them, |scene| {
    of_size(scene, 10, Full::Block);
    let places = fill(scene, 0, 10);
    pass(scene, "ledger", places[9]);
    pass(scene, "audit", places[2]);
    // Three were passed by both.
    assert_eq!(
        are_stored(&send(scene, &ten(0))),
        [
            true, true, true, false, false, false, false, false, false, false
        ]
    );
    let first = kept(scene, 0)[0].place;
    assert!(first.position <= 4, "{first:?}");
    pass(scene, "audit", places[9]);
    assert_eq!(are_stored(&send(scene, &ten(0))[..7]), [true; 7]);
    let left = positions(&kept(scene, 0));
    // About its size, and none is missing that somebody waits for.
    assert!((10..=11).contains(&left.len()), "{left:?}");
    assert_eq!(left.last(), Some(&20));
    let overview = scene.store.streams.streams(None).unwrap().remove(0);
    let seen = overview.partitions[0];
    assert_eq!(seen.len, u64::try_from(left.len()).unwrap());
    assert_eq!(seen.first, Some(kept(scene, 0)[0].place));
    assert_eq!(seen.last.position, 20);
    // Once nobody waits, the slowest is forgotten with what it has passed.
    assert!(scene.store.streams.forget(&duty("audit")).unwrap());
});

for_each_backend!(without_a_processor_nothing_may_go, |scene| {
    of_size(scene, 3, Full::Error);
    let places = fill(scene, 0, 3);
    assert_eq!(send(scene, &[record(0, "x")]), [Sent::Full]);
    pass(scene, "ledger", places[0]);
    fill(scene, 0, 1);
    scene.store.streams.forget(&ledger()).unwrap();
    assert_eq!(send(scene, &[record(0, "x")]), [Sent::Full]);
});

for_each_backend!(the_oldest_go_where_the_stream_says_so, |scene| {
    of_size(scene, 20, Full::DropOldest);
    let places = fill(scene, 0, 5);
    pass(scene, "ledger", places[1]);
    fill(scene, 0, 100);
    let left = kept(scene, 0);
    assert!((20..=22).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().place.position, 105);
    // It goes on at the first that is kept.
    let share = share(scene, 0);
    let first = left[0].place;
    assert_eq!(share.passed.position + 1, first.position);
    assert!(share.passed.id < first.id && share.passed.id > places[4].id);
    let member = supervisor();
    attend(scene, member, &[]);
    let taken = take_one(scene, member, 0);
    assert_eq!(taken.passed, share.passed);
    assert_eq!(read_from(&scene.store, 0, taken.passed, 1)[0].place, first);
    assert!(step(scene, taken.hold, Pass::To(places[4])));
    assert_eq!(view(scene).shares[0].passed, share.passed);
    // Also one that reads with an old place.
    assert_eq!(read_from(&scene.store, 0, places[3], 1)[0].place, first);
});

for_each_backend!(a_stream_that_was_made_smaller_shrinks_by_and_by, |scene| {
    of_size(scene, 6_000, Full::DropOldest);
    fill(scene, 0, 6_000);
    of_size(scene, 10, Full::DropOldest);
    fill(scene, 0, 1);
    let len = || scene.store.streams.streams(None).unwrap()[0].partitions[0].len;
    assert_eq!(len(), 6_001 - 4_096);
    fill(scene, 0, 1);
    assert_eq!(len(), 10);
    let left = kept(scene, 0);
    assert_eq!(positions(&left), (5_993..=6_002).collect::<Vec<_>>());
});

for_each_backend!(events_are_found_whatever_their_ids_are, |scene| {
    // Ids with gaps of all kinds, so that what is removed has to be looked for.
    of_size(scene, 30, Full::DropOldest);
    let mut last = EventId::default();
    for round in 0..12_u64 {
        let mut some = Vec::new();
        for n in 0..10_u64 {
            last = match (round * 10 + n) % 5 {
                0 => EventId {
                    ms: last.ms + 1 + n * n * 1_000_003,
                    seq: n,
                },
                1 => EventId {
                    seq: last.seq + 7,
                    ..last
                },
                2 => EventId {
                    seq: last.seq + (1 << 40),
                    ..last
                },
                _ => EventId {
                    seq: last.seq + 1,
                    ..last
                },
            };
            some.push(with_id(0, last.ms, last.seq));
        }
        assert_eq!(are_stored(&send(scene, &some)), [true; 10]);
        let left = positions(&kept(scene, 0));
        let newest = (round + 1) * 10;
        assert!(left.len() <= 33, "{left:?}");
        assert_eq!(
            left,
            (newest + 1 - u64::try_from(left.len()).unwrap()..=newest).collect::<Vec<_>>()
        );
        let overview = scene.store.streams.streams(None).unwrap().remove(0);
        assert_eq!(overview.partitions[0].first, Some(kept(scene, 0)[0].place));
    }
});
