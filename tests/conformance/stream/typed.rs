//! Typed records, as producers send them and processors read them.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use bulkhead_shared::client::{Client, SendError};
use bulkhead_shared::stream::{Compression, Serializer, Stream};
use bulkhead_tests::{for_each_backend, supervisor};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    key: String,
    seq: u64,
    share: f64,
    note: Option<String>,
}

fn declared() -> Stream<Order> {
    Stream::new("orders").partition_by(|order: &Order| order.key.clone())
}

fn order(seq: u64) -> Order {
    Order {
        key: format!("key {}", seq % 7),
        seq,
        share: 1.0 / (seq + 1) as f64,
        note: seq.is_multiple_of(3).then(|| "\u{e9}\0\n".into()),
    }
}

for_each_backend!(
    typed_records_come_back_in_the_order_of_their_keys,
    |scene| {
        let client = Client::new(scene.store.clone());
        let mut streams = vec![declared().primitive()];
        for serializer in [Serializer::Json, Serializer::MessagePack] {
            for compression in [Compression::None, Compression::Lz4, Compression::Gzip] {
                streams.push(declared().serializer(serializer).compression(compression));
            }
        }
        // One stream all the time, whose declaration changes.
        let mut seq = 0;
        for stream in streams {
            let sender = client.stream(stream.clone()).unwrap();
            let orders: Vec<_> = (seq..seq + 90).map(order).collect();
            assert_eq!(sender.send_many(&orders).unwrap(), 90);
            seq += 90;
        }
        let mut found = BTreeMap::<String, Vec<u64>>::new();
        for partition in 0..16 {
            for event in kept(scene, partition) {
                let read: Order = declared().decode(&event.fields).unwrap();
                assert_eq!(declared().partition_of(&read), Ok(partition));
                assert_eq!(read, order(read.seq));
                found.entry(read.key).or_default().push(read.seq);
            }
        }
        for key in 0..7 {
            let expected: Vec<_> = (0..seq).filter(|seq| seq % 7 == key).collect();
            assert_eq!(found[&format!("key {key}")], expected);
        }
    }
);

for_each_backend!(a_sender_waits_for_room_until_it_may_not, |scene| {
    let client = Client::new(scene.store.clone());
    let small = declared().partition_count(1).partition_size(6);
    let sender = client.stream(small.clone()).unwrap();
    let me = supervisor();
    attend(scene, me, &[]);
    let hold = take_one(scene, me, 0).hold;
    sender.send_many((0..6).map(order)).unwrap();
    let last = kept(scene, 0)[5].place;

    let impatient = sender.clone().patience(Duration::ZERO);
    let error = impatient.send(&order(6)).unwrap_err();
    assert!(
        matches!(error, SendError::Full { partition: 0, .. }),
        "{error}"
    );
    let waiting = thread::spawn(move || sender.send_many((6..9).map(order)));
    assert!(step(scene, hold, Pass::To(last)));
    assert_eq!(waiting.join().unwrap().unwrap(), 3);

    let hasty = client.stream(small.full(Full::Error)).unwrap();
    let error = hasty.send_many((9..20).map(order)).unwrap_err();
    let SendError::Partly { index, source } = error else {
        panic!("{error}");
    };
    assert!(matches!(*source, SendError::Full { .. }), "{source}");
    let all = kept(scene, 0);
    let read: Order = declared().decode(&all[all.len() - 1].fields).unwrap();
    assert_eq!(read.seq, 8 + index);
});

for_each_backend!(an_id_of_ones_own_is_stored_once, |scene| {
    let client = Client::new(scene.store.clone());
    let sender = client.stream(declared()).unwrap();
    let id = EventId { ms: 17, seq: 3 };
    let stored = sender.send_as(id, &order(1)).unwrap();
    assert_eq!(stored.place.id, id);
    assert_eq!(kept(scene, stored.partition)[0].place, stored.place);
    let error = sender.send_as(id, &order(1)).unwrap_err();
    assert!(
        matches!(error, SendError::NotNewer { last, .. } if last == id),
        "{error}"
    );
    let error = client.stream(declared().partition_count(3)).unwrap_err();
    assert!(
        error.to_string().contains("16 partitions, not 3"),
        "{error}"
    );
});
