//! Offsets when calls of the store fail, each in turn, and when what is stored is not ours.

use std::convert::Infallible;
use std::sync::Arc;

use super::super::seal::seal;
use super::super::{CheckpointError, CheckpointManager, Checkpoints, Progress};
use super::store::{How, Memory};
use crate::name::CheckpointName;
use crate::time::Timestamp;

/// How often a batch is tried in a test where one call fails.
const TRIES: usize = 4;

fn acked() -> Result<(), Infallible> {
    Ok(())
}

fn never() -> Result<(), Infallible> {
    panic!("this must not be acknowledged")
}

/// The offset in the store, past all managers.
fn stored(store: &Memory) -> u64 {
    let Some(body) = store.body("ledger") else {
        return 0;
    };
    offset_in(&body)
}

fn offset_in(body: &[u8]) -> u64 {
    let start = body.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let progress: Progress = serde_json::from_slice(&body[start..]).unwrap();
    progress.offset
}

/// Five batches of ten, each read again from the previous offset after an error. Checks at every
/// acknowledgement that the offset is stored, and after every error that there was none.
fn consume(store: &Arc<Memory>) -> Vec<u64> {
    let mut manager = CheckpointManager::new(Arc::clone(store) as _, "ledger").unwrap();
    let mut acknowledged = Vec::new();
    for batch in 1..=5 {
        let end = batch * 10;
        for attempt in 0.. {
            assert!(attempt < TRIES, "batch {batch} never ends");
            let before = acknowledged.len();
            let done = manager.commit(end, || {
                assert!(stored(store) >= end, "acknowledged before it was stored");
                acknowledged.push(end);
                acked()
            });
            match done {
                Ok(()) => break,
                Err(error) => {
                    assert!(matches!(error, CheckpointError::Store(_)), "{error}");
                    assert_eq!(acknowledged.len(), before, "acknowledged after a failure");
                }
            }
        }
    }
    acknowledged
}

#[test]
fn whichever_call_fails_a_batch_is_acknowledged_once_and_only_when_it_is_stored() {
    let whole = Memory::new();
    let all = vec![10, 20, 30, 40, 50];
    assert_eq!(consume(&whole), all);
    let calls = whole.calls();
    assert_eq!(calls, 6, "one read, and one write for each batch");
    for n in 0..calls {
        for how in [How::Before, How::After] {
            let store = Memory::failing(n, how);
            assert_eq!(consume(&store), all, "call {n} fails {how:?}");
            let offsets: Vec<_> = store.written().iter().map(|body| offset_in(body)).collect();
            assert!(offsets.is_sorted(), "an offset went back: {offsets:?}");
            assert_eq!(stored(&store), 50);
        }
    }
}

/// The reference acknowledges before it writes.
#[test]
fn a_write_that_fails_acknowledges_nothing_and_leaves_the_previous_offset() {
    // The calls: read, write 10, write 20.
    let store = Memory::failing(2, How::Before);
    let mut manager = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    manager.commit(10, acked).unwrap();
    let error = manager.commit(20, never).unwrap_err();
    assert!(error.to_string().contains("call 2 fails"), "{error}");
    assert_eq!(manager.offset().unwrap(), 10);
    manager.commit(20, acked).unwrap();
    assert_eq!(manager.offset().unwrap(), 20);
}

/// The reference writes `last_read_at` whenever it reads.
#[test]
fn reading_never_writes() {
    let store = Memory::new();
    let mut manager = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    assert_eq!(manager.offset().unwrap(), 0);
    assert_eq!(store.body("ledger"), None);
    manager.commit(10, acked).unwrap();
    let before = store.body("ledger");
    for _ in 0..3 {
        assert_eq!(manager.offset().unwrap(), 10);
    }
    assert_eq!(store.written().len(), 1);
    assert_eq!(store.body("ledger"), before);
}

/// The reference trusts whatever it finds, and begins at 0 if it finds an empty text.
#[test]
fn what_is_no_checkpoint_is_an_error_that_names_the_place_and_the_way_out_and_is_left_alone() {
    let store = Memory::new();
    let mut manager = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    manager.commit(10, acked).unwrap();
    let good = store.body("ledger").unwrap();
    let spoilt: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{\"offset\": 3, \"written_at\": 1.5}".to_vec(),
        b"{}".to_vec(),
        good[..good.len() / 2].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b" "].concat(),
        seal("offset", b"{}"),
        seal(
            "offset",
            b"{\"offset\":-1,\"written_at\":0,\"writer\":\"x\"}",
        ),
        seal("dependencies", &good),
        good.iter().map(|byte| byte ^ 1).collect(),
    ];
    for body in spoilt {
        store.spoil("ledger", &body);
        for mut manager in [
            CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap(),
            CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap(),
        ] {
            let reading = manager.offset().unwrap_err();
            let writing = manager.commit(20, never).unwrap_err();
            for error in [reading, writing] {
                assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
                let error = error.to_string();
                assert!(
                    error.contains("`memory/ledger`") && error.contains("forget_checkpoint"),
                    "{error}"
                );
            }
            assert_eq!(store.body("ledger").unwrap(), body);
        }
    }
    // The way out.
    let name = CheckpointName::new("ledger").unwrap();
    assert!(store.forget_checkpoint(&name).unwrap());
    let mut manager = CheckpointManager::new(store, "ledger").unwrap();
    assert_eq!(manager.offset().unwrap(), 0);
    manager.commit(1, acked).unwrap();
}

#[test]
fn an_offset_never_goes_back() {
    let store = Memory::new();
    let mut manager = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    manager.commit(10, acked).unwrap();
    let error = manager.commit(9, never).unwrap_err().to_string();
    assert!(
        error.contains("offset 10") && error.contains("to 9"),
        "{error}"
    );
    // Nor for one who has not read it yet.
    let mut later = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    let error = later.commit(9, never).unwrap_err();
    assert!(
        matches!(
            error,
            CheckpointError::Back {
                kept: 10,
                wanted: 9,
                ..
            }
        ),
        "{error}"
    );
    later.commit(10, acked).unwrap();
    assert_eq!(store.written().len(), 2);
}

#[test]
fn of_two_who_write_the_same_checkpoint_the_one_who_was_overtaken_acknowledges_nothing() {
    let store = Memory::new();
    let manager = || CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    let (mut old, mut new) = (manager(), manager());
    old.commit(10, acked).unwrap();
    assert_eq!(new.offset().unwrap(), 10);
    new.commit(20, acked).unwrap();
    for _ in 0..2 {
        let error = old.commit(30, never).unwrap_err();
        assert!(
            matches!(error, CheckpointError::Overtaken { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("`memory/ledger`"), "{error}");
    }
    // Who reads it takes it over, knowingly.
    assert_eq!(old.offset().unwrap(), 20);
    old.commit(30, acked).unwrap();
    assert!(new.commit(40, never).is_err());
}

#[test]
fn a_write_in_doubt_that_another_has_overtaken_is_not_taken_for_ones_own() {
    // The calls: read, write 10, write 20 (in doubt).
    let store = Memory::failing(2, How::After);
    let mut old = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    old.commit(10, acked).unwrap();
    assert!(old.commit(20, never).is_err());
    let mut new = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    new.commit(20, acked).unwrap();
    let error = old.commit(20, never).unwrap_err();
    assert!(
        matches!(error, CheckpointError::Overtaken { .. }),
        "{error}"
    );
}

#[test]
fn a_batch_that_cannot_be_acknowledged_is_stored_and_the_same_call_does_both_again() {
    let store = Memory::new();
    let mut manager = CheckpointManager::new(Arc::clone(&store) as _, "ledger").unwrap();
    let error = manager.commit(10, || Err("the line is cut")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("offset 10 is kept") && text.contains("cut"),
        "{text}"
    );
    assert_eq!(stored(&store), 10);
    manager.commit(10, acked).unwrap();
}

#[test]
fn what_is_kept_says_when_and_by_whom() {
    let store = Memory::new();
    let mut manager = CheckpointManager::new(store, "ledger").unwrap();
    assert_eq!(manager.progress().unwrap(), None);
    let before = Timestamp::now();
    manager.commit(10, acked).unwrap();
    let first = manager.progress().unwrap().unwrap();
    assert!(
        first.offset == 10 && first.written_at >= before,
        "{first:?}"
    );
    manager.commit(20, acked).unwrap();
    assert_eq!(manager.progress().unwrap().unwrap().writer, first.writer);
}

#[test]
fn a_name_that_is_none_is_refused() {
    let error = CheckpointManager::new(Memory::new(), "a b").unwrap_err();
    assert!(
        error.to_string().contains("checkpoint name `a b`"),
        "{error}"
    );
}
