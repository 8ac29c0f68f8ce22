//! Places where a test may kill the process: `BULKHEAD_TEST_FAULT=NAME:N` raises SIGKILL at the
//! N-th passage of the point NAME. Without the variable a point costs one relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that arms a point.
pub const VARIABLE: &str = "BULKHEAD_TEST_FAULT";

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Reads the variable; called once at start. Returns what was armed, so that it can be shouted.
pub fn arm(value: Option<&str>) -> Option<&'static str> {
    let armed = ARMED.get_or_init(|| {
        let (name, count) = value?.split_once(':')?;
        Some(Armed {
            name: name.into(),
            left: AtomicU64::new(count.parse().ok()?),
        })
    });
    armed.as_ref().map(|armed| armed.name.as_str())
}

/// A point at which the process may be told to die.
pub fn point(name: &str) {
    if let Some(Some(armed)) = ARMED.get()
        && armed.name == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Of no use if it fails: the test that armed the point then sees no death.
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
