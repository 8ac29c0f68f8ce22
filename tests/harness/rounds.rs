//! Rounds of jobs that end in every way, for tests that look at what is left of them.

use std::time::Duration;

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::Submission;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::transit::Sent;

use crate::{KEPT, Scene, job, queue, secs, settlement, succeed};

/// Jobs that are moved at once.
const PAGE: usize = 500;

/// Has `count` jobs wait, run and end in every way.
///
/// # Panics
/// If the store refuses any of it.
pub fn play(scene: &Scene, count: usize) {
    let queue = queue("default");
    for n in 0..count {
        let message = match n % 4 {
            0 => job().ttl(secs(3600)),
            1 => job().delay(secs(1)),
            2 => job().expires(secs(3600)),
            _ => job(),
        };
        let message = scene.build(message.arg("x".repeat(500)));
        let submission = Submission {
            message: &message,
            queue: &queue,
        };
        scene.broker().submit(&[submission]).unwrap();
    }
    scene.clock.pass(secs(1));
    let until = |time: Duration| Some(scene.clock.wall().plus(time));
    let mut ended = 0;
    while ended < count {
        let claimed = scene.claim(64);
        let ends = claimed.iter().enumerate().map(|(n, job)| {
            let next = match (n + ended) % 5 {
                0 => Move::Bury {
                    cause: Cause::Error,
                    purge_at: until(KEPT),
                },
                1 => Move::Drop {
                    cause: Cause::Error,
                    purge_at: until(KEPT),
                },
                2 => Move::Succeed {
                    result: Some(b"r".to_vec()),
                    result_until: until(secs(9)),
                    purge_at: until(KEPT),
                },
                3 if job.receipt.fence == 1 => Move::Release,
                _ => succeed(b"1"),
            };
            settlement(job, next)
        });
        let ends: Vec<_> = ends.collect();
        ended += ends.iter().filter(|one| one.next != Move::Release).count();
        scene.broker().turn(ends, None).unwrap();
    }
}

/// Moves all there is to another store.
///
/// # Panics
/// If one of the stores refuses any of it.
pub fn move_all(from: &Backend, to: &Backend) {
    loop {
        let parcels = from.transit.send_off(PAGE).unwrap();
        if parcels.is_empty() {
            break;
        }
        to.transit.receive(&parcels).unwrap();
        let sent: Vec<_> = parcels.iter().map(Sent::from).collect();
        from.transit.forget_sent(&sent).unwrap();
    }
    while to.transit.admit(PAGE).unwrap() > 0 {}
}

/// Forgets all whose time is over.
///
/// # Panics
/// If the store refuses it.
pub fn forget_all(store: &Backend) {
    while store.broker.prune(1000).unwrap() > 0 {}
}
