//! Several handles and several processes at one store.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Claim, Overdue, Presence, Selection, Submission};
use bulkhead_shared::catalog::Filter;
use bulkhead_shared::{Message, Timestamp, sqlite};
use bulkhead_tests::{
    Helper, LEASE, TestClock, for_each_backend, job, queue, role, supervisor, task, uuids,
};

for_each_backend!(two_handles_never_claim_the_same_job, |scene| {
    for _ in 0..400 {
        scene.submit(job());
    }
    let claim_all = || {
        let store = scene.again();
        let selection = Selection {
            queues: vec![queue("default")],
            tasks: vec![task("add")],
        };
        let mut mine = Vec::new();
        loop {
            let claim = Claim {
                owner: supervisor(),
                selection: &selection,
                room: 7,
                lease: LEASE,
            };
            let turned = store.broker.turn(Vec::new(), Some(claim)).unwrap();
            if turned.claimed.is_empty() {
                return mine;
            }
            mine.extend(uuids(&turned.claimed));
        }
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim_all)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(all.len(), 400);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
});

/// Claims the job of the store in the argument and waits for its death.
#[test]
fn part_claims_a_job_and_is_killed() {
    let Some(path) = role("claim") else { return };
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 1,
        lease: LEASE * 1000,
    };
    let turned = store.broker.turn(Vec::new(), Some(claim)).unwrap();
    #[expect(clippy::print_stdout, reason = "a helper speaks to its test")]
    {
        println!("claimed {}", turned.claimed[0].receipt.uuid);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn the_jobs_of_a_supervisor_that_was_killed_are_taken_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let path = path.to_str().unwrap();
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    let message = job().build().unwrap();
    let queue = queue("default");
    store
        .broker
        .submit(&[Submission {
            message: &message,
            queue: &queue,
        }])
        .unwrap();
    let part = "processes::part_claims_a_job_and_is_killed";
    let mut helper = Helper::start(part, "claim", path);
    assert_eq!(helper.hear("claimed"), message.uuid.to_string());
    let me = supervisor();
    let take = || {
        store
            .broker
            .take_over(&Overdue::Lease, me, 5, LEASE)
            .unwrap()
    };
    assert!(take().is_empty(), "its supervisor lives");
    helper.kill();
    assert_eq!(uuids(&take()), [message.uuid]);
}

#[test]
fn the_jobs_of_a_machine_that_was_started_anew_are_taken_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let path = path.to_str().unwrap();
    let clock = std::sync::Arc::new(TestClock::new());
    let options = Options::new("sqlite:");
    let open = || sqlite::open_with_clock(path, &options, clock.clone()).unwrap();
    let store = open();
    let message = job().build().unwrap();
    let queue = queue("default");
    store
        .broker
        .submit(&[Submission {
            message: &message,
            queue: &queue,
        }])
        .unwrap();
    let selection = Selection {
        queues: vec![queue.clone()],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 1,
        lease: LEASE,
    };
    store.broker.turn(Vec::new(), Some(claim)).unwrap();
    clock.reboot();
    // The old store still runs, which no reboot leaves; its lock alone must not count.
    let after = open();
    let taken = after
        .broker
        .take_over(&Overdue::Lease, supervisor(), 5, LEASE)
        .unwrap();
    assert_eq!(uuids(&taken), [message.uuid]);
}

/// Submits a hundred jobs to the store in the argument.
#[test]
fn part_submits_a_hundred_jobs() {
    let Some(path) = role("submit") else { return };
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    let queue = queue("default");
    for _ in 0..100 {
        let message = Message::new("add").build().unwrap();
        store
            .broker
            .submit(&[Submission {
                message: &message,
                queue: &queue,
            }])
            .unwrap();
    }
}

#[test]
fn twenty_processes_that_make_and_use_a_store_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let path = path.to_str().unwrap();
    let part = "processes::part_submits_a_hundred_jobs";
    let mut helpers: Vec<_> = (0..20)
        .map(|_| Helper::start(part, "submit", path))
        .collect();
    helpers.iter_mut().for_each(Helper::finish);
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    assert_eq!(
        store.catalog.list(&Filter::default(), 5000).unwrap().len(),
        2000
    );
    assert_eq!(store.catalog.unfinished(&[queue("default")]).unwrap(), 2000);
}

/// Announces itself at the store in the argument and waits for its death.
#[test]
fn part_announces_itself_and_is_killed() {
    let Some(path) = role("announce") else { return };
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    let presence = Presence {
        id: supervisor(),
        host: "here".into(),
        pid: std::process::id(),
        selection: Selection {
            queues: vec![queue("default")],
            tasks: vec![task("add")],
        },
        tasks: Vec::new(),
        version: "1".into(),
        slots: 1,
        started_at: Timestamp::now(),
    };
    store.broker.announce(&presence).unwrap();
    #[expect(clippy::print_stdout, reason = "a helper speaks to its test")]
    {
        println!("announced {}", presence.id);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_fleet_knows_at_once_that_a_supervisor_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let path = path.to_str().unwrap();
    let store = open(&Options::new(&format!("sqlite:{path}"))).unwrap();
    let part = "processes::part_announces_itself_and_is_killed";
    let mut helper = Helper::start(part, "announce", path);
    let id = helper.hear("announced");
    let alive = || {
        let fleet = store.catalog.fleet().unwrap();
        assert_eq!(fleet.len(), 1);
        assert_eq!(fleet[0].id.to_string(), id);
        fleet[0].is_alive
    };
    assert!(alive());
    helper.kill();
    assert!(!alive());
    store.broker.prune(100).unwrap();
    assert_eq!(store.catalog.fleet().unwrap(), []);
}
