//! Keeps what a panic says until its task's answer is written.
#![forbid(unsafe_code)]

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use bulkhead_shared::frame::Failure;

use crate::durable;

thread_local! {
    /// Where this thread last panicked, with the backtrace if one is wanted.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook, in front of the one that is there: its output is worth keeping too.
pub(crate) fn record() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // A panic while the place is being written has no place.
        let _ = PLACE.try_with(|place| {
            if let Ok(mut place) = place.try_borrow_mut() {
                *place = Some(describe(info));
            }
        });
        next(info);
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let mut place = info
        .location()
        .map_or_else(|| "unknown place".into(), ToString::to_string);
    // Captured only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        place = format!("{place}\n{backtrace}");
    }
    place
}

/// Runs `call`; a panic becomes a failure.
pub(crate) fn catch<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    PLACE.set(None);
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let is_suspension = durable::is_suspension(payload.as_ref());
        let failure = Failure {
            name: if is_suspension { "suspended" } else { "panic" }.into(),
            text: text(payload.as_ref()),
            traceback: PLACE.take(),
            is_final: false,
        };
        discard(payload);
        Err(failure)
    })
}

fn text(payload: &(dyn Any + Send)) -> String {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => (*text).into(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a text".into(),
    }
}

/// The payload's destructor is the task's code and may panic as well.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        let failure = catch::<()>(|| panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(
            (&*failure.name, &*failure.text),
            ("panic", "a panic without a text")
        );
    }

    #[test]
    fn a_formatted_panic_keeps_its_text() {
        let failure = catch::<()>(|| panic!("{} of {}", 1, 2)).unwrap_err();
        assert_eq!(failure.text, "1 of 2");
    }
}
