//! Supervisors that come, go and are killed, and processors that crash, while events flow.

use std::collections::BTreeSet;

use bulkhead_shared::TaskName;
use bulkhead_shared::stream::keep::{Duty, Rest, Seek};
use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use bulkhead_tests::until;

use crate::scene::{Order, Scene, judge, orders, poison};

const ALL: &str =
    "ledger_ignore,ledger_dead_letter,ledger_retry,ledger_halt,ledger_quarantine,ledger_batches";

fn is_long() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks for the long form"
    )]
    std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1")
}

/// One in a thousand crashes its processor.
fn events(count: u64) -> Vec<Order> {
    let each = count / 100;
    let keys = (0..100).map(|key| format!("key-{key}"));
    let mut by_key: Vec<_> = keys
        .enumerate()
        .map(|(n, key)| {
            let order = |seq: u64| match (seq * 100 + n as u64) % 1_000 {
                777 => poison(&key, seq, "crash"),
                _ => orders(&key, [seq]).remove(0),
            };
            (0..each).map(order).collect::<Vec<_>>().into_iter()
        })
        .collect();
    let mut all = Vec::new();
    while let Some(order) = by_key
        .iter_mut()
        .map(Iterator::next)
        .collect::<Option<Vec<_>>>()
    {
        all.extend(order);
    }
    all
}

fn duty(processor: &str) -> Duty {
    Duty {
        stream: Scene::name(),
        processor: TaskName::new(processor).unwrap(),
    }
}

/// Sends those on that rest, and says whether a processor has passed everything.
fn tend(scene: &Scene<'_>, processor: &str) -> bool {
    let mut found = scene.streams.streams(Some(&Scene::name())).unwrap();
    let processors = found.pop().unwrap().processors;
    let Some((_, view)) = processors
        .into_iter()
        .find(|(name, _)| name.as_str() == processor)
    else {
        return false;
    };
    for share in &view.shares {
        let rests = share.trouble.as_ref().and_then(|trouble| trouble.rest);
        if share.moved_to.is_none() && matches!(rests, Some(Rest::Halted | Rest::Quarantined)) {
            let to = Seek::Skip(1);
            scene
                .streams
                .seek(&duty(processor), &[share.partition], to)
                .unwrap();
        }
    }
    view.shares
        .iter()
        .all(|share| share.passed.position == share.last.position && share.moved_to.is_none())
}

fn storm(place: &Place) {
    let (count, kills, wait) = match is_long() {
        true => (200_000, 16, std::time::Duration::from_secs(500)),
        false => (3_000, 3, std::time::Duration::from_secs(100)),
    };
    let scene = Scene::new(place);
    let sent = events(count);
    let start = || -> Supervisor<'_> { scene.supervisor(ALL, &["--lease", "2s"]) };
    let mut fleet: Vec<_> = (0..4).map(|_| start()).collect();
    let parts = sent.chunks(sent.len().div_ceil(kills + 1));
    for (n, part) in parts.enumerate() {
        // Counted before they are sent: they may all have passed when the victim is gone.
        let seen = scene.lines("ledger_ignore").len();
        scene.send(part);
        let victim = (n * 3 + 1) % fleet.len();
        // Some are killed, some are told to go; each is followed by another.
        match n % 3 {
            2 => assert_eq!(fleet[victim].stop(), 0, "{}", fleet[victim].log()),
            _ => fleet[victim].kill(),
        }
        fleet[victim] = start();
        // The next comes only when these are on their way.
        until("events to be passed", wait, || {
            for processor in ALL.split(',') {
                let _ = tend(&scene, processor);
            }
            (scene.lines("ledger_ignore").len() > seen).then_some(())
        });
    }
    until("everything to be passed", wait, || {
        // Each of them, also when one is known to be behind.
        let behind = ALL.split(',').filter(|one| !tend(&scene, one)).count();
        (behind == 0).then_some(())
    });
    let poisons: BTreeSet<_> = (sent.iter())
        .filter(|order| order.poison.is_some())
        .map(|order| (order.key.clone(), order.seq))
        .collect();
    assert!(!poisons.is_empty());
    scene.was_never_shared();
    for processor in ALL.split(',').filter(|one| *one != "ledger_batches") {
        judge(&scene.lines(processor), &sent, &poisons);
    }
    // Of a batch with a poison nothing is written: what is written is in order all the same.
    let lines = scene.lines("ledger_batches");
    for run in lines.chunk_by(|a, b| (&a.key, a.fence, a.pid) == (&b.key, b.fence, b.pid)) {
        assert!(run.is_sorted_by(|a, b| a.seq < b.seq), "{run:?}");
    }
    for processor in ["ledger_dead_letter", "ledger_retry"] {
        let mut dead: Vec<_> = (0..16)
            .flat_map(|partition| {
                scene
                    .streams
                    .dead(&duty(processor), partition, 10_000)
                    .unwrap()
            })
            .map(|dead| dead.event.place)
            .collect();
        assert_eq!(dead.len(), poisons.len(), "each is put away once");
        dead.dedup();
        assert_eq!(dead.len(), poisons.len());
    }
    for mut supervisor in fleet {
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        supervisor.leaves_nothing();
    }
}

#[test]
fn events_are_passed_in_order_whatever_happens_on_sqlite() {
    storm(&Place::new());
}

#[test]
fn events_are_passed_in_order_whatever_happens_on_redis() {
    let server = RedisServer::start(&[]);
    storm(&Place::with_store(&server.url()));
}
