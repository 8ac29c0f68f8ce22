//! Connections that break, and scripts that the server forgets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulkhead_shared::backend::{Backend, Options, open};
use bulkhead_shared::broker::{Claim, Selection, Settled, Settlement, Submission, Submitted};
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, Timestamp};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::{job, queue, settlement, succeed, supervisor, task};

fn submit(store: &Backend, message: &Message) -> Submitted {
    let queue = queue("default");
    let submission = Submission {
        message,
        queue: &queue,
    };
    store.broker.submit(&[submission]).unwrap()[0]
}

#[test]
fn scripts_that_the_server_forgot_are_sent_again_in_mid_run() {
    let server = RedisServer::start(&[]);
    let store = open(&Options::new(&server.url())).unwrap();
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let owner = supervisor();
    let mut settlements: Vec<Settlement> = Vec::new();
    for _ in 0..5 {
        let message = job().build().unwrap();
        assert_eq!(submit(&store, &message), Submitted::Created);
        server.command("SCRIPT FLUSH");
        let claim = Claim {
            owner,
            selection: &selection,
            room: 1,
            lease: Duration::from_secs(30),
        };
        let settled = settlements.len();
        let turned = store
            .broker
            .turn(std::mem::take(&mut settlements), Some(claim));
        let turned = turned.unwrap();
        assert_eq!((turned.settled.len(), turned.claimed.len()), (settled, 1));
        assert_eq!(turned.claimed[0].receipt.uuid, message.uuid);
        settlements = vec![Settlement {
            receipt: turned.claimed[0].receipt.clone(),
            next: Move::Succeed {
                result: None,
                result_until: None,
                purge_at: None,
            },
            history: Vec::new(),
            at: Timestamp::now(),
            errands: Default::default(),
        }];
        server.command("SCRIPT FLUSH");
    }
}

#[test]
fn a_store_whose_connections_were_closed_goes_on_by_itself() {
    let server = RedisServer::start(&[]);
    let store = open(&Options::new(&server.url())).unwrap();
    let message = job().build().unwrap();
    submit(&store, &message);
    server.command("CLIENT KILL TYPE normal SKIPME yes");
    let found = store.catalog.jobs_by_id(&[message.uuid]).unwrap();
    assert!(found[0].is_some());
    server.command("CLIENT KILL TYPE normal SKIPME yes");
    assert_eq!(submit(&store, &job().build().unwrap()), Submitted::Created);
}

/// Stands between a store and its server, and cuts a connection before an answer when told to.
struct Proxy {
    port: u16,
    cuts: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&cuts);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, None));
                let cut = Arc::clone(&cut);
                std::thread::spawn(move || pass(server, client, Some(cut)));
            }
        });
        Self { port, cuts }
    }
}

/// Passes bytes on; stops at the first that come after `cut` was told to.
fn pass(mut from: TcpStream, mut to: TcpStream, cut: Option<Arc<AtomicBool>>) {
    let mut some = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut some) {
        let is_cut = cut
            .as_ref()
            .is_some_and(|cut| cut.swap(false, Ordering::SeqCst));
        if is_cut || to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    // The other direction ends with it.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn proxied() -> (RedisServer, Proxy, Backend) {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let store = open(&Options::new(&format!("redis://127.0.0.1:{}", proxy.port))).unwrap();
    (server, proxy, store)
}

#[test]
fn a_claim_whose_answer_was_lost_gives_the_same_jobs_and_no_others() {
    let (_server, proxy, store) = proxied();
    let uuids: Vec<_> = (0..5)
        .map(|_| {
            let message = job().build().unwrap();
            submit(&store, &message);
            message.uuid
        })
        .collect();
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 2,
        lease: Duration::from_secs(30),
    };
    proxy.cuts.store(true, Ordering::SeqCst);
    let turned = store.broker.turn(Vec::new(), Some(claim)).unwrap();
    assert!(!proxy.cuts.load(Ordering::SeqCst), "nothing was cut");
    let given: Vec<_> = turned.claimed.iter().map(|one| one.receipt.uuid).collect();
    assert_eq!(given, uuids[..2]);
    assert!(turned.claimed.iter().all(|one| one.receipt.fence == 1));
    let turned = store.broker.turn(Vec::new(), Some(claim)).unwrap();
    let given: Vec<_> = turned.claimed.iter().map(|one| one.receipt.uuid).collect();
    assert_eq!(given, uuids[2..4]);
}

#[test]
fn an_ending_whose_answer_was_lost_counts_as_written() {
    let (_server, proxy, store) = proxied();
    let message = job().build().unwrap();
    submit(&store, &message);
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room: 1,
        lease: Duration::from_secs(30),
    };
    let turned = store.broker.turn(Vec::new(), Some(claim)).unwrap();
    let settlement = settlement(&turned.claimed[0], succeed(b"1"));
    proxy.cuts.store(true, Ordering::SeqCst);
    let turned = store.broker.turn(vec![settlement.clone()], None).unwrap();
    assert!(!proxy.cuts.load(Ordering::SeqCst), "nothing was cut");
    assert_eq!(turned.settled, [Settled::Applied]);
    // Once it is known, a second one is what it always was.
    let turned = store.broker.turn(vec![settlement], None).unwrap();
    assert_eq!(turned.settled, [Settled::Stale]);
}

#[test]
fn a_submission_whose_answer_was_lost_is_stored_once_and_counts_as_new() {
    let (_server, proxy, store) = proxied();
    let message = job().build().unwrap();
    proxy.cuts.store(true, Ordering::SeqCst);
    assert_eq!(submit(&store, &message), Submitted::Created);
    assert!(!proxy.cuts.load(Ordering::SeqCst), "nothing was cut");
    assert_eq!(submit(&store, &message), Submitted::Duplicate);
    assert_eq!(store.catalog.unfinished(&[queue("default")]).unwrap(), 1);
}
