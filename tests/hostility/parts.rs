//! Short words for stores in directories.

use std::path::{Path, PathBuf};

use bulkhead_shared::backend::{Backend, Options, open};
use bulkhead_shared::broker::{BrokerError, Claim, Selection, Submission, Submitted, Turned};
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::{LEASE, queue, supervisor, task};

/// A directory of its own and the place of a store in it.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    (dir, path)
}

/// Options for the store at `path`.
pub(crate) fn at(path: &Path) -> Options {
    Options::new(&format!("sqlite:{}", path.display()))
}

/// The store at `path`, made if it is missing.
pub(crate) fn store(path: &Path) -> Backend {
    open(&at(path)).unwrap()
}

/// Why the store at `path` cannot be opened.
pub(crate) fn refusal(path: &Path) -> BrokerError {
    match open(&at(path)) {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error,
    }
}

/// Submits one job with `bytes` of payload.
pub(crate) fn submit(store: &Backend, bytes: usize) -> Result<Uuid, BrokerError> {
    let message = Message::new("add").arg("x".repeat(bytes)).build().unwrap();
    let queue = queue("default");
    let submission = Submission {
        message: &message,
        queue: &queue,
    };
    let answers = store.broker.submit(&[submission])?;
    assert_eq!(answers, [Submitted::Created]);
    Ok(message.uuid)
}

/// Claims up to `room` jobs.
pub(crate) fn claim(store: &Backend, room: usize) -> Result<Turned, BrokerError> {
    let selection = Selection {
        queues: vec![queue("default")],
        tasks: vec![task("add")],
    };
    let claim = Claim {
        owner: supervisor(),
        selection: &selection,
        room,
        lease: LEASE,
    };
    store.broker.turn(Vec::new(), Some(claim))
}
