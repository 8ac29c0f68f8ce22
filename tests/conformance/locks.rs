//! Locks: one holder at a time, under fences that only grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::Overdue;
use bulkhead_shared::client::Client;
use bulkhead_shared::lock::{Acquisition, IfMine, Level, Lock, LockError, Release, Right, Tenure};
use bulkhead_shared::{LockName, LockOwner};
use bulkhead_tests::{Kind, LEASE, for_each_backend, job, secs, succeed};

/// Long enough for any machine.
const LONG: Duration = secs(60);

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn owner(text: &str) -> LockOwner {
    LockOwner::new(text).unwrap()
}

fn fence_of(got: Acquisition) -> u64 {
    match got {
        Acquisition::Acquired { fence } => fence,
        other => panic!("not acquired: {other:?}"),
    }
}

fn take(store: &Backend, by: &str, ttl: Option<Duration>) -> Acquisition {
    store.locks.acquire(&name("l"), &owner(by), ttl).unwrap()
}

fn holder(store: &Backend) -> Option<String> {
    let held = store.locks.holder(&name("l")).unwrap();
    held.map(|held| held.owner.to_string())
}

for_each_backend!(a_lock_has_one_holder_and_says_who_it_is, |scene| {
    let fence = fence_of(take(&scene.store, "a", Some(secs(10))));
    assert_eq!(
        take(&scene.store, "a", None),
        Acquisition::AlreadyYours { fence }
    );
    let Acquisition::Held(held) = take(&scene.store, "b", None) else {
        panic!("held by two");
    };
    assert_eq!((held.owner, held.fence), (owner("a"), fence));
    assert_eq!(held.left, Some(secs(10)));
    let other = scene
        .store
        .locks
        .acquire(&name("m"), &owner("b"), None)
        .unwrap();
    assert!(fence_of(other) > fence);
    let all = scene.store.locks.locks(10).unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|held| (held.name.as_str(), held.left))
        .collect();
    assert_eq!(all, [("l", Some(secs(10))), ("m", None)]);
    assert_eq!(scene.store.locks.locks(1).unwrap().len(), 1);
    let elsewhere = scene.namespace("elsewhere");
    assert_eq!(holder(&elsewhere), None);
    fence_of(take(&elsewhere, "b", None));
});

for_each_backend!(only_its_holder_releases_a_lock_unless_forced, |scene| {
    let locks = &scene.store.locks;
    let lock = name("l");
    assert_eq!(locks.release(&lock, Right::Force).unwrap(), Release::Free);
    let fence = fence_of(take(&scene.store, "a", None));
    for right in [Right::Fence(fence + 1), Right::Owner(&owner("b"))] {
        let Release::Refused(held) = locks.release(&lock, right).unwrap() else {
            panic!("released by {right:?}");
        };
        assert_eq!(held.fence, fence);
    }
    assert_eq!(
        locks.release(&lock, Right::Owner(&owner("a"))).unwrap(),
        Release::Released
    );
    let second = fence_of(take(&scene.store, "b", None));
    assert!(second > fence);
    assert!(matches!(
        locks.release(&lock, Right::Fence(fence)).unwrap(),
        Release::Refused(_)
    ));
    assert_eq!(
        locks.release(&lock, Right::Fence(second)).unwrap(),
        Release::Released
    );
    let third = fence_of(take(&scene.store, "b", None));
    assert!(third > second);
    assert_eq!(
        locks.release(&lock, Right::Force).unwrap(),
        Release::Released
    );
    assert_eq!(holder(&scene.store), None);
});

for_each_backend!(a_lock_ends_with_its_time_and_not_before, |scene| {
    let locks = &scene.store.locks;
    let lock = name("l");
    let first = fence_of(take(&scene.store, "a", Some(secs(10))));
    scene.clock.pass(secs(9));
    assert!(locks.renew_lock(&lock, first, Some(secs(10))).unwrap());
    scene.clock.pass(secs(9));
    assert_eq!(holder(&scene.store).as_deref(), Some("a"));
    scene.clock.pass(secs(1));
    assert_eq!(holder(&scene.store), None);
    assert!(!locks.renew_lock(&lock, first, Some(secs(10))).unwrap());
    assert_eq!(
        locks.release(&lock, Right::Fence(first)).unwrap(),
        Release::Free
    );
    let second = fence_of(take(&scene.store, "b", Some(secs(10))));
    assert!(second > first);
    assert!(!locks.renew_lock(&lock, first, Some(secs(10))).unwrap());
    assert_eq!(holder(&scene.store).as_deref(), Some("b"));
});

for_each_backend!(a_step_of_the_wall_clock_moves_no_end_of_a_lock, |scene| {
    fence_of(take(&scene.store, "a", Some(secs(10))));
    scene
        .clock
        .set_wall(bulkhead_tests::TestClock::START.plus(secs(86_400)));
    assert_eq!(holder(&scene.store).as_deref(), Some("a"));
});

for_each_backend!(
    a_lock_that_was_forgotten_leaves_nothing_but_higher_fences,
    |scene| {
        let mut last = 0;
        for _ in 0..3 {
            let fence = fence_of(take(&scene.store, "a", Some(secs(1))));
            assert!(fence > last);
            last = fence;
            scene.clock.pass(secs(2));
            scene.broker().prune(100).unwrap();
            assert!(scene.store.locks.locks(10).unwrap().is_empty());
        }
    }
);

for_each_backend!(the_lock_of_an_attempt_falls_with_it, |scene| {
    scene.submit(job());
    let claimed = scene.claim_one();
    let receipt = &claimed.receipt;
    let level = Level::Task {
        job: receipt.uuid,
        fence: receipt.fence,
    };
    let by = level.owner().unwrap();
    let first = scene.store.locks.acquire(&name("l"), &by, None).unwrap();
    let first = fence_of(first);
    assert!(matches!(
        take(&scene.store, "b", None),
        Acquisition::Held(_)
    ));
    scene.settle(&claimed, succeed(b"1"));
    assert_eq!(holder(&scene.store), None);
    assert!(scene.store.locks.locks(9).unwrap().is_empty());
    assert!(fence_of(take(&scene.store, "b", None)) > first);
});

for_each_backend!(
    the_lock_of_an_attempt_falls_when_another_takes_the_job_over,
    |scene| {
        scene.submit(job());
        let claimed = scene.claim_one();
        let (uuid, fence) = (claimed.receipt.uuid, claimed.receipt.fence);
        let of_attempt = Tenure::Attempt { job: uuid, fence }.owner();
        let of_job = Tenure::Job(uuid).owner();
        scene
            .store
            .locks
            .acquire(&name("l"), &of_attempt, None)
            .unwrap();
        scene
            .store
            .locks
            .acquire(&name("m"), &of_job, None)
            .unwrap();
        scene.clock.pass(LEASE);
        let taken = scene.take_over(&Overdue::Lease).remove(0);
        assert_eq!(holder(&scene.store), None);
        let of_whole = |store: &Backend| store.locks.holder(&name("m")).unwrap();
        assert_eq!(of_whole(&scene.store).map(|held| held.owner), Some(of_job));
        scene.settle(&taken, succeed(b"1"));
        assert_eq!(of_whole(&scene.store), None);
        scene.broker().prune(100).unwrap();
        fence_of(take(&scene.store, "b", None));
    }
);

for_each_backend!(a_lock_is_passed_on_under_its_fence, |scene| {
    let locks = &scene.store.locks;
    let fence = fence_of(take(&scene.store, "a", Some(secs(1))));
    assert!(!locks.pass_on(&name("l"), fence + 1, &owner("b")).unwrap());
    assert!(locks.pass_on(&name("l"), fence, &owner("b")).unwrap());
    scene.clock.pass(secs(2));
    let held = locks.holder(&name("l")).unwrap().unwrap();
    assert_eq!(
        (held.owner, held.fence, held.left),
        (owner("b"), fence, None)
    );
});

for_each_backend!(a_guard_releases_what_it_took_and_nothing_else, |scene| {
    let client = Client::new(scene.store.clone());
    let guard = client.lock("l").acquire(Duration::ZERO).unwrap();
    let fence = guard.fence();
    let refused = client.lock("l").acquire(LONG).unwrap_err();
    assert!(matches!(&refused, LockError::AlreadyYours { fence: f, .. } if *f == fence));
    assert!(
        refused.to_string().contains("release it first"),
        "{refused}"
    );
    let left = client
        .lock("l")
        .if_mine(IfMine::Leave)
        .acquire(LONG)
        .unwrap_err();
    assert!(matches!(left, LockError::Held(_)));
    let shared = client
        .lock("l")
        .if_mine(IfMine::Share)
        .acquire(LONG)
        .unwrap();
    assert_eq!(shared.fence(), fence);
    drop(shared);
    assert!(client.lock("l").holder().unwrap().is_some());
    let other = client
        .lock("l")
        .owner("another")
        .acquire(Duration::ZERO)
        .unwrap_err();
    assert!(matches!(other, LockError::Held(held) if held.fence == fence));
    drop(guard);
    assert!(client.lock("l").holder().unwrap().is_none());
    let kept = client
        .lock("l")
        .level(Level::Thread)
        .acquire(Duration::ZERO)
        .unwrap()
        .keep();
    assert!(
        client
            .lock("l")
            .holder()
            .unwrap()
            .is_some_and(|held| held.fence == kept)
    );
});

for_each_backend!(a_guard_whose_lock_is_lost_says_so, |scene| {
    let client = Client::new(scene.store.clone());
    let lock = || {
        client
            .lock("l")
            .ttl(secs(1))
            .acquire(Duration::ZERO)
            .unwrap()
    };
    let guard = lock();
    scene.clock.pass(secs(1));
    assert!(matches!(guard.renew(secs(1)), Err(LockError::Lost { .. })));
    assert!(matches!(guard.release(), Err(LockError::Lost { .. })));
    let guard = lock();
    scene.store.locks.release(&name("l"), Right::Force).unwrap();
    let next = client
        .lock("l")
        .owner("next")
        .acquire(Duration::ZERO)
        .unwrap();
    drop(guard);
    assert_eq!(holder(&scene.store).as_deref(), Some("next"));
    drop(next);
    let none = client.lock("l").ttl(Duration::ZERO).acquire(Duration::ZERO);
    assert!(matches!(none, Err(LockError::NoTime { .. })));
    assert!(matches!(
        client.lock("a b").acquire(LONG),
        Err(LockError::Name(_))
    ));
});

for_each_backend!(whoever_waits_has_the_lock_when_it_is_released, |scene| {
    let first = Lock::new(&scene.store, "l")
        .owner("a")
        .acquire(Duration::ZERO)
        .unwrap();
    let other = match scene.kind {
        Kind::SqliteMemory => scene.store.clone(),
        _ => scene.again(),
    };
    let waits = std::thread::spawn(move || {
        let guard = Lock::new(&other, "l").owner("b").acquire(LONG).unwrap();
        guard.fence()
    });
    let fence = first.fence();
    first.release().unwrap();
    assert!(waits.join().unwrap() > fence);
    assert_eq!(holder(&scene.store), None);
});

for_each_backend!(a_wait_for_a_lock_ends_at_its_deadline, |scene| {
    let _first = Lock::new(&scene.store, "l")
        .owner("a")
        .acquire(Duration::ZERO)
        .unwrap();
    let waited = Lock::new(&scene.store, "l")
        .owner("b")
        .acquire(Duration::from_millis(20));
    assert!(matches!(waited, Err(LockError::Held(held)) if held.owner == owner("a")));
});

for_each_backend!(
    threads_that_fight_for_a_lock_hold_it_one_at_a_time,
    |scene| {
        const ROUNDS: usize = 20;
        let (inside, last) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let lock = Lock::new(&scene.store, "l").level(Level::Thread);
                        let guard = lock.acquire(LONG).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        assert!(last.swap(guard.fence(), Ordering::SeqCst) < guard.fence());
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    }
                });
            }
        });
        assert_eq!(holder(&scene.store), None);
    }
);
