//! What others took away from a server is noticed, and what is left is put right.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::client::Client;
use bulkhead_shared::status::Status;
use bulkhead_tests::job;
use bulkhead_tests::redis_server::RedisServer;

#[test]
fn a_job_without_its_message_is_unknown_and_one_out_of_its_index_runs() {
    let server = RedisServer::start(&[]);
    let client = Client::new(open(&Options::new(&server.url())).unwrap());
    let evicted = client.submit(job()).unwrap();
    let unlisted = client.submit(job()).unwrap();
    let delayed = client
        .submit(job().delay(std::time::Duration::from_secs(60)))
        .unwrap();
    let tag = "{bulkhead|default}";
    server.command(&format!("DEL {tag}m:{}", evicted.simple()));
    server.command(&format!("DEL {tag}d"));
    let mend = || client.backend().control.mend(1000).unwrap();
    assert_eq!(mend(), 2);
    assert_eq!(client.status(evicted).unwrap().status, Status::Unknown);
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
