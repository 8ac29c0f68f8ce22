//! The bell: commits are heard, and no commit is missed.

use bulkhead_shared::broker::{Bell, Heed, Interrupt, Listen, Selection, Wake};
use bulkhead_tests::{Scene, for_each_backend, job, queue, secs, task};

/// The bell of the scene's supervisor, in a store opened once more.
fn bell(scene: &Scene) -> Box<dyn Bell> {
    let selection = Selection {
        queues: vec![queue("default"), queue("later")],
        tasks: vec![task("add")],
    };
    let listen = Listen::Work {
        owner: scene.me,
        selection: &selection,
    };
    scene.again().broker.bell(listen).unwrap()
}

for_each_backend!(a_commit_before_the_wait_is_heard_in_it, |scene| {
    let mut bell = bell(scene);
    scene.submit(job());
    let mut wait = |at_most| bell.wait(Heed::Everything, None, at_most).unwrap();
    assert_eq!(wait(secs(60)), Wake::Bell);
    assert_eq!(wait(secs(0)), Wake::TimedOut);
});

for_each_backend!(a_commit_to_any_of_the_queues_is_heard, |scene| {
    let mut bell = bell(scene);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.submit(job().queue("later")));
        let wake = bell.wait(Heed::Everything, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
    });
});

for_each_backend!(a_wait_ends_when_it_is_interrupted, |scene| {
    let mut bell = bell(scene);
    let interrupt = Interrupt::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| interrupt.raise());
        let wake = bell.wait(Heed::Everything, Some(&interrupt), secs(60));
        assert_eq!(wake.unwrap(), Wake::Interrupted);
    });
});

for_each_backend!(
    a_running_job_that_is_revoked_rings_for_its_supervisor,
    |scene| {
        let uuid = scene.submit(job());
        scene.claim_one();
        let mut bell = bell(scene);
        scene.again().broker.revoke(uuid, false).unwrap();
        let wake = bell.wait(Heed::Revocations, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
    }
);

for_each_backend!(
    a_ring_that_comes_to_somebody_without_room_reaches_somebody_with_room,
    |scene| {
        let (mut full, mut free) = (bell(scene), bell(scene));
        let nothing = full.wait(Heed::Everything, None, secs(0)).unwrap();
        assert_eq!(nothing, Wake::TimedOut);
        scene.submit(job());
        full.wait(Heed::Revocations, None, secs(0)).unwrap();
        let wake = free.wait(Heed::Everything, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
    }
);

for_each_backend!(whoever_waits_for_a_job_hears_its_end, |scene| {
    let uuid = scene.submit(job());
    let claimed = scene.claim_one();
    let mut bell = scene.again().broker.bell(Listen::Jobs(&[uuid])).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| scene.settle(&claimed, bulkhead_tests::succeed(b"1")));
        let wake = bell.wait(Heed::Everything, None, secs(60)).unwrap();
        assert_eq!(wake, Wake::Bell);
    });
});
