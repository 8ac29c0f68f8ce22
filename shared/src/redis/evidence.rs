//! Evidence for tests: with `BULKHEAD_TEST_EVIDENCE=1` the scripts and transactions of this process tell
//! a stream of every transition that the store accepts, in the step that makes it. Without the variable
//! they are as they were written.

use std::sync::atomic::{AtomicBool, Ordering};

use super::call::Transaction;

/// Bytes of a record that are told: what its attempts are known by.
const TOLD: usize = 166;

/// The variable that asks for it.
pub const VARIABLE: &str = "BULKHEAD_TEST_EVIDENCE";

static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// From now on there is evidence, of scripts that have not been used yet.
pub fn keep() {
    IS_KEPT.store(true, Ordering::Relaxed);
}

/// Whether it is asked for.
pub(super) fn is_kept() -> bool {
    IS_KEPT.load(Ordering::Relaxed)
}

/// Tells of a job that a transaction stores, as scripts do (`scripts/evidence.lua`).
pub(super) fn tell(transaction: &mut Transaction, tag: &str, uuid: &str, record: &[u8]) {
    let (stream, new) = (format!("{tag}evidence"), &record[..TOLD]);
    let told: [&[u8]; 8] = [
        b"uuid",
        uuid.as_bytes(),
        b"old",
        b"",
        b"new",
        new,
        b"due",
        b"",
    ];
    let words = [&[b"XADD", stream.as_bytes(), b"*"][..], &told].concat();
    transaction.push(&words, &[]);
}

/// A script's text as it is sent.
pub(super) fn of(script: String) -> String {
    if is_kept() {
        [include_str!("scripts/evidence.lua"), &script].concat()
    } else {
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_sent_as_they_were_written_unless_evidence_is_asked_for() {
        assert_eq!(of("return 1".into()), "return 1");
    }
}
