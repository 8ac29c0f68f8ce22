//! Evidence for tests: with `BULKHEAD_TEST_EVIDENCE=1` the scripts of this process tell a stream of
//! every transition that the store accepts, in the step that makes it. Without the variable they
//! are as they were written.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that asks for it.
pub const VARIABLE: &str = "BULKHEAD_TEST_EVIDENCE";

static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// From now on there is evidence, of scripts that have not been used yet.
pub fn keep() {
    IS_KEPT.store(true, Ordering::Relaxed);
}

/// A script's text as it is sent.
pub(super) fn of(script: &'static str) -> Cow<'static, str> {
    if IS_KEPT.load(Ordering::Relaxed) {
        Cow::Owned([include_str!("scripts/evidence.lua"), script].concat())
    } else {
        Cow::Borrowed(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_sent_as_they_were_written_unless_evidence_is_asked_for() {
        assert!(matches!(of("return 1"), Cow::Borrowed("return 1")));
    }
}
