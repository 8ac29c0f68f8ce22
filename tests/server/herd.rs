//! Of many that wait for the same work one wakes for each job.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Heed, Listen, Selection, SupervisorId, Wake};
use bulkhead_tests::{Kind, Scene, job, queue, secs, task};

const WAITING: usize = 8;

#[test]
fn one_of_eight_that_wait_wakes_for_a_job() {
    let scene = Scene::new(Kind::Redis);
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let listen = || Listen::Work {
        owner: SupervisorId(Uuid::now_v7()),
        selection: &selection,
    };
    let stores: Vec<_> = (0..WAITING).map(|_| scene.again()).collect();
    let mut bells: Vec<_> = stores
        .iter()
        .map(|store| store.broker.bell(listen()).unwrap())
        .collect();
    for bell in &mut bells {
        let nothing = bell.wait(Heed::Everything, None, secs(0)).unwrap();
        assert_eq!(nothing, Wake::TimedOut);
    }
    let woken: usize = std::thread::scope(|scope| {
        let waits: Vec<_> = bells
            .iter_mut()
            .map(|bell| scope.spawn(|| bell.wait(Heed::Everything, None, secs(2)).unwrap()))
            .collect();
        scene.submit(job());
        let woken = waits.into_iter().map(|wait| wait.join().unwrap());
        woken.filter(|wake| *wake == Wake::Bell).count()
    });
    assert_eq!(woken, 1);
}
