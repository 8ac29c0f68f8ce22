//! Random moves of locks beside a model that cannot be wrong: who holds, till when.

use std::time::Duration;

use bulkhead_shared::lock::{Acquisition, Release, Right};
use bulkhead_shared::{LockName, LockOwner};
use bulkhead_tests::{Kind, Scene};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire {
        lock: usize,
        owner: usize,
        ttl: Option<u64>,
    },
    Renew {
        lock: usize,
        old: bool,
        ttl: Option<u64>,
    },
    ReleaseByFence {
        lock: usize,
        old: bool,
    },
    ReleaseByOwner {
        lock: usize,
        owner: usize,
    },
    Force {
        lock: usize,
    },
    Pass {
        ms: u64,
    },
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    let (lock, owner) = (0..2usize, 0..3usize);
    let ttl = || prop::option::weighted(0.8, 1..40u64);
    prop_oneof![
        4 => (lock.clone(), owner.clone(), ttl())
            .prop_map(|(lock, owner, ttl)| Step::Acquire { lock, owner, ttl }),
        1 => (lock.clone(), any::<bool>(), ttl())
            .prop_map(|(lock, old, ttl)| Step::Renew { lock, old, ttl }),
        1 => (lock.clone(), any::<bool>())
            .prop_map(|(lock, old)| Step::ReleaseByFence { lock, old }),
        1 => (lock.clone(), owner).prop_map(|(lock, owner)| Step::ReleaseByOwner { lock, owner }),
        1 => lock.prop_map(|lock| Step::Force { lock }),
        3 => (1..30u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Prune),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    owner: usize,
    fence: u64,
    till: Option<u64>,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    locks: [Option<Held>; 2],
    /// The fence before the newest, of each.
    old: [u64; 2],
    newest: [u64; 2],
    highest: u64,
}

impl Model {
    fn held(&self, lock: usize) -> Option<Held> {
        self.locks[lock].filter(|held| held.till.is_none_or(|till| till > self.now))
    }
}

fn play(scene: &Scene, model: &mut Model, step: Step) {
    let locks = &scene.store.locks;
    let name = |lock: usize| LockName::new(&format!("l{lock}")).unwrap();
    let owner = |owner: usize| LockOwner::new(&format!("o{owner}")).unwrap();
    let length = |ttl: Option<u64>| ttl.map(Duration::from_millis);
    let till = |now: u64, ttl: Option<u64>| ttl.map(|ttl| now + ttl);
    match step {
        Step::Acquire {
            lock,
            owner: who,
            ttl,
        } => {
            let got = locks
                .acquire(&name(lock), &owner(who), length(ttl))
                .unwrap();
            match (model.held(lock), got) {
                (None, Acquisition::Acquired { fence }) => {
                    assert!(
                        fence > model.highest,
                        "{fence} is not above {}",
                        model.highest
                    );
                    model.highest = fence;
                    model.old[lock] = model.newest[lock];
                    model.newest[lock] = fence;
                    let till = till(model.now, ttl);
                    model.locks[lock] = Some(Held {
                        owner: who,
                        fence,
                        till,
                    });
                }
                (Some(held), Acquisition::AlreadyYours { fence }) => {
                    assert_eq!((held.owner, held.fence), (who, fence));
                }
                (Some(held), Acquisition::Held(found)) => {
                    assert_ne!(held.owner, who);
                    assert_eq!((found.owner, found.fence), (owner(held.owner), held.fence));
                }
                (held, got) => panic!("{held:?} gave {got:?}"),
            }
        }
        Step::Renew { lock, old, ttl } => {
            let fence = if old {
                model.old[lock]
            } else {
                model.newest[lock]
            };
            let held = locks.renew_lock(&name(lock), fence, length(ttl)).unwrap();
            let expected = model.held(lock).filter(|held| held.fence == fence);
            assert_eq!(held, expected.is_some());
            if let Some(held) = expected {
                model.locks[lock] = Some(Held {
                    till: till(model.now, ttl),
                    ..held
                });
            }
        }
        Step::ReleaseByFence { lock, old } => {
            let fence = if old {
                model.old[lock]
            } else {
                model.newest[lock]
            };
            let is_his = model.held(lock).is_some_and(|held| held.fence == fence);
            release(scene, model, lock, Right::Fence(fence), is_his);
        }
        Step::ReleaseByOwner { lock, owner: who } => {
            let is_his = model.held(lock).is_some_and(|held| held.owner == who);
            release(scene, model, lock, Right::Owner(&owner(who)), is_his);
        }
        Step::Force { lock } => release(scene, model, lock, Right::Force, true),
        Step::Pass { ms } => {
            model.now += ms;
            scene.clock.pass(Duration::from_millis(ms));
        }
        Step::Prune => drop(scene.broker().prune(100).unwrap()),
    }
    for lock in 0..2 {
        let found = locks.holder(&name(lock)).unwrap().map(|held| held.fence);
        assert_eq!(found, model.held(lock).map(|held| held.fence));
    }
    let listed = locks.locks(9).unwrap().len();
    assert_eq!(
        listed,
        (0..2).filter(|lock| model.held(*lock).is_some()).count()
    );
}

fn release(scene: &Scene, model: &mut Model, lock: usize, right: Right<'_>, is_his: bool) {
    let name = LockName::new(&format!("l{lock}")).unwrap();
    let released = scene.store.locks.release(&name, right).unwrap();
    match model.held(lock) {
        None => assert_eq!(released, Release::Free),
        Some(_) if is_his => {
            assert_eq!(released, Release::Released);
            model.locks[lock] = None;
        }
        Some(held) => {
            assert!(matches!(released, Release::Refused(found) if found.fence == held.fence));
        }
    }
}

/// One scene for all cases: fences are to grow over all of it.
fn play_many(kind: Kind, cases: u32) {
    let scene = Scene::new(kind);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let highest = std::cell::Cell::new(0);
    let steps = prop::collection::vec(step(), 1..40);
    runner
        .run(&steps, |steps| {
            for lock in 0..2 {
                let name = LockName::new(&format!("l{lock}")).unwrap();
                scene.store.locks.release(&name, Right::Force).unwrap();
            }
            let mut model = Model {
                highest: highest.get(),
                ..Model::default()
            };
            for step in steps {
                play(&scene, &mut model, step);
                highest.set(model.highest);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn locks_keep_to_their_model_on_sqlite() {
    play_many(Kind::SqliteMemory, 100);
}

#[test]
fn locks_keep_to_their_model_on_redis() {
    play_many(Kind::Redis, 40);
}

#[test]
fn locks_keep_to_their_model_on_redis_cluster() {
    play_many(Kind::RedisCluster, 15);
}
