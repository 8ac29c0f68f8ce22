//! Jobs that are stored without a script, by a producer who takes for granted what it last saw.

use bulkhead_shared::Message;
use bulkhead_shared::Uuid;
use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{Claim, Selection, Submission, Submitted, SupervisorId};
use bulkhead_shared::client::Client;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::{Kind, LEASE, Scene, job, queue, rounds, secs, task, uuids};

/// As many as make a producer go the short way, and enough to see that it did.
const SOME: usize = 20;

/// Connections that were made so far.
fn connections(server: &RedisServer) -> u64 {
    let info = server.text("INFO stats");
    let prefix = "total_connections_received:";
    let line = info.lines().find_map(|line| line.strip_prefix(prefix));
    line.unwrap().trim().parse().unwrap()
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let info = server.text("INFO commandstats");
    let prefix = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
    let number = line.and_then(|line| line.split(',').next());
    number.map_or(0, |number| number.parse().unwrap())
}

/// A command on a key of the queue.
fn ask(server: &RedisServer, scene: &Scene, command: &str, key: &str) -> String {
    let namespace = &scene.store.namespace;
    server.command(&format!("{command} {{{namespace}|default}}{key}"))
}

/// How many rings are at a task's bell.
fn rings_of(server: &RedisServer, scene: &Scene, name: &str) -> usize {
    let rings = ask(server, scene, "LLEN", &format!("b:{name}"));
    rings.trim_start_matches(':').parse().unwrap()
}

fn offer_to(store: &Backend, messages: &[(&Message, &str)]) -> Vec<Submitted> {
    let queues: Vec<_> = messages.iter().map(|(_, name)| queue(name)).collect();
    let pairs = messages.iter().zip(&queues);
    let batch: Vec<_> = pairs
        .map(|((message, _), queue)| Submission { message, queue })
        .collect();
    store.broker.submit(&batch).unwrap()
}

#[test]
fn jobs_that_are_ready_at_once_take_a_script_once() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    let sent: Vec<_> = (0..SOME).map(|_| scene.submit(job())).collect();
    let scripts = calls(&server, "eval") + calls(&server, "evalsha");
    assert_eq!(scripts, 1, "the first of a connection");
    assert_eq!(calls(&server, "exec"), SOME as u64 - 1);
    assert_eq!(uuids(&scene.claim(SOME + 1)), sent);
}

#[test]
fn a_queue_that_is_closed_takes_nothing_from_who_saw_it_open() {
    let scene = Scene::new(Kind::Redis);
    let other = Client::new(scene.again());
    for round in 0..3 {
        let before = [scene.submit(job()), scene.submit(job())];
        other.drain(&queue("default")).unwrap();
        for _ in 0..3 {
            let refused = scene.build(job());
            assert_eq!(scene.offer(&refused), Submitted::Closed, "{round}");
            assert!(!other.exists(refused.uuid).unwrap());
        }
        assert_eq!(uuids(&scene.claim(9)), before);
        other.resume(&queue("default")).unwrap();
    }
    let after = scene.submit(job());
    assert_eq!(uuids(&scene.claim(9)), [after]);
}

#[test]
fn of_a_batch_for_two_queues_only_the_jobs_of_the_closed_one_are_refused() {
    let scene = Scene::new(Kind::Redis);
    let other = Client::new(scene.again());
    let made: Vec<_> = (0..6).map(|_| scene.build(job())).collect();
    let both = |first: usize| [(&made[first], "a"), (&made[first + 1], "b")];
    assert_eq!(offer_to(&scene.store, &both(0)), [Submitted::Created; 2]);
    assert_eq!(offer_to(&scene.store, &both(2)), [Submitted::Created; 2]);
    other.drain(&queue("b")).unwrap();
    let became = offer_to(&scene.store, &both(4));
    assert_eq!(became, [Submitted::Created, Submitted::Closed]);
    assert_eq!(scene.claim_from("a", 9).len(), 3);
    assert_eq!(scene.claim_from("b", 9).len(), 2);
}

#[test]
fn a_job_that_is_known_leaves_nothing_in_the_line() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    scene.submit(job());
    let (known, new) = (scene.build(job()), scene.build(job()));
    let all = [(&known, "default"), (&new, "default"), (&new, "default")];
    assert_eq!(offer_to(&scene.store, &all[..1]), [Submitted::Created]);
    let became = offer_to(&scene.store, &all);
    let (created, duplicate) = (Submitted::Created, Submitted::Duplicate);
    assert_eq!(became, [duplicate, created, duplicate]);
    assert!(calls(&server, "exec") > 0);
    assert_eq!(ask(&server, &scene, "ZCARD", "r:add"), ":3");
    assert_eq!(scene.claim(9).len(), 3);
}

#[test]
fn jobs_of_one_producer_keep_their_order_however_they_are_stored() {
    let scene = Scene::new(Kind::Redis);
    let long = "x".repeat(5000);
    let sent: Vec<_> = (0..SOME)
        .flat_map(|n| {
            [
                job(),
                job().unique_until_end(&n.to_string()),
                job(),
                job().arg(&long),
                job().ttl(secs(3600)),
                job(),
            ]
        })
        .map(|message| scene.submit(message))
        .collect();
    assert_eq!(uuids(&scene.claim(sent.len() + 1)), sent);
}

#[test]
fn of_many_rings_that_nobody_hears_a_few_stay() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    for _ in 0..5 * SOME {
        scene.submit(job());
    }
    let rings = rings_of(&server, &scene, "add");
    assert!((1..2 * SOME).contains(&rings), "{rings}");
    assert_eq!(scene.claim(5 * SOME + 1).len(), 5 * SOME);
    assert_eq!(ask(&server, &scene, "EXISTS", "b:add"), ":0");
}

#[test]
fn of_tasks_whose_bells_are_rung_by_turns_each_keeps_a_few_rings() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    for _ in 0..5 * SOME {
        let both = ["add", "b"].map(|name| Message::new(name).build().unwrap());
        let _ = offer_to(&scene.store, &both.each_ref().map(|one| (one, "default")));
    }
    for name in ["add", "b"] {
        let rings = rings_of(&server, &scene, name);
        assert!((1..2 * SOME).contains(&rings), "{name}: {rings}");
    }
}

#[test]
fn a_producer_that_goes_round_many_queues_has_few_of_their_gates_watched() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    for n in 0..3 * SOME {
        scene.submit(job().queue(&format!("q{}", n % 8)));
    }
    assert_eq!(
        calls(&server, "exec"),
        0,
        "none is still watched when its turn comes"
    );
    // The first four are as many as may be.
    assert_eq!(calls(&server, "unwatch"), 3 * SOME as u64 - 4);
}

#[test]
fn a_task_whose_last_place_names_no_job_is_known_no_more() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    let known = scene.build(job());
    scene.submit(job());
    assert_eq!(scene.offer(&known), Submitted::Created);
    assert_eq!(scene.claim(9).len(), 2);
    assert_eq!(scene.offer(&known), Submitted::Duplicate);
    assert_eq!(ask(&server, &scene, "EXISTS", "t"), ":1");
    let tasks = ["add", "b", "c"].map(task).to_vec();
    let selection = Selection {
        queues: vec![queue("default")],
        tasks,
    };
    let claim = Claim {
        owner: SupervisorId(Uuid::now_v7()),
        selection: &selection,
        room: 9,
        lease: LEASE,
    };
    let turned = scene.broker().turn(Vec::new(), Some(claim)).unwrap();
    assert!(turned.claimed.is_empty() && !turned.more);
    assert_eq!(ask(&server, &scene, "EXISTS", "t"), ":0");
    assert_eq!(ask(&server, &scene, "EXISTS", "b:add"), ":0");
}

#[test]
fn what_is_left_of_a_job_that_never_was_frees_nobody_s_place() {
    let server = RedisServer::start(&[]);
    let scene = Scene::on(Kind::Redis, &server.url());
    let one_at_a_time = || job().concurrency("k", 1);
    scene.submit(one_at_a_time());
    scene.submit(one_at_a_time());
    let held = scene.claim(9);
    assert_eq!(held.len(), 1);
    // Such a place stays if its producer dies before it has taken it out again.
    let uuid = held[0].receipt.uuid.simple();
    let stray = format!("r:add 0 000000000000ff{uuid}0:add|1:k");
    assert_eq!(ask(&server, &scene, "ZADD", &stray), ":1");
    ask(&server, &scene, "SADD", "t add");
    let elsewhere = scene.namespace("elsewhere");
    rounds::move_all(&scene.store, &elsewhere);
    assert_eq!(ask(&server, &scene, "ZCARD", "r:add"), ":0");
    assert_eq!(ask(&server, &scene, "SCARD", "run::k"), ":1");
}

#[test]
fn a_user_who_may_use_no_transactions_submits_by_scripts() {
    for less in ["-watch", "-multi", "-exec", "-@transaction"] {
        let server = RedisServer::start(&[]);
        let user = format!("ACL SETUSER tenant on >sesame ~* &* +@all {less}");
        assert_eq!(server.command(&user), "+OK");
        let url = format!("redis://tenant:sesame@127.0.0.1:{}", server.port());
        let scene = Scene::on(Kind::Redis, &url);
        let sent: Vec<_> = (0..SOME).map(|_| scene.submit(job())).collect();
        assert_eq!(uuids(&scene.claim(SOME + 1)), sent, "{less}");
        let connected = connections(&server);
        scene.submit(job());
        scene.submit(job());
        // The question takes one.
        assert_eq!(connections(&server), connected + 1, "{less}");
        assert_eq!(scene.claim(9).len(), 2);
        assert_eq!(ask(&server, &scene, "ZCARD", "r:add"), ":0");
    }
}
