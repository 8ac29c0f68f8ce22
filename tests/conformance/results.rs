//! Results and changes of several jobs, one after the other.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Claimed, Note, Settlement};
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::flow::Group;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::status::Status;
use bulkhead_tests::flow::{close_all, give, with_errands};
use bulkhead_tests::{Scene, TestClock, for_each_backend, job, secs, succeed};

/// Three jobs that are held.
fn three(scene: &Scene) -> ([Uuid; 3], Vec<Claimed>) {
    let uuids = [(); 3].map(|()| scene.submit(job()));
    (uuids, scene.claim(3))
}

const FAILED: Move = Move::Drop {
    cause: Cause::Error,
    purge_at: None,
};

for_each_backend!(
    results_come_in_the_order_in_which_they_were_named,
    |scene| {
        let client = Client::new(scene.store.clone());
        let ([a, b, c], held) = three(scene);
        scene.settle(&held[2], succeed(b"3"));
        scene.settle(&held[0], succeed(b"1"));
        let jobs = [a, b, c];
        let mut results = client.results(&jobs, secs(60)).unwrap().stream().unwrap();
        let (uuid, result) = results.next().unwrap();
        assert_eq!((uuid, result.unwrap().json::<u8>().unwrap()), (a, 1));
        scene.settle(&held[1], FAILED);
        let (uuid, result) = results.next().unwrap();
        assert!(uuid == b && matches!(result, Err(ClientError::Failed(_))));
        let (uuid, result) = results.next().unwrap();
        assert_eq!((uuid, result.unwrap().bytes), (c, b"3".to_vec()));
        assert!(results.next().is_none());
    }
);

for_each_backend!(results_come_in_the_order_in_which_jobs_end, |scene| {
    let client = Client::new(scene.store.clone());
    let ([a, b, c], held) = three(scene);
    let jobs = [a, b, c];
    let mut results = client.results(&jobs, secs(60)).unwrap().istream().unwrap();
    for (place, uuid) in [(2, c), (0, a), (1, b)] {
        scene.settle(&held[place], succeed(b"7"));
        let (ended, result) = results.next().unwrap();
        assert_eq!((ended, result.unwrap().uuid), (uuid, uuid));
    }
    assert!(results.next().is_none());
});

for_each_backend!(a_wait_for_results_ends_with_its_time, |scene| {
    let client = Client::new(scene.store.clone());
    let ended = scene.submit(job());
    scene.settle(&scene.claim_one(), succeed(b"1"));
    let jobs = [scene.submit(job()), Uuid::now_v7(), ended];
    let pool = client.results(&jobs, secs(0)).unwrap();
    let mut results = pool.istream().unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        let (uuid, result) = results.next().unwrap();
        match result {
            Ok(result) => assert_eq!((uuid, result.uuid), (ended, ended)),
            Err(ClientError::TimedOut { .. }) => open.push(uuid),
            Err(ClientError::NotFound { uuid: unknown }) => assert_eq!(unknown, jobs[1]),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(open, [jobs[0]]);
    assert!(results.next().is_none());
    let twice = [ended, ended];
    let error = client.results(&twice, secs(1)).unwrap_err();
    assert!(matches!(error, ClientError::Twice { uuid } if uuid == ended));
});

for_each_backend!(
    a_result_has_a_time_and_may_be_deleted_without_its_job,
    |scene| {
        let client = Client::new(scene.store.clone());
        let uuid = scene.submit(job());
        assert!(!client.result_exists(uuid).unwrap());
        scene.settle(&scene.claim_one(), succeed(b"5"));
        assert!(client.result_exists(uuid).unwrap());
        let result = client.result_with_metadata(uuid, None).unwrap();
        assert_eq!((result.uuid, result.timestamp), (uuid, TestClock::START));
        assert_eq!(client.delete_results(&[uuid, Uuid::now_v7()]).unwrap(), 1);
        assert!(!client.result_exists(uuid).unwrap());
        assert_eq!(client.status(uuid).unwrap().status, Status::Succeeded);
    }
);

for_each_backend!(changes_of_a_job_are_told_until_its_end, |scene| {
    let client = Client::new(scene.store.clone());
    let uuid = [scene.submit(job())];
    let mut updates = client.updates(&uuid, secs(60)).unwrap();
    let mut next = || updates.next().map(|update| update.unwrap());
    assert_eq!(next().unwrap().status, Status::Submitted);
    let held = scene.claim_one();
    assert_eq!(next().unwrap().status, Status::Running);
    let note = Note {
        receipt: held.receipt.clone(),
        started_at: TestClock::START,
        pid: 7,
        progress: Some(b"{\"page\":1}".to_vec()),
    };
    scene.broker().note(&[note]).unwrap();
    assert_eq!(next().unwrap().progress.unwrap()["page"], 1);
    scene.settle(&held, succeed(b"5"));
    assert_eq!(next().unwrap().status, Status::Succeeded);
    assert!(next().is_none());
});

for_each_backend!(only_what_has_ended_is_forgotten, |scene| {
    let client = Client::new(scene.store.clone());
    let uuid = scene.submit(job().priority(4));
    assert!(client.exists(uuid).unwrap());
    let message = client.message(uuid).unwrap();
    assert_eq!((message.uuid, message.priority), (uuid, 4));
    assert_eq!(message.payload, br#"{"args":[1],"kwargs":{}}"#);
    assert!(matches!(client.forget(uuid), Err(ClientError::NotEnded(_))));
    let held = scene.claim_one();
    assert!(matches!(client.forget(uuid), Err(ClientError::NotEnded(_))));
    assert!(!client.remove(uuid).unwrap());
    scene.settle(&held, succeed(b"5"));
    client.forget(uuid).unwrap();
    assert!(!client.exists(uuid).unwrap());
    assert!(matches!(
        client.forget(uuid),
        Err(ClientError::NotFound { .. })
    ));
    assert!(matches!(
        client.message(uuid),
        Err(ClientError::NotFound { .. })
    ));
});

for_each_backend!(
    results_of_a_message_and_of_what_follows_it_are_one_list,
    |scene| {
        let client = Client::new(scene.store.clone());
        let uuid = client.submit(job().callback((job(), job()))).unwrap();
        let mut line = vec![uuid];
        line.extend(client.message(uuid).unwrap().descendants().unwrap());
        let are_there = || line.iter().all(|uuid| client.result_exists(*uuid).unwrap());
        for result in [b"1", b"2", b"3"] {
            assert!(!are_there());
            give(scene, &scene.claim_one(), result);
        }
        assert!(are_there());
        let results = client.results(&line, secs(60)).unwrap().istream().unwrap();
        let results = results.map(|(_, result)| result.unwrap().json::<u8>().unwrap());
        assert_eq!(results.collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(client.delete_results(&line).unwrap(), 3);
        assert!(!client.result_exists(line[2]).unwrap());
    }
);

/// Ends a job well, a second later than anything before.
fn write(scene: &Scene, held: &Claimed, result: &[u8]) {
    scene.clock.pass(secs(1));
    let settlement = Settlement {
        at: scene.clock.wall(),
        ..with_errands(scene, held, succeed(result), result)
    };
    scene.broker().turn(vec![settlement], None).unwrap();
}

for_each_backend!(
    a_message_and_all_that_follows_it_give_their_results_in_one_call,
    |scene| {
        let client = Client::new(scene.store.clone());
        let members = Group::new().members([job(), job()]);
        let uuid = client.submit(job().callback((members, job()))).unwrap();
        let descent = client.descent(uuid).unwrap();
        let [_, one, other, join] = descent.uuids().try_into().unwrap();
        assert!(!descent.has_results().unwrap());
        let early = descent.results(secs(0)).unwrap_err();
        assert!(matches!(early, ClientError::TimedOut { .. }), "{early}");
        write(scene, &scene.claim_one(), b"1");
        // The second member first.
        let mut held = scene.claim(2);
        held.sort_by_key(|held| held.receipt.uuid != other);
        for (held, result) in held.iter().zip([b"2", b"3"]) {
            write(scene, held, result);
        }
        close_all(scene);
        assert!(!descent.has_results().unwrap());
        write(scene, &scene.claim_one(), b"4");
        assert!(descent.has_results().unwrap());
        let results = descent.results(secs(60)).unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|r| (r.uuid, r.bytes.as_slice()))
            .collect();
        let expected: [(Uuid, &[u8]); 4] = [(uuid, b"1"), (other, b"2"), (one, b"3"), (join, b"4")];
        assert_eq!(told, expected);
        assert_eq!(descent.delete_results().unwrap(), 4);
        assert!(!descent.has_results().unwrap());
        assert!(matches!(
            descent.results(secs(60)),
            Err(ClientError::NoResult { .. })
        ));
    }
);

for_each_backend!(
    of_what_follows_a_failure_there_is_nothing_to_wait_for,
    |scene| {
        let client = Client::new(scene.store.clone());
        let uuid = client.submit(job().callback((job(), job()))).unwrap();
        let descent = client.descent(uuid).unwrap();
        give(scene, &scene.claim_one(), b"1");
        scene.settle(&scene.claim_one(), FAILED);
        let error = descent.results(secs(60)).unwrap_err();
        assert!(matches!(&error, ClientError::Failed(job) if job.uuid == descent.uuids()[1]));
    }
);
