//! Servers and keys that cannot be used: named, with a way out, and without secrets.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{BrokerError, Submission};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::{job, queue};

#[test]
fn a_wrong_password_is_refused_and_never_told() {
    let server = RedisServer::start(&[]);
    assert_eq!(server.command("CONFIG SET requirepass sesame"), "+OK");
    let host = format!("127.0.0.1:{}", server.port());
    for url in [
        format!("redis://{host}"),
        format!("redis://:pumpkin@{host}"),
    ] {
        let error = open(&Options::new(&url)).unwrap_err();
        assert!(matches!(error, BrokerError::Refused { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("password") && !said.contains("pumpkin"),
            "{said}"
        );
    }
    let store = open(&Options::new(&format!("redis://:sesame@{host}"))).unwrap();
    let said = format!("{store:?} {}", store.catalog.place());
    assert!(said.contains(&host) && !said.contains("sesame"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_away() {
    let url = {
        let server = RedisServer::start(&[]);
        server.url()
    };
    let error = open(&Options::new(&url)).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[test]
fn keys_of_another_program_are_named_and_left_alone() {
    let server = RedisServer::start(&[]);
    server.command("LPUSH {bulkhead|default}r:add theirs");
    server.command("LPUSH {bulkhead|default}d theirs");
    let store = open(&Options::new(&server.url())).unwrap();
    let message = job()
        .delay(std::time::Duration::from_secs(9))
        .build()
        .unwrap();
    let queue = queue("default");
    let submission = Submission {
        message: &message,
        queue: &queue,
    };
    let error = store.broker.submit(&[submission]).unwrap_err();
    assert!(matches!(error, BrokerError::Refused { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("`{bulkhead|default}d` is a list"), "{said}");
    assert!(said.contains("--namespace"), "{said}");
    assert_eq!(server.command("LLEN {bulkhead|default}d"), ":1");
}

#[test]
fn a_layout_of_another_release_is_refused() {
    let server = RedisServer::start(&[]);
    for (layout, way_out) in [
        ("3", "newer release"),
        ("1", "supervisor migrate"),
        ("x", "release"),
    ] {
        server.command(&format!("SET {{bulkhead|}}layout {layout}"));
        let error = open(&Options::new(&server.url())).unwrap_err().to_string();
        assert!(error.contains(&format!("layout `{layout}`")), "{error}");
        assert!(error.contains(way_out), "{error}");
    }
}

#[test]
fn a_full_server_is_full_and_goes_on_when_there_is_room() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let store = open(&Options::new(&server.url())).unwrap();
    let message = job().build().unwrap();
    let queue = queue("default");
    let submission = [Submission {
        message: &message,
        queue: &queue,
    }];
    server.command("CONFIG SET maxmemory 1");
    let error = store.broker.submit(&submission).unwrap_err();
    assert!(matches!(error, BrokerError::Full { .. }), "{error:?}");
    server.command("CONFIG SET maxmemory 0");
    store.broker.submit(&submission).unwrap();
}
