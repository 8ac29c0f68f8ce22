//! A master that is one no more.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{BrokerError, Submission, Submitted};
use bulkhead_tests::sentinel::{SERVICE, Watched};
use bulkhead_tests::{job, queue};

#[test]
fn a_server_that_was_demoted_is_left_for_the_one_that_sentinels_name() {
    let watched = Watched::start(&["requirepass pumpkin"]);
    let url = format!("{}?sentinel_password=pumpkin", watched.url());
    let store = open(&Options::new(&url)).unwrap();
    let message = job().build().unwrap();
    let queue = queue("default");
    let submission = [Submission {
        message: &message,
        queue: &queue,
    }];
    let sentinel = |line: String| watched.sentinel.command(&line);
    // It looks away, and names what it is told to.
    let name = |port: u16| {
        sentinel(format!("SENTINEL REMOVE {SERVICE}"));
        let said = sentinel(format!("SENTINEL MONITOR {SERVICE} 127.0.0.1 {port} 2"));
        assert_eq!(said, "+OK");
    };
    name(watched.master.port());
    assert_eq!(watched.replica.command("REPLICAOF NO ONE"), "+OK");
    let follow = format!("REPLICAOF 127.0.0.1 {}", watched.replica.port());
    assert_eq!(watched.master.command(&follow), "+OK");
    // The connections there are lead to a replica now, and so do new ones.
    for _ in 0..2 {
        let error = store.broker.submit(&submission).unwrap_err();
        assert!(matches!(error, BrokerError::Away { .. }), "{error:?}");
        assert!(!error.to_string().contains("pumpkin"), "{error}");
    }
    name(watched.replica.port());
    let done = store.broker.submit(&submission).unwrap();
    assert_eq!(done, [Submitted::Created]);
    let wrong = format!("{}?sentinel_password=sesame", watched.url());
    let error = open(&Options::new(&wrong)).unwrap_err().to_string();
    assert!(
        error.contains("password") && !error.contains("sesame"),
        "{error}"
    );
}
