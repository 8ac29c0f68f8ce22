//! The bell: commits are heard, and no commit is missed.

use bulkhead_shared::broker::{Interrupt, Wake};
use bulkhead_tests::{for_each_backend, job, secs};

for_each_backend!(a_commit_before_the_wait_is_heard_in_it, |scene| {
    let mut bell = scene.again().broker.bell().unwrap();
    scene.submit(job());
    assert_eq!(bell.wait(None, secs(60)).unwrap(), Wake::Bell);
    assert_eq!(bell.wait(None, secs(0)).unwrap(), Wake::TimedOut);
});

for_each_backend!(a_wait_ends_when_it_is_interrupted, |scene| {
    let mut bell = scene.store.broker.bell().unwrap();
    let interrupt = Interrupt::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| interrupt.raise());
        let wake = bell.wait(Some(&interrupt), secs(60)).unwrap();
        assert_eq!(wake, Wake::Interrupted);
    });
});

for_each_backend!(
    a_running_job_that_is_revoked_rings_for_its_supervisor,
    |scene| {
        let uuid = scene.submit(job());
        scene.claim_one();
        let mut bell = scene.store.broker.bell().unwrap();
        scene.again().broker.revoke(uuid, false).unwrap();
        assert_eq!(bell.wait(None, secs(60)).unwrap(), Wake::Bell);
    }
);
