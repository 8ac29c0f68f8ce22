//! What is sent is kept in order, and read as it was sent.

use bulkhead_shared::Timestamp;
use bulkhead_shared::stream::keep::{READ_BYTES, READ_MOST, Read, Record, Sent};
use bulkhead_shared::stream::{EventId, Fields, Full, Place, RECORD_LIMIT};
use bulkhead_tests::{TestClock, for_each_backend, secs};

use super::*;

for_each_backend!(
    events_are_read_in_the_order_and_with_the_fields_they_were_sent_with,
    |scene| {
        declare(scene, 3);
        let fields = [
            ("b", b"\x00\xff\n# ".as_slice()),
            ("a", b""),
            ("b", b"again"),
            ("\u{e4} \n", b"1"),
        ];
        let fields: Fields = fields.into_iter().collect();
        let bare = Record {
            fields: Fields::default(),
            ..record(1, "")
        };
        let full = Record {
            fields: fields.clone(),
            ..record(1, "")
        };
        let sent = send(scene, &[full, record(0, "other"), bare]);
        let id = |seq| EventId {
            ms: TestClock::START.as_millis(),
            seq,
        };
        let place = |position, seq| Place {
            position,
            id: id(seq),
        };
        let stored = [place(1, 0), place(1, 0), place(2, 1)].map(Sent::Stored);
        assert_eq!(sent, stored);
        let events = kept(scene, 1);
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].place, &events[0].fields), (place(1, 0), &fields));
        assert_eq!((events[1].place, events[1].fields.len()), (place(2, 1), 0));
        assert_eq!(kept(scene, 0)[0].fields, record(0, "other").fields);
        assert_eq!(kept(scene, 2), []);
        // Another handle sees the same, another installation nothing.
        let seen = read_from(&scene.again(), 1, Place::default(), 9);
        assert_eq!(seen, events);
        let elsewhere = scene.namespace("elsewhere");
        assert_eq!(elsewhere.streams.streams(None).unwrap(), []);
    }
);

for_each_backend!(ids_grow_whatever_clocks_and_senders_say, |scene| {
    declare(scene, 1);
    let now = TestClock::START.as_millis();
    let id = |sent: &[Sent]| match sent {
        [Sent::Stored(place)] => (place.id.ms, place.id.seq),
        other => panic!("{other:?}"),
    };
    let one = [record(0, "x")];
    assert_eq!(id(&send(scene, &one)), (now, 0));
    scene.clock.pass(secs(1));
    assert_eq!(id(&send(scene, &one)), (now + 1000, 0));
    assert_eq!(id(&send(scene, &one)), (now + 1000, 1));
    scene.clock.set_wall(Timestamp::from_millis(now - 5000));
    assert!(id(&send(scene, &one)) > (now + 1000, 1));
    assert_eq!(
        id(&send(scene, &[with_id(0, now + 9000, 7)])),
        (now + 9000, 7)
    );
    assert_eq!(id(&send(scene, &one)), (now + 9000, 8));
    let last = EventId {
        ms: now + 9000,
        seq: 8,
    };
    let sent = send(
        scene,
        &[
            with_id(0, now + 9000, 8),
            with_id(0, 0, 0),
            with_id(0, now + 9000, 9),
        ],
    );
    assert_eq!(sent[..2], [Sent::NotNewer { last }; 2]);
    let Sent::Stored(place) = sent[2] else {
        panic!("{sent:?}");
    };
    // What was not stored leaves no gap.
    assert_eq!((place.position, place.id.seq), (7, 9));
    assert_eq!(positions(&kept(scene, 0)), [1, 2, 3, 4, 5, 6, 7]);
});

for_each_backend!(
    what_cannot_be_sent_is_refused_and_nothing_with_it,
    |scene| {
        let streams = &scene.store.streams;
        let error = refusal(streams.send(&orders(), &[record(0, "x")]));
        assert!(error.contains("no stream `orders`"), "{error}");
        declare(scene, 2);
        let error = refusal(streams.send(&orders(), &[record(0, "x"), record(2, "x")]));
        assert!(
            error.contains("`orders` has no partition 2") && error.contains("0 to 1"),
            "{error}"
        );
        let large = record(1, &"x".repeat(RECORD_LIMIT));
        let error = refusal(streams.send(&orders(), &[record(0, "x"), large]));
        assert!(error.contains("more than 1048576"), "{error}");
        let mut clash = record(0, "x");
        clash.fields = [("#", "x")].into_iter().collect();
        let error = refusal(streams.send(&orders(), &[record(0, "x"), clash]));
        assert!(error.contains("field `#`"), "{error}");
        assert_eq!(kept(scene, 0), []);
        assert_eq!(send(scene, &[]), []);
        // The largest there may be.
        let large = record(1, &"x".repeat(RECORD_LIMIT - 1));
        send(scene, std::slice::from_ref(&large));
        assert_eq!(kept(scene, 1)[0].fields, large.fields);
    }
);

for_each_backend!(many_records_of_one_call_keep_their_order, |scene| {
    declare(scene, 2);
    let records: Vec<_> = (0..1_300_u16)
        .map(|n| record(n % 2, &n.to_string()))
        .collect();
    let mut next = [1, 1];
    for (record, sent) in records.iter().zip(send(scene, &records)) {
        let next = &mut next[usize::from(record.partition)];
        let is_next = matches!(sent, Sent::Stored(place) if place.position == *next);
        assert!(is_next, "{sent:?} is not at {next}");
        *next += 1;
    }
    let texts = kept(scene, 1).into_iter().map(|event| event.fields);
    let sent = records.iter().filter(|record| record.partition == 1);
    assert!(texts.eq(sent.map(|record| record.fields.clone())));
});

for_each_backend!(
    a_read_gives_so_many_as_are_asked_for_and_not_too_much,
    |scene| {
        declare(scene, 2);
        let places = fill(scene, 0, 50);
        let read = |after, most| positions(&read_from(&scene.store, 0, after, most));
        assert_eq!(read(Place::default(), 2), [1, 2]);
        assert_eq!(read(places[1], 3), [3, 4, 5]);
        assert_eq!(read(places[9], 40).len(), 40);
        assert_eq!(read(places[49], 5), [0; 0]);
        assert_eq!(read(places[0], 0), [0; 0]);
        // Several wishes in one turn, each with its answer.
        let wish = |partition, after| Read {
            partition,
            after,
            most: 1,
        };
        let reads = [
            wish(0, places[3]),
            wish(1, Place::default()),
            wish(0, places[0]),
        ];
        let turn = scene.store.streams.step(&ledger(), &[], &reads).unwrap();
        let found: Vec<_> = turn.events.iter().map(|events| positions(events)).collect();
        assert_eq!(found, [vec![5], vec![], vec![2]]);
        let error = refusal(
            scene
                .store
                .streams
                .step(&ledger(), &[], &[wish(7, places[0])]),
        );
        assert!(error.contains("no partition 7"), "{error}");
    }
);

for_each_backend!(
    an_answer_has_a_bound_and_its_first_event_always_comes,
    |scene| {
        scene
            .store
            .streams
            .declare(&spec(2, 10_000, Full::Block))
            .unwrap();
        let large = record(0, &"x".repeat(READ_BYTES / 3));
        let huge = record(0, &"x".repeat(RECORD_LIMIT - 1));
        send(
            scene,
            &[
                large.clone(),
                large.clone(),
                large.clone(),
                large,
                huge.clone(),
                huge,
            ],
        );
        let read = |after, most| read_from(&scene.store, 0, after, most);
        for most in [5, 17, u32::MAX] {
            let mut after = Place::default();
            let mut seen = Vec::new();
            while let Some(last) = read(after, most).last() {
                let some = read(after, most);
                let bytes = |event: &Event| event.fields.size();
                let sum: usize = some.iter().map(bytes).sum();
                assert!(some.len() == 1 || sum <= READ_BYTES, "{sum}");
                seen.extend(positions(&some));
                after = last.place;
            }
            assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
        }
        let places = fill(scene, 1, 1_100);
        let read = read_from(&scene.store, 1, places[0], u32::MAX);
        assert_eq!(read.len(), usize::try_from(READ_MOST).unwrap());
    }
);

for_each_backend!(a_stream_keeps_its_number_of_partitions, |scene| {
    let streams = &scene.store.streams;
    let overview = || streams.streams(None).unwrap().remove(0);
    streams.declare(&spec(3, 10, Full::Block)).unwrap();
    fill(scene, 1, 1);
    streams.declare(&spec(3, 10, Full::Block)).unwrap();
    streams.declare(&spec(3, 20, Full::DropOldest)).unwrap();
    assert_eq!(overview().spec, spec(3, 20, Full::DropOldest));
    assert_eq!(overview().partitions[1].len, 1);
    let error = refusal(streams.declare(&spec(4, 10, Full::Block)));
    assert!(
        error.contains("`orders` has 3 partitions, not 4"),
        "{error}"
    );
    assert_eq!(overview().spec, spec(3, 20, Full::DropOldest));
    let error = refusal(streams.declare(&spec(0, 10, Full::Block)));
    assert!(error.contains("partition_count is 0"), "{error}");
});
