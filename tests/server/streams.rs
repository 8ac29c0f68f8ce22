//! Streams on servers of all kinds.

use std::time::Duration;

use bulkhead_shared::backend::{Backend, Options, open};
use bulkhead_shared::broker::SupervisorId;
use bulkhead_shared::redis::evidence;
use bulkhead_shared::stream::keep::{
    Attendance, Duty, Pass, Read, Record, Sent, Step, Taken, View,
};
use bulkhead_shared::stream::{Full, Place, StreamSpec};
use bulkhead_shared::{StreamName, TaskName};
use bulkhead_tests::sentinel::Watched;
use bulkhead_tests::{redis_server, supervisor, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn duty() -> Duty {
    Duty {
        stream: StreamName::new("orders").unwrap(),
        processor: TaskName::new("ledger").unwrap(),
    }
}

fn declare(store: &Backend, size: u64) {
    let spec = StreamSpec {
        partitions: 1,
        size,
        full: Full::Block,
        ..StreamSpec::new(duty().stream)
    };
    store.streams.declare(&spec).unwrap();
}

fn fill(store: &Backend, count: usize) -> Vec<Place> {
    let record = Record {
        partition: 0,
        id: None,
        fields: [("n", "x")].into_iter().collect(),
    };
    let sent = store.streams.send(&duty().stream, &vec![record; count]);
    let place = |sent| match sent {
        Sent::Stored(place) => place,
        other => panic!("{other:?}"),
    };
    sent.unwrap().into_iter().map(place).collect()
}

fn attend(store: &Backend, member: SupervisorId) -> Option<View> {
    let attendance = Attendance {
        duty: &duty(),
        member,
        lease: PATIENCE,
        holds: &[],
    };
    store.streams.attend(attendance).ok()
}

fn take(store: &Backend, member: SupervisorId) -> Taken {
    let taken = store.streams.take(&duty(), member, &[0], PATIENCE);
    taken.unwrap().remove(0)
}

fn pass(store: &Backend, taken: &Taken, to: Place) -> (bool, Vec<u64>) {
    let step = Step {
        hold: taken.hold,
        pass: Pass::To(to),
    };
    let read = Read {
        partition: 0,
        after: to,
        most: 9,
    };
    let turn = store.streams.step(&duty(), &[step], &[read]).unwrap();
    let positions = turn.events[0].iter().map(|event| event.place.position);
    (turn.steps[0], positions.collect())
}

#[test]
fn a_stream_goes_on_where_it_was_when_sentinels_name_another_master() {
    let watched = Watched::start(&[]);
    let store = open(&Options::new(&watched.url())).unwrap();
    declare(&store, 100);
    let places = fill(&store, 5);
    let member = supervisor();
    attend(&store, member).unwrap();
    let taken = take(&store, member);
    assert_eq!(pass(&store, &taken, places[1]), (true, vec![3, 4, 5]));
    watched.replica_has_everything();
    watched.fail_over();
    let view = until("the other master to be found", PATIENCE, || {
        attend(&store, member)
    });
    let share = &view.shares[0];
    assert_eq!((share.owner, share.fence), (Some(member), taken.hold.fence));
    assert_eq!((share.passed, share.last), (places[1], places[4]));
    assert_eq!(pass(&store, &taken, places[2]), (true, vec![4, 5]));
    assert_eq!(fill(&store, 1)[0].position, 6);
    assert_eq!(take(&store, member).hold.fence, taken.hold.fence + 1);
    assert!(!pass(&store, &taken, places[3]).0);
}

#[test]
fn evidence_of_jobs_is_not_in_the_way_of_streams() {
    evidence::keep();
    let server = redis_server::RedisServer::start(&[]);
    let store = open(&Options::new(&server.url())).unwrap();
    declare(&store, 5);
    let places = fill(&store, 5);
    let member = supervisor();
    attend(&store, member).unwrap();
    let taken = take(&store, member);
    assert!(pass(&store, &taken, places[4]).0);
    assert_eq!(fill(&store, 5)[4].position, 10);
    let overview = store.streams.streams(None).unwrap().remove(0);
    assert_eq!(overview.partitions[0].len, 5);
    assert_eq!(overview.processors[0].1.shares[0].passed, places[4]);
}
