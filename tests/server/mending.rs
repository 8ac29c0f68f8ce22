//! What others took away from a server is noticed, and what is left is put right.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Claim, Selection};
use bulkhead_shared::client::Client;
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::status::Status;
use bulkhead_shared::{TaskName, Uuid};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::{LEASE, job, queue, supervisor, uuids};

#[test]
fn a_job_without_its_record_is_unknown_and_one_out_of_its_index_runs() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    let evicted = client.submit(job()).unwrap();
    let message = job().kwarg("text", "x".repeat(10_000));
    let halved = client.submit(message).unwrap();
    let unlisted = client.submit(job()).unwrap();
    let delayed = client
        .submit(job().delay(std::time::Duration::from_secs(60)))
        .unwrap();
    let tag = "{bulkhead|default}";
    let gone = |key: &str, uuid: Uuid| {
        let answer = server.command(&format!("DEL {tag}{key}:{}", uuid.simple()));
        assert_eq!(answer, ":1", "{key}");
    };
    gone("s", evicted);
    // A long one lies beside its record.
    gone("m", halved);
    server.command(&format!("DEL {tag}d"));
    let mend = || client.backend().control.mend(1000).unwrap();
    let is_unknown = |uuid| client.status(uuid).unwrap().status == Status::Unknown;
    assert!(is_unknown(evicted) && is_unknown(halved));
    assert_eq!(mend(), 3);
    assert!(is_unknown(evicted) && is_unknown(halved));
    assert_eq!(
        server.command(&format!("EXISTS {tag}s:{}", halved.simple())),
        ":0"
    );
    let counts = client.backend().catalog.queues().unwrap().remove(0);
    assert_eq!((counts.ready, counts.delayed), (1, 1));
    server.command(&format!("DEL {tag}r:add"));
    server.command(&format!("DEL {tag}t"));
    assert_eq!(mend(), 1);
    let counts = client.backend().catalog.queues().unwrap().remove(0);
    assert_eq!((counts.ready, counts.delayed), (1, 1));
    assert!(client.status(unlisted).unwrap().status == Status::Submitted);
    assert!(client.status(delayed).unwrap().next_at.is_some());
    assert_eq!(mend(), 0);
}

/// Both of its tasks' jobs, and one more name: three tasks are looked up by what is ready.
fn claim_of_several(client: &Client) -> usize {
    claimed(client).len()
}

/// What a claim of several tasks gets, in the order of the line.
fn claimed(client: &Client) -> Vec<Uuid> {
    let tasks = ["add", "other", "third"].map(|name| TaskName::new(name).unwrap());
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: tasks.into(),
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 9,
        lease: LEASE,
    };
    let turned = client.backend().broker.turn(Vec::new(), Some(claim));
    uuids(&turned.unwrap().claimed)
}

#[test]
fn a_bell_that_is_passed_on_after_the_last_job_was_taken_hides_no_later_one() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    client.submit(job()).unwrap();
    let bell = "{bulkhead|default}b:add";
    assert_eq!(server.command(&format!("DEL {bell}")), ":1");
    assert_eq!(claim_of_several(&client), 1);
    server.command(&format!("RPUSH {bell} 1"));
    client.submit(job()).unwrap();
    assert_eq!(claim_of_several(&client), 1);
}

#[test]
fn ready_jobs_whose_task_was_taken_away_are_found_again() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    client.submit(job()).unwrap();
    server.command("DEL {bulkhead|default}t");
    assert_eq!(claim_of_several(&client), 0);
    assert_eq!(client.backend().control.mend(1000).unwrap(), 1);
    assert_eq!(claim_of_several(&client), 1);
    assert_eq!(client.backend().control.mend(1000).unwrap(), 0);
}

fn long() -> MessageBuilder {
    job().arg("x".repeat(10_000))
}

#[test]
fn a_job_whose_message_was_taken_away_is_unknown_runs_no_more_and_may_come_again() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    let lose = |uuid: Uuid| {
        let key = format!("{{bulkhead|default}}m:{}", uuid.simple());
        assert_eq!(server.command(&format!("DEL {key}")), ":1");
        assert!(client.status(uuid).unwrap().status == Status::Unknown);
        assert!(client.backend().catalog.payload(uuid).unwrap().is_none());
    };
    let claimed = client.submit(long()).unwrap();
    lose(claimed);
    assert_eq!(claim_of_several(&client), 0);
    let key = format!("EXISTS {{bulkhead|default}}s:{}", claimed.simple());
    assert_eq!(server.command(&key), ":0");
    let uuid = Uuid::now_v7();
    client.submit(long().uuid(uuid)).unwrap();
    lose(uuid);
    client.submit(long().uuid(uuid)).unwrap();
    let sent = client.submit(long()).unwrap();
    lose(sent);
    assert_eq!(claim_of_several(&client), 1);
}

#[test]
fn what_lay_beside_a_record_that_was_taken_away_is_no_part_of_a_later_job() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    let uuid = Uuid::now_v7();
    client.submit(long().uuid(uuid)).unwrap();
    let key = format!("{{bulkhead|default}}s:{}", uuid.simple());
    assert_eq!(server.command(&format!("DEL {key}")), ":1");
    client.submit(job().uuid(uuid)).unwrap();
    let payload = client.backend().catalog.payload(uuid).unwrap().unwrap();
    assert!(payload.len() < 100, "{} bytes", payload.len());
    assert_eq!(claim_of_several(&client), 1);
}

#[test]
fn a_queue_whose_gate_was_taken_away_while_it_was_closed_keeps_its_order() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    let home = queue("default");
    let mut all = vec![client.submit(job()).unwrap()];
    client.drain(&home).unwrap();
    server.command("DEL {bulkhead|default}gate");
    all.extend((0..3).map(|_| client.submit(job()).unwrap()));
    client.resume(&home).unwrap();
    all.push(client.submit(job()).unwrap());
    assert_eq!(claimed(&client), all);
}
