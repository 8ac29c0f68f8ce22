//! A stream that needs another one: it is paused while that is down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::backend::{self, Options};
use bulkhead_shared::checkpoint::{Checkpoint, Delivery, Dependency, marker_of};
use bulkhead_shared::stream::keep::Record;
use bulkhead_shared::stream::{EventId, StreamSpec};
use bulkhead_shared::{StreamName, TaskName, Timestamp};
use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;

use crate::scene::{Scene, judge, orders};

const LEDGER: &str = "ledger_ignore";

fn minute(minute: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + minute * 60_000)
}

/// Prices that were sent at these minutes, to as many partitions.
fn send_prices(scene: &Scene<'_>, prices: &StreamName, minutes: &[u64]) -> Timestamp {
    let price = |(partition, at): (u16, &u64)| Record {
        partition,
        id: Some(EventId {
            ms: minute(*at).as_millis(),
            seq: 0,
        }),
        fields: [("price", "7")].into_iter().collect(),
    };
    let records: Vec<_> = (0..).zip(minutes).map(price).collect();
    let _ = scene.streams.send(prices, &records).unwrap();
    let overview = scene.streams.streams(Some(prices)).unwrap().remove(0);
    marker_of(&overview, Duration::from_hours(1), minute(60)).unwrap()
}

fn pauses_and_goes_on(place: &Place) {
    let scene = Scene::new(place);
    let prices = StreamName::new("prices").unwrap();
    let spec = StreamSpec {
        partitions: 2,
        ..StreamSpec::new(prices.clone())
    };
    scene.streams.declare(&spec).unwrap();
    let mut supervisor = scene.supervisor(LEDGER, &[]);
    let mut sent = orders("a", 0..5);
    scene.send(&sent);
    scene.drained(LEDGER);
    let backend = backend::open(&Options::new(&place.url())).unwrap();
    let ledger = TaskName::new(LEDGER).unwrap();
    let why = "prices are late";
    let delivery = Delivery::new(Arc::clone(&scene.streams), Scene::name(), Some(ledger), why);
    let mut checkpoint: Checkpoint<Timestamp, Duration> = Checkpoint::builder("orders")
        .dependency(Dependency::within("prices", Duration::from_mins(10)))
        .store(backend.checkpoints)
        .dependent(delivery)
        .open()
        .unwrap();
    // The partition that is behind most says how far the stream is.
    let marker = send_prices(&scene, &prices, &[5, 3]);
    assert_eq!(marker, minute(3));
    checkpoint.heartbeat(marker).unwrap();
    let nothing = [("offset", 5)];
    assert!(
        checkpoint
            .check_pulse(minute(6), nothing)
            .unwrap()
            .is_none()
    );
    let down = checkpoint.check_pulse(minute(30), nothing).unwrap();
    assert_eq!(down.unwrap().length, Duration::from_mins(27));
    supervisor.says(why);
    let listed = place
        .run(&["stream", "ls", "orders", "--json"])
        .succeeds()
        .json();
    assert_eq!(listed[0]["processors"][0]["paused"], why);
    let more = orders("a", 5..10);
    scene.send(&more);
    sent.extend(more);
    assert_eq!(scene.lines(LEDGER).len(), 5);
    let marker = send_prices(&scene, &prices, &[31, 32]);
    checkpoint.heartbeat(marker).unwrap();
    scene.drained(LEDGER);
    judge(&scene.lines(LEDGER), &sent, &BTreeSet::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_stream_is_paused_while_another_one_that_it_needs_is_down() {
    pauses_and_goes_on(&Place::new());
}

#[test]
fn a_stream_is_paused_while_another_one_is_down_on_redis() {
    let server = RedisServer::start(&[]);
    pauses_and_goes_on(&Place::with_store(&server.url()));
}
