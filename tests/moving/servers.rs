//! What a move to a server and back does that nothing disturbs.

use std::time::Duration;

use bulkhead_shared::Message;
use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Claim, Selection};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::task::TaskSpec;
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::{queue, supervisor, task};
use serde_json::json;

use crate::parts::{
    all, claim, known, migration_to, presence, run, source, submit, succeed, target,
};

fn add() -> bulkhead_shared::MessageBuilder {
    Message::new("add")
}

#[test]
fn everything_moves_to_a_server_and_back_as_it_was() {
    let server = RedisServer::start(&[]);
    let place = Place::new();
    let store = source(&place);
    let mut spec = TaskSpec::new(task("add"));
    spec.timeout_ms = Some(5);
    let announced = presence(supervisor(), vec![spec.clone()]);
    store.broker.announce(&announced).unwrap();
    store.broker.leave(announced.id).unwrap();
    let done = submit(&store, vec![add()]);
    run(&store, 1, &succeed());
    let dead = submit(&store, vec![add()]);
    let bury = Move::Bury {
        cause: Cause::Crash,
        purge_at: None,
    };
    run(&store, 1, &bury);
    let later = submit(&store, vec![add().delay(Duration::from_secs(3600))]);
    let ready = submit(&store, vec![add().arg("x"), add().queue("mail")]);
    let uuids = [&done[..], &dead, &later, &ready].concat();
    let look = |at: &bulkhead_shared::backend::Backend| {
        let rows = at.catalog.jobs_by_id(&uuids).unwrap();
        let row = |row: Option<_>| {
            let row: bulkhead_shared::catalog::JobRow = row.expect("it is there");
            (row.state, row.queue, row.header, row.history, row.cause)
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let before = look(&store);
    drop(store);

    let there = Ran::of(migration_to(&place, &server.url())).succeeds();
    let moved = json!({"ready": 2, "delayed": 1, "dead": 1, "succeeded": 1, "dropped": 0});
    let there = there.says(&["the target: appendonly no", "crash"]);
    assert_eq!(there.json()["moved"], moved);
    let on_server = open(&Options::new(&server.url())).unwrap();
    assert_eq!(look(&on_server), before);
    assert_eq!(all(&source(&place)), 0);
    assert_eq!(on_server.catalog.tasks().unwrap(), [spec]);
    let kept = on_server.catalog.result(done[0]).unwrap().unwrap();
    assert_eq!(kept.bytes, b"[1]");
    let held = claim(&on_server, supervisor(), 1).remove(0);
    assert_eq!(held.receipt.uuid, ready[0]);

    let mut back = place.command(&["migrate", "--json", "--to", &place.url()]);
    back.env_remove("BULKHEAD_STORE");
    back.args(["--from", &server.url()]);
    let refused = Ran::of(back).ends_with(5);
    let _ = refused.says(&["are held by supervisors"]);
    let release = bulkhead_shared::broker::Settlement {
        receipt: held.receipt,
        next: Move::Release,
        history: Vec::new(),
        at: bulkhead_shared::Timestamp::now(),
        errands: Default::default(),
    };
    on_server.broker.turn(vec![release], None).unwrap();
    let mut back = place.command(&["migrate", "--json", "--to", &place.url()]);
    back.env_remove("BULKHEAD_STORE");
    back.args(["--from", &server.url()]);
    assert_eq!(Ran::of(back).succeeds().json()["moved"], moved);
    let home = source(&place);
    assert_eq!(look(&home), before);
    assert_eq!(home.catalog.result(done[0]).unwrap().unwrap().bytes, b"[1]");
    assert_eq!(all(&on_server), 0);
    assert_eq!(look(&home)[2].0, State::Delayed);
}

#[test]
fn what_is_lost_is_found_among_many_queues() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let store = source(&place);
    let name = |n: usize| format!("q{n:03}");
    let queued = |n: usize| add().queue(&name(n));
    let uuids = submit(&store, (0..260).map(queued).collect());
    // No look takes both, and after the one that takes either there is one that finds nothing.
    let selection = Selection {
        queues: [0, 130].map(|n| queue(&name(n))).into(),
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 9,
        lease: Duration::from_millis(1),
    };
    let claimed = store.broker.turn(Vec::new(), Some(claim)).unwrap().claimed;
    assert_eq!(claimed.len(), 2);
    let there = Ran::of(migration_to(
        &place,
        &crate::parts::url(&place, "target.db"),
    ));
    let moved = &there.succeeds().json()["moved"];
    let waiting = moved["ready"].as_u64().unwrap() + moved["delayed"].as_u64().unwrap();
    assert_eq!(waiting, 260, "{moved}");
    assert_eq!(known(&target(&place), &uuids), 260);
}

#[test]
fn a_server_under_two_names_is_one_store() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let uuid = place.submit(&["add"]);
    let other = format!("redis://localhost:{}", server.port());
    let ran = Ran::of(migration_to(&place, &other)).ends_with(2);
    let _ = ran.says(&["the same store"]);
    let _ = place.run(&["status", &uuid]).succeeds();
}

#[test]
fn a_server_with_living_supervisors_is_left_alone() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let store = source(&place);
    let owner = supervisor();
    store.broker.announce(&presence(owner, Vec::new())).unwrap();
    submit(&store, vec![add()]);
    let to = crate::parts::url(&place, "target.db");
    let ran = Ran::of(migration_to(&place, &to)).ends_with(5);
    let _ = ran.says(&["process 4711 on here", "fleet"]);
    assert_eq!(claim(&store, supervisor(), 1)[0].receipt.fence, 1);
}
