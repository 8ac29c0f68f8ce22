//! Evidence for tests: with `BULKHEAD_TEST_EVIDENCE=1` the scripts of this process tell a stream of
//! every transition that the store accepts, in the step that makes it. Without the variable they
//! are as they were written.

use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that asks for it.
pub const VARIABLE: &str = "BULKHEAD_TEST_EVIDENCE";

static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// From now on there is evidence, of scripts that have not been used yet.
pub fn keep() {
    IS_KEPT.store(true, Ordering::Relaxed);
}

/// Whether it is asked for: only scripts give it.
pub(super) fn is_kept() -> bool {
    IS_KEPT.load(Ordering::Relaxed)
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
