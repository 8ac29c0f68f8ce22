//! What an ending brings with it: chains, groups and their joins.

use bulkhead_shared::backend::{Options, open as open_store};
use bulkhead_shared::broker::{Claim, Revocation, Selection, Settled, Submission, Submitted};
use bulkhead_shared::catalog::State;
use bulkhead_shared::client::Client;
use bulkhead_shared::fault;
use bulkhead_shared::finding::{Depth, Severity};
use bulkhead_shared::flow::{Group, OnFailed};
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, Namespace, QueueName, Timestamp, Uuid};
use bulkhead_tests::flow::{
    close, close_all, fail, give, header_of, open, previous_of, with_errands, with_errands_at,
};
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::{
    Helper, LEASE, Scene, TestClock, for_each_backend, job, queue, redis_server, role, succeed,
    supervisor, task, until,
};

/// Claims the only job of a queue.
fn claim_in(scene: &Scene, name: &str) -> bulkhead_shared::broker::Claimed {
    let mut claimed = scene.claim_from(name, 2);
    assert_eq!(claimed.len(), 1, "one job was expected in {name}");
    claimed.remove(0)
}

pub(crate) fn on_its_way(scene: &Scene) -> (u64, u64) {
    let flows = scene.store.catalog.flows().unwrap();
    (flows.groups, flows.errands)
}

for_each_backend!(
    the_next_step_is_there_when_the_one_before_has_ended,
    |scene| {
        let chain = job().callback((job(), job().queue("later"), job()));
        let message = scene.build(chain);
        let steps = message.descendants().unwrap();
        assert_eq!(scene.offer(&message), Submitted::Created);
        assert_eq!(scene.state(steps[0]), None);
        assert_eq!(give(scene, &scene.claim_one(), b"[1]"), Settled::Applied);
        let second = scene.claim_one();
        assert_eq!(second.receipt.uuid, steps[0]);
        assert_eq!(previous_of(&second).as_deref(), Some("[1]"));
        let header = header_of(&second);
        assert_eq!(header.progenitor_uuid, Some(message.uuid));
        assert_eq!(header.previous_message_uuid, Some(message.uuid));
        give(scene, &second, b"2");
        let third = claim_in(scene, "later");
        assert_eq!(third.receipt.uuid, steps[1]);
        assert_eq!(header_of(&third).previous_message_uuid, Some(steps[0]));
        give(scene, &third, b"3");
        let fourth = scene.claim_one();
        assert_eq!(
            (fourth.receipt.uuid, previous_of(&fourth).as_deref()),
            (steps[2], Some("3"))
        );
        give(scene, &fourth, b"4");
        assert_eq!(on_its_way(scene), (0, 0));
    }
);

for_each_backend!(only_a_settlement_that_counts_brings_something, |scene| {
    let message = scene.build(job().callback(job().queue("later")));
    let next = message.descendants().unwrap()[0];
    scene.offer(&message);
    let zombie = scene.claim_one();
    scene.settle(&zombie, Move::Release);
    assert_eq!(give(scene, &zombie, b"1"), Settled::Stale);
    assert_eq!(scene.state(next), None);
    let claimed = scene.claim_one();
    let retry = Move::Retry {
        at: TestClock::START,
    };
    let settlement = with_errands(scene, &claimed, retry, b"");
    scene.turn(vec![settlement], 0);
    assert_eq!(scene.state(next), None);
    let claimed = scene.claim_one();
    assert_eq!(fail(scene, &claimed), Settled::Applied);
    assert_eq!(scene.state(next), None);
    assert_eq!(on_its_way(scene), (0, 0));
});

for_each_backend!(a_second_settlement_brings_nothing_twice, |scene| {
    let message = scene.build(job().callback(job()));
    let next = message.descendants().unwrap()[0];
    scene.offer(&message);
    let claimed = scene.claim_one();
    let settlement = with_errands(scene, &claimed, succeed(b"1"), b"1");
    let both = vec![settlement.clone(), settlement];
    let settled = scene.turn(both, 0).settled;
    assert_eq!(settled, [Settled::Applied, Settled::Stale]);
    let claimed = scene.claim(5);
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].receipt.uuid, next);
});

for_each_backend!(
    a_join_gets_the_results_of_all_members_in_their_order,
    |scene| {
        let join = Message::new("sub").arg(1);
        let uuid = Uuid::now_v7();
        // Members elsewhere, and one at the group's home.
        let group = Group::new()
            .member(job().queue("later"))
            .member(job())
            .member(job().queue("later").callback(job().queue("q")))
            .join(join.uuid(uuid).callback(job()));
        let group = open(scene, group);
        assert_eq!(on_its_way(scene), (1, 0));
        let mut later = scene.claim_from("later", 5);
        assert_eq!(later.len(), 2);
        give(scene, &later.remove(1), b"\"x\"");
        give(scene, &claim_in(scene, "q"), b"{\"c\":3}");
        give(scene, &later.remove(0), b"1");
        assert_eq!(close_all(scene), [] as [Uuid; 0]);
        let row = scene.store.catalog.groups(&[group]).unwrap().remove(0);
        let row = row.unwrap();
        assert_eq!((row.members, row.ended, row.failed), (3, 2, 0));
        assert_eq!(row.succeeded_places, [0, 2]);
        give(scene, &scene.claim_one(), b"[2]");
        let complete = scene.broker().complete(10).unwrap();
        assert!(close(scene, &complete[0]));
        assert!(!close(scene, &complete[0]), "once");
        let join = scene.claim_one();
        assert_eq!(join.receipt.uuid, uuid);
        assert_eq!(previous_of(&join).as_deref(), Some("[1,[2],{\"c\":3}]"));
        let header = header_of(&join);
        assert_eq!(header.progenitor_uuid, Some(group));
        assert_eq!(header.previous_message_uuid, Some(group));
        give(scene, &join, b"5");
        assert_eq!(previous_of(&scene.claim_one()).as_deref(), Some("5"));
        assert_eq!(on_its_way(scene), (0, 0));
        let row = scene.store.catalog.groups(&[group]).unwrap().remove(0);
        assert!(row.unwrap().closed_at.is_some());
    }
);

for_each_backend!(failed_members_count_as_their_group_wants_it, |scene| {
    let say = |on_failed| {
        let group = Group::new().members([job(), job()]).join(job());
        open(scene, group.on_failed(on_failed));
        let members = scene.claim(2);
        give(scene, &members[0], b"7");
        fail(scene, &members[1]);
        assert_eq!(close_all(scene).len(), 1);
        let join = scene.claim_one();
        let said = (previous_of(&join), header_of(&join).refusal);
        give(scene, &join, b"0");
        (said, members[1].receipt.uuid)
    };
    let ((previous, refusal), _) = say(OnFailed::Null);
    assert_eq!((previous.as_deref(), refusal), (Some("[7,null]"), None));
    let ((previous, _), failed) = say(OnFailed::Error);
    let previous: serde_json::Value = serde_json::from_str(&previous.unwrap()).unwrap();
    assert_eq!(previous[1]["error"]["uuid"], failed.to_string());
    assert_eq!(previous[1]["error"]["cause"], "error");
    let ((previous, refusal), failed) = say(OnFailed::Stop);
    assert_eq!(previous, None);
    let refusal = refusal.unwrap();
    assert_eq!(refusal.name, "member-failed");
    assert!(refusal.text.contains("1 of 2"), "{}", refusal.text);
    assert!(refusal.text.contains(&failed.to_string()));
});

for_each_backend!(
    members_that_users_end_are_counted_in_that_very_move,
    |scene| {
        // The join's queue is the group's home; the members are elsewhere, and there.
        let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
        let group = Group::new()
            .member(job().queue("later").uuid(ids[0]))
            .member(job().queue("later").uuid(ids[1]))
            .member(job().uuid(ids[2]))
            .member(job().uuid(ids[3]))
            .join(job());
        let group = open(scene, group.on_failed(OnFailed::Null));
        let revoke = |id| scene.broker().revoke(id, false).unwrap();
        assert_eq!(revoke(ids[0]), Revocation::Ended);
        assert_eq!(revoke(ids[0]), Revocation::AlreadyEnded);
        assert_eq!(revoke(ids[2]), Revocation::Ended);
        assert_eq!(scene.broker().remove(&[ids[1], ids[0]]).unwrap(), 2);
        assert_eq!(scene.state(ids[1]), None);
        let running = scene.claim_one();
        assert_eq!(scene.broker().remove(&[ids[3]]).unwrap(), 0, "it runs");
        let row = scene.store.catalog.groups(&[group]).unwrap().remove(0);
        let row = row.unwrap();
        assert_eq!((row.ended, row.failed), (3, 3));
        assert_eq!(row.failed_places, [0, 1, 2]);
        // Revoked while it runs, and found so by its settlement.
        assert_eq!(revoke(ids[3]), Revocation::Told);
        assert_eq!(give(scene, &running, b"1"), Settled::Revoked);
        assert_eq!(close_all(scene), [group]);
        let join = scene.claim_one();
        assert_eq!(previous_of(&join).as_deref(), Some("[null,null,null,null]"));
        assert_eq!(on_its_way(scene), (0, 0));
    }
);

for_each_backend!(a_member_is_counted_once, |scene| {
    let group = Group::new().members([job(), job()]).join(job());
    let group = open(scene, group);
    let members = scene.claim(2);
    fail(scene, &members[0]);
    let id = members[0].receipt.uuid;
    assert_eq!(scene.broker().retry_dead(&[id]).unwrap(), 1);
    let again = scene.claim_one();
    assert_eq!(give(scene, &again, b"1"), Settled::Applied);
    let row = scene.store.catalog.groups(&[group]).unwrap().remove(0);
    let row = row.unwrap();
    assert_eq!((row.ended, row.failed), (1, 1), "the first count stands");
    assert_eq!(close_all(scene), [] as [Uuid; 0]);
    give(scene, &members[1], b"1");
    assert_eq!(close_all(scene), [group]);
    // After the end of the group, too.
    let join = scene.claim_one();
    assert!(header_of(&join).refusal.is_some());
});

for_each_backend!(a_group_is_opened_once, |scene| {
    let group = Group::new().member(job()).member(job().queue("later"));
    let group = group.build().unwrap();
    let usual = |_: &bulkhead_shared::TaskName| QueueName::default();
    let opening = group.opening(TestClock::START, &usual).unwrap();
    let broker = scene.broker();
    assert_eq!(broker.open(&opening).unwrap(), Submitted::Created);
    assert_eq!(broker.open(&opening).unwrap(), Submitted::Duplicate);
    assert_eq!(scene.claim(5).len() + scene.claim_from("later", 5).len(), 2);
});

for_each_backend!(a_group_is_opened_at_no_queue_that_drains, |scene| {
    let client = Client::new(scene.store.clone());
    let before = scene.build(job().callback(Group::new().members([job(), job()])));
    assert_eq!(scene.offer(&before), Submitted::Created);
    let group = |name: &str| {
        let group = Group::new().members([job(), job().queue("later")]);
        let group = group.join(job().queue(name)).build().unwrap();
        let usual = |_: &bulkhead_shared::TaskName| QueueName::default();
        group.opening(TestClock::START, &usual).unwrap()
    };
    let (known, new, other) = (group("default"), group("default"), group("later"));
    assert_eq!(scene.broker().open(&known).unwrap(), Submitted::Created);
    let first = scene.claim(5);
    assert_eq!(first.len() + scene.claim_from("later", 5).len(), 3);
    client.drain(&queue("default")).unwrap();
    assert_eq!(scene.broker().open(&new).unwrap(), Submitted::Closed);
    assert_eq!(scene.broker().open(&known).unwrap(), Submitted::Duplicate);
    let rows = scene.store.catalog.groups(&[new.uuid]).unwrap();
    assert!(rows[0].is_none());
    assert!(scene.claim(5).is_empty() && scene.claim_from("later", 5).is_empty());
    // What has begun goes on, and so does what is kept elsewhere.
    let ending = first.iter().find(|one| one.receipt.uuid == before.uuid);
    give(scene, ending.unwrap(), b"1");
    assert_eq!(scene.claim(5).len(), 2);
    assert_eq!(scene.broker().open(&other).unwrap(), Submitted::Created);
});

for_each_backend!(groups_within_groups_and_chains_end_in_one_place, |scene| {
    let inner = Group::new()
        .members([job().queue("later"), job().queue("q")])
        .join(job().queue("later"));
    let last = Uuid::now_v7();
    let outer = Group::new()
        .member(inner)
        .member(job())
        .member(job().callback(Group::new().members([job(), job()])));
    let first = job().callback((outer, job().queue("b").uuid(last)));
    scene.submit(first);
    let queues: Vec<QueueName> = ["default", "later", "q", "b"].map(queue).into();
    let mut ended = 0;
    loop {
        let claimed = scene.turn_in(&queues, Vec::new(), 10).claimed;
        let closed = close_all(scene);
        if claimed.is_empty() && closed.is_empty() {
            break;
        }
        for job in claimed {
            if job.receipt.uuid == last {
                let previous = previous_of(&job).unwrap();
                assert_eq!(previous, "[[[[0],[0]]],[0],[[[0]],[[0]]]]");
            }
            let result = match previous_of(&job) {
                Some(previous) => format!("[{previous}]"),
                None => "0".into(),
            };
            give(scene, &job, result.as_bytes());
            ended += 1;
        }
    }
    // The first, two and their join, one, one and two, the last.
    assert_eq!(ended, 9);
    assert_eq!(scene.state(last), Some(State::Succeeded));
    assert_eq!(on_its_way(scene), (0, 0));
});

for_each_backend!(what_no_join_could_take_is_not_kept, |scene| {
    open(scene, Group::new().members([job(), job()]).join(job()));
    let large = format!("\"{}\"", "x".repeat(9 << 20));
    for member in scene.claim(2) {
        give(scene, &member, large.as_bytes());
    }
    let complete = scene.broker().complete(10).unwrap();
    assert_eq!(complete[0].bytes, 2 * large.len() as u64);
    let kept: usize = complete[0].ends.iter().map(|end| end.body.len()).sum();
    assert_eq!(kept, large.len());
    assert!(close(scene, &complete[0]));
    let refusal = header_of(&scene.claim_one()).refusal.unwrap();
    assert_eq!(refusal.name, "results-too-large");
});

for_each_backend!(what_flows_keep_is_known_to_an_examination, |scene| {
    let group = Group::new().members([job(), job().queue("later")]);
    open(scene, group.join(job()));
    give(scene, &scene.claim_one(), b"1");
    give(scene, &claim_in(scene, "later"), b"2");
    let findings = scene.store.catalog.examine(Depth::Thorough).unwrap();
    let keys = findings.iter().filter(|finding| finding.check == "keys");
    for finding in keys {
        assert_eq!(finding.severity, Severity::Ok, "{finding:?}");
    }
    assert_eq!(close_all(scene).len(), 1);
});

for_each_backend!(a_thousand_members_in_two_queues_make_one_join, |scene| {
    let member = |n: usize| match n % 3 {
        0 => job().queue("later"),
        _ => job(),
    };
    let group = Group::new().members((0..1000).map(member)).join(job());
    let group = open(scene, group);
    let mut ended = 0;
    while ended < 1000 {
        let queues = [QueueName::default(), queue("later")];
        let claimed = scene.turn_in(&queues, Vec::new(), 256).claimed;
        let settlements: Vec<_> = claimed
            .iter()
            .map(|job| with_errands(scene, job, succeed(b"1"), b"1"))
            .collect();
        ended += settlements.len();
        scene.broker().turn(settlements, None).unwrap();
    }
    assert_eq!(close_all(scene), [group]);
    let sum = previous_of(&scene.claim_one()).unwrap();
    assert_eq!(sum.matches('1').count(), 1000);
});

fn letters(url: &str) -> Options {
    Options {
        namespace: Namespace::new("letters").unwrap(),
        ..Options::new(url)
    }
}

/// Ends the job of the store in the argument, and dies before what follows in another queue is
/// delivered.
#[test]
fn part_dies_between_an_ending_and_its_letter() {
    let Some(url) = role("letter") else { return };
    let store = open_store(&letters(&url)).unwrap();
    fault::arm(Some("letters:1"));
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 1,
        lease: LEASE,
    };
    let claimed = store.broker.turn(Vec::new(), Some(claim)).unwrap().claimed;
    let settlement = with_errands_at(Timestamp::now(), &claimed[0], succeed(b"1"), b"1");
    let _ = store.broker.turn(vec![settlement], None);
    unreachable!("it has died");
}

#[test]
fn a_letter_whose_writer_died_is_delivered_by_anybody() {
    let server = redis_server::RedisServer::start(&[]);
    let store = open_store(&letters(&server.url())).unwrap();
    let message = job().callback(job().queue("later")).build().unwrap();
    let next = message.descendants().unwrap();
    let queue = queue("default");
    let submission = Submission {
        message: &message,
        queue: &queue,
    };
    store.broker.submit(&[submission]).unwrap();
    let part = "flow::part_dies_between_an_ending_and_its_letter";
    let mut helper = Helper::start(part, "letter", &server.url());
    helper.dies();
    let state = |uuid| {
        let rows = store.catalog.jobs_by_id(&[uuid]).unwrap();
        rows[0].as_ref().map(|row| row.state)
    };
    assert_eq!(state(message.uuid), Some(State::Succeeded));
    assert_eq!(state(next[0]), None);
    assert_eq!(store.catalog.flows().unwrap().errands, 1);
    // Not before its writer has had the time to do so.
    let delivered = until("the letter's delivery", PATIENCE, || {
        let delivered = store.broker.deliver(10).unwrap();
        (delivered > 0).then_some(delivered)
    });
    assert_eq!(delivered, 1);
    assert_eq!(state(next[0]), Some(State::Ready));
    assert_eq!(store.broker.deliver(10).unwrap(), 0);
    assert_eq!(store.catalog.flows().unwrap().errands, 0);
}
