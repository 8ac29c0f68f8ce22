//! Streams: what is sent, who holds what, how far it was passed.

mod damaged;
mod hold;
mod model;
mod operate;
mod pass;
mod room;
mod seek;
mod send;
mod typed;

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{BrokerError, SupervisorId};
use bulkhead_shared::stream::keep::{
    Attendance, Duty, Hold, Pass, Read, Record, Rest, Sent, Share, Step, Taken, Trouble, View,
};
use bulkhead_shared::stream::{Event, EventId, Full, Place, StreamSpec};
use bulkhead_shared::{StreamName, TaskName, Timestamp};
use bulkhead_tests::{LEASE, Scene};

fn orders() -> StreamName {
    StreamName::new("orders").unwrap()
}

fn ledger() -> Duty {
    duty("ledger")
}

fn duty(processor: &str) -> Duty {
    Duty {
        stream: orders(),
        processor: TaskName::new(processor).unwrap(),
    }
}

fn spec(partitions: u16, size: u64, full: Full) -> StreamSpec {
    StreamSpec {
        partitions,
        size,
        full,
        ..StreamSpec::new(orders())
    }
}

/// Makes the stream `orders`.
fn declare(scene: &Scene, partitions: u16) {
    let spec = spec(partitions, 1_000, Full::Block);
    scene.store.streams.declare(&spec).unwrap();
}

fn record(partition: u16, text: &str) -> Record {
    Record {
        partition,
        id: None,
        fields: [("n", text)].into_iter().collect(),
    }
}

fn with_id(partition: u16, ms: u64, seq: u64) -> Record {
    Record {
        id: Some(EventId { ms, seq }),
        ..record(partition, "x")
    }
}

fn send(scene: &Scene, records: &[Record]) -> Vec<Sent> {
    scene.store.streams.send(&orders(), records).unwrap()
}

/// Sends so many to a partition, for all of which there is room; gives their places.
fn fill(scene: &Scene, partition: u16, count: usize) -> Vec<Place> {
    let records: Vec<_> = (0..count)
        .map(|n| record(partition, &n.to_string()))
        .collect();
    let place = |sent| match sent {
        Sent::Stored(place) => place,
        other => panic!("{other:?}"),
    };
    send(scene, &records).into_iter().map(place).collect()
}

fn read_from(store: &Backend, partition: u16, after: Place, most: u32) -> Vec<Event> {
    let read = Read {
        partition,
        after,
        most,
    };
    let mut turn = store.streams.step(&ledger(), &[], &[read]).unwrap();
    assert_eq!((turn.steps.len(), turn.events.len()), (0, 1));
    turn.events.remove(0)
}

/// All that is kept of a partition.
fn kept(scene: &Scene, partition: u16) -> Vec<Event> {
    read_from(&scene.store, partition, Place::default(), u32::MAX)
}

fn positions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.place.position).collect()
}

fn attend_to(scene: &Scene, duty: &Duty, member: SupervisorId, holds: &[Hold]) -> View {
    let attendance = Attendance {
        duty,
        member,
        lease: LEASE,
        holds,
    };
    scene.store.streams.attend(attendance).unwrap()
}

fn attend(scene: &Scene, member: SupervisorId, holds: &[Hold]) -> View {
    attend_to(scene, &ledger(), member, holds)
}

/// How things are, seen by nobody.
fn view_of(scene: &Scene, duty: &Duty) -> View {
    let mut overviews = scene.store.streams.streams(Some(&duty.stream)).unwrap();
    let mut processors = overviews.remove(0).processors.into_iter();
    let found = processors.find(|(name, _)| *name == duty.processor);
    found.unwrap().1
}

fn view(scene: &Scene) -> View {
    view_of(scene, &ledger())
}

fn share(scene: &Scene, partition: u16) -> Share {
    view(scene).shares.remove(usize::from(partition))
}

fn take(scene: &Scene, member: SupervisorId, partitions: &[u16]) -> Vec<Taken> {
    let streams = &scene.store.streams;
    streams.take(&ledger(), member, partitions, LEASE).unwrap()
}

fn take_one(scene: &Scene, member: SupervisorId, partition: u16) -> Taken {
    let mut taken = take(scene, member, &[partition]);
    assert_eq!(taken.len(), 1, "{partition} is not to be had");
    taken.remove(0)
}

fn step(scene: &Scene, hold: Hold, pass: Pass) -> bool {
    let steps = [Step { hold, pass }];
    let turn = scene.store.streams.step(&ledger(), &steps, &[]).unwrap();
    assert_eq!(turn.events.len(), 0);
    turn.steps[0]
}

fn trouble(place: Place, tries: u32, rest: Option<Rest>) -> Trouble {
    Trouble {
        place,
        tries,
        at: Timestamp::from_millis(1_800_000_000_123),
        cause: "crash".into(),
        error: "{\"message\": \"it\\nbroke\"}".into(),
        rest,
    }
}

fn refusal<T: std::fmt::Debug>(done: Result<T, BrokerError>) -> String {
    match done.unwrap_err() {
        refused @ BrokerError::Refused { .. } => refused.to_string(),
        other => panic!("{other}"),
    }
}
