//! Random moves under limits: never too many at once, nobody parked for ever, everybody ends once.

use std::collections::HashMap;

use bulkhead_shared::broker::{Claimed, Overdue, Settled};
use bulkhead_shared::catalog::{Filter, State};
use bulkhead_shared::lock::{Acquisition, Right};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{LockName, LockOwner, Uuid};
use bulkhead_tests::{Kind, LEASE, Scene, job, queue, secs, succeed};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Jobs of each gate that may run at once: of two keys, and of a lock.
const MOST: [u32; 3] = [1, 2, 1];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Which gate (keys first, then the lock, then none), and its ttl and delay in seconds.
    Submit {
        gate: usize,
        ttl: Option<u64>,
        delay: Option<u64>,
        priority: u32,
    },
    Claim {
        room: usize,
    },
    Settle {
        which: usize,
        how: usize,
    },
    Revoke {
        which: usize,
    },
    Remove {
        which: usize,
    },
    Pass {
        seconds: u64,
    },
    TakeOver,
    Limit {
        most: Option<u32>,
    },
    Lock {
        ttl: Option<u64>,
    },
    Unlock,
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = || prop::option::weighted(0.2, 1..60u64);
    prop_oneof![
        6 => (0..4usize, seconds(), seconds(), 0..3u32).prop_map(|(gate, ttl, delay, priority)| {
            Step::Submit { gate, ttl, delay, priority }
        }),
        5 => (1..4usize).prop_map(|room| Step::Claim { room }),
        5 => (0..9usize, 0..5usize).prop_map(|(which, how)| Step::Settle { which, how }),
        3 => (0..30usize).prop_map(|which| Step::Revoke { which }),
        2 => (0..30usize).prop_map(|which| Step::Remove { which }),
        2 => (1..20u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::TakeOver),
        1 => prop::option::of(1..4u32).prop_map(|most| Step::Limit { most }),
        1 => seconds().prop_map(|ttl| Step::Lock { ttl }),
        1 => Just(Step::Unlock),
    ]
}

/// One job of a gate runs, some are parked behind it, and few things happen: what is rare among all
/// that can happen is frequent here, and no later job sets it right.
fn narrow() -> impl Strategy<Value = Vec<Step>> {
    let happens = prop_oneof![
        2 => Just(Step::Claim { room: 1 }),
        3 => (0..5usize).prop_map(|how| Step::Settle { which: 0, how }),
        3 => (0..4usize).prop_map(|which| Step::Revoke { which }),
        2 => (0..4usize).prop_map(|which| Step::Remove { which }),
    ];
    let gate = prop_oneof![Just(0), Just(2usize)];
    (gate, 2..5usize, prop::collection::vec(happens, 1..7)).prop_map(|(gate, jobs, happens)| {
        let (ttl, delay, priority) = (None, None, 0);
        let mut steps = vec![
            Step::Submit {
                gate,
                ttl,
                delay,
                priority
            };
            jobs
        ];
        steps.push(Step::Claim { room: 3 });
        steps.extend(happens);
        steps
    })
}

#[derive(Default)]
struct Run {
    gates: HashMap<Uuid, usize>,
    all: Vec<Uuid>,
    removed: Vec<Uuid>,
    /// Held under their newest fences.
    running: Vec<Claimed>,
    /// Taken over from waiting: they are settled at once and never run.
    limit: Option<u32>,
}

impl Run {
    fn play(&mut self, scene: &Scene, step: Step) {
        let lock = LockName::new("l").unwrap();
        let by = LockOwner::new("ada").unwrap();
        match step {
            Step::Submit {
                gate,
                ttl,
                delay,
                priority,
            } => {
                let mut message = job().priority(priority.into());
                message = match gate {
                    0 | 1 => message.concurrency(&format!("k{gate}"), MOST[gate]),
                    2 => message.lock("l"),
                    _ => message,
                };
                if let Some(ttl) = ttl {
                    message = message.ttl(secs(ttl));
                }
                if let Some(delay) = delay {
                    message = message.delay(secs(delay));
                }
                let uuid = scene.submit(message);
                self.gates.insert(uuid, gate);
                self.all.push(uuid);
            }
            Step::Claim { room } => self.claim(scene, room),
            Step::Settle { which, how } => {
                if !self.running.is_empty() {
                    let claimed = self.running.remove(which % self.running.len());
                    end(scene, &claimed, how);
                }
            }
            Step::Revoke { which } => {
                if let Some(uuid) = ready(scene, which) {
                    scene.broker().revoke(uuid, false).unwrap();
                }
            }
            Step::Remove { which } => {
                if let Some(uuid) = ready(scene, which)
                    && scene.broker().remove(&[uuid]).unwrap() == 1
                {
                    self.removed.push(uuid);
                }
            }
            Step::Pass { seconds } => self.pass(scene, seconds),
            Step::TakeOver => self.take_over(scene),
            Step::Limit { most } => {
                scene.broker().limit_queue(&queue("default"), most).unwrap();
                self.limit = most;
            }
            Step::Lock { ttl } => {
                scene
                    .store
                    .locks
                    .acquire(&lock, &by, ttl.map(secs))
                    .unwrap();
            }
            Step::Unlock => {
                scene.store.locks.release(&lock, Right::Owner(&by)).unwrap();
            }
        }
    }

    fn claim(&mut self, scene: &Scene, room: usize) {
        let before = self.running.len();
        let claimed = scene.claim(room);
        let lock = LockName::new("l").unwrap();
        for one in &claimed {
            if self.gates[&one.receipt.uuid] == 2 {
                // The lock is the attempt's, so nobody else's.
                let other = LockOwner::new("eve").unwrap();
                let got = scene.store.locks.acquire(&lock, &other, None).unwrap();
                assert!(matches!(got, Acquisition::Held(_)));
            }
        }
        let is_some = !claimed.is_empty();
        self.running.extend(claimed);
        for (gate, most) in MOST.into_iter().enumerate() {
            let is_of = |one: &&Claimed| self.gates[&one.receipt.uuid] == gate;
            let run = self.running.iter().filter(is_of).count();
            assert!(run <= most as usize, "too many of gate {gate}");
        }
        if let Some(most) = self.limit
            && is_some
        {
            assert!(
                self.running.len() <= (most as usize).max(before),
                "too many of the queue"
            );
        }
    }

    fn pass(&self, scene: &Scene, seconds: u64) {
        // Renewed by whoever runs them.
        let receipts: Vec<_> = self.running.iter().map(|one| one.receipt.clone()).collect();
        for _ in 0..seconds {
            scene.clock.pass(secs(1));
        }
        scene.broker().renew(&receipts, LEASE).unwrap();
    }

    /// All leases are lost; what is overdue is settled by whoever takes it over.
    fn take_over(&mut self, scene: &Scene) {
        scene.clock.pass(LEASE * 2);
        self.running.clear();
        for taken in scene.take_over(&Overdue::Lease) {
            end(scene, &taken, 1);
        }
        expire(scene);
    }

    /// Everything that is left can be brought to its end.
    fn drain(&mut self, scene: &Scene) {
        let lock = LockName::new("l").unwrap();
        let by = LockOwner::new("ada").unwrap();
        scene.store.locks.release(&lock, Right::Owner(&by)).unwrap();
        for _ in 0..500 {
            for claimed in std::mem::take(&mut self.running) {
                end(scene, &claimed, 0);
            }
            expire(scene);
            scene.clock.pass(secs(1));
            self.claim(scene, 3);
            if self.running.is_empty() && unfinished(scene) == 0 {
                break;
            }
        }
        assert_eq!(unfinished(scene), 0, "some wait for ever");
        for uuid in &self.all {
            let is_gone = scene.state(*uuid).is_none();
            assert_eq!(is_gone, self.removed.contains(uuid), "a job is lost");
        }
        let counts = &scene.store.catalog.queues().unwrap();
        assert!(
            counts
                .iter()
                .all(|counts| counts.ready == 0 && counts.leased == 0)
        );
    }
}

/// One of the jobs that are ready, or parked.
fn ready(scene: &Scene, which: usize) -> Option<Uuid> {
    let filter = Filter {
        states: vec![State::Ready],
        ..Filter::default()
    };
    let listed = scene.store.catalog.list(&filter, 30).unwrap();
    (!listed.is_empty()).then(|| listed[which % listed.len()].uuid)
}

fn unfinished(scene: &Scene) -> u64 {
    scene.store.catalog.unfinished(&[queue("default")]).unwrap()
}

fn expire(scene: &Scene) {
    for taken in scene.take_over(&Overdue::Expired) {
        let next = Move::Bury {
            cause: Cause::Expired,
            purge_at: None,
        };
        assert_ne!(scene.settle(&taken, next), Settled::Stale);
    }
}

fn end(scene: &Scene, claimed: &Claimed, how: usize) {
    use bulkhead_shared::sqlite::Clock;
    let next = match how {
        1 => Move::Release,
        2 => Move::Retry {
            at: scene.clock.wall().plus(secs(3)),
        },
        3 => Move::Bury {
            cause: Cause::Error,
            purge_at: None,
        },
        4 => Move::Drop {
            cause: Cause::Error,
            purge_at: None,
        },
        _ => succeed(b"1"),
    };
    assert_ne!(scene.settle(claimed, next), Settled::Stale);
}

/// So many times, of all kinds of steps and of few.
fn play_many(kind: Kind, wide: u32, few: u32) {
    let steps = prop::collection::vec(step(), 1..60).boxed();
    let narrow = narrow().boxed();
    for (steps, cases) in [(steps, wide), (narrow, few)] {
        let config = Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&steps, |steps| {
                let scene = Scene::new(kind);
                let mut run = Run::default();
                for step in steps {
                    run.play(&scene, step);
                }
                run.drain(&scene);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn limits_keep_to_their_laws_on_sqlite() {
    play_many(Kind::SqliteMemory, 100, 200);
}

#[test]
fn limits_keep_to_their_laws_on_redis() {
    play_many(Kind::Redis, 30, 80);
}

#[test]
fn limits_keep_to_their_laws_on_redis_cluster() {
    play_many(Kind::RedisCluster, 10, 15);
}
