//! Partitions among supervisors: fair shares, those who come, go and die, and nobody twice.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use serde_json::Value;

use crate::scene::{Order, Scene, judge, orders};

const LEDGER: &str = "ledger_ignore";

/// How many partitions each owner holds; nothing if some are held by nobody.
fn owners(shares: &[Value]) -> Option<Vec<usize>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for share in shares {
        *counts.entry(share["owner"].as_str()?.into()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    Some(counts)
}

fn shared(scene: &Scene<'_>, wanted: &[usize]) {
    scene.lag_when(LEDGER, &format!("shares of {wanted:?}"), |shares| {
        owners(shares).is_some_and(|counts| counts == wanted)
    });
}

fn some(from: u64) -> Vec<Order> {
    let keys = (0..40).map(|key| format!("key-{key}"));
    keys.flat_map(|key| orders(&key, from..from + 5)).collect()
}

fn come_and_go(place: &Place) {
    let scene = Scene::new(place);
    let mut sent = some(0);
    scene.send(&sent);
    let lease = ["--lease", "3s"];
    let mut first = scene.supervisor(LEDGER, &lease);
    shared(&scene, &[16]);
    let mut second = scene.supervisor(LEDGER, &lease);
    shared(&scene, &[8, 8]);
    let mut more = |from| {
        let next = some(from);
        scene.send(&next);
        sent.extend(next);
    };
    more(5);
    let mut third = scene.supervisor(LEDGER, &lease);
    shared(&scene, &[5, 5, 6]);
    more(10);
    assert_eq!(second.stop(), 0, "{}", second.log());
    shared(&scene, &[8, 8]);
    more(15);
    // Its leases have to end first.
    first.kill();
    shared(&scene, &[16]);
    more(20);
    scene.drained(LEDGER);
    judge(&scene.lines(LEDGER), &sent, &BTreeSet::new());
    scene.was_never_shared();
    assert_eq!(third.stop(), 0, "{}", third.log());
    third.leaves_nothing();
    // Who has gone has given everything back.
    assert!(
        scene
            .lag(LEDGER)
            .iter()
            .all(|share| share["owner"].is_null())
    );
}

#[test]
fn who_has_just_come_takes_nothing_before_its_join_delay_is_over() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut supervisor = scene.supervisor("ledger_late,ledger_ignore", &[]);
    scene.send(&some(0));
    // The other processor of the same supervisor tells that there was time enough.
    scene.drained(LEDGER);
    let late = scene.lag_when("ledger_late", "to be a member", |shares| !shares.is_empty());
    let found = scene.streams.streams(Some(&Scene::name())).unwrap();
    let members = found[0]
        .processors
        .iter()
        .map(|(_, view)| view.members.len());
    assert!(members.eq([1, 1]), "{found:?}");
    assert!(
        late.iter().all(|share| share["owner"].is_null()),
        "{late:?}"
    );
    assert!(late.iter().any(|share| share["lag"] != 0), "{late:?}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn supervisors_share_partitions_and_take_over_from_those_who_go_and_die() {
    come_and_go(&Place::new());
}

#[test]
fn supervisors_share_partitions_on_redis() {
    let server = RedisServer::start(&[]);
    come_and_go(&Place::with_store(&server.url()));
}

#[test]
fn more_supervisors_than_partitions_do_no_harm() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut supervisors: Vec<_> = (0..18).map(|_| scene.supervisor(LEDGER, &[])).collect();
    shared(&scene, &[1; 16]);
    let sent = some(0);
    scene.send(&sent);
    scene.drained(LEDGER);
    judge(&scene.lines(LEDGER), &sent, &BTreeSet::new());
    for supervisor in &mut supervisors {
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn partitions_take_turns_where_there_are_fewer_processes() {
    let place = Place::new();
    let scene = Scene::new(&place);
    let mut supervisor = scene.supervisor(LEDGER, &["--stream-processes", "2"]);
    let sent = some(0);
    scene.send(&sent);
    scene.drained(LEDGER);
    judge(&scene.lines(LEDGER), &sent, &BTreeSet::new());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_supervisor_that_is_to_process_nothing_holds_nothing() {
    let place = Place::new();
    let scene = Scene::new(&place);
    scene.send(&some(0));
    let mut idle = scene.supervisor(LEDGER, &["--stream-processes", "0"]);
    idle.says("serving");
    let mut busy = scene.supervisor(LEDGER, &[]);
    shared(&scene, &[16]);
    scene.drained(LEDGER);
    for supervisor in [&mut idle, &mut busy] {
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}
