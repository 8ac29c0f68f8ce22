//! Remembers that an allocation has failed, so that an abort for want of memory can be told from
//! any other.
//!
//! The record belongs to the thread: Rust aborts on the thread whose allocation failed, and a
//! neighbour's success must not wipe it out.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    /// Bytes of this thread's last allocation if it failed, else 0. Without a destructor, so it
    /// may be read in an allocator and in a signal handler.
    static FAILED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of the allocation that failed just now on this thread, if one did.
pub(crate) fn failed() -> Option<usize> {
    Some(FAILED.get()).filter(|&bytes| bytes > 0)
}

/// An allocator that remembers failures of the one it wraps.
///
/// With the feature `allocation-record` (default) this crate sets it over the system's
/// allocator. With another one, switch the feature off and wrap it, to keep the exact verdict
/// `out-of-memory`:
///
/// ```ignore
/// #[global_allocator]
/// static ALLOCATOR: bulkhead_child::Recording<MiMalloc> = bulkhead_child::Recording::new(MiMalloc);
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct Recording<A>(A);

impl<A> Recording<A> {
    /// Wraps `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self(allocator)
    }
}

#[cfg(feature = "allocation-record")]
#[global_allocator]
static ALLOCATOR: Recording<std::alloc::System> = Recording::new(std::alloc::System);

fn noted(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        FAILED.set(bytes);
    } else if FAILED.get() != 0 {
        FAILED.set(0);
    }
    memory
}

// SAFETY: every call goes to `A` unchanged, and its answer comes back unchanged; in between only
// a thread-local number is set, which neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Recording<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        noted(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        noted(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        noted(unsafe { self.0.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.dealloc(memory, layout) }
    }
}

#[cfg(all(test, feature = "allocation-record"))]
mod tests {
    use super::*;

    #[test]
    fn a_failed_allocation_is_remembered_until_the_next_success() {
        let huge = usize::MAX >> 2;
        assert_eq!(failed(), None);
        assert!(Vec::<u8>::new().try_reserve_exact(huge).is_err());
        assert_eq!(failed(), Some(huge));
        drop(std::hint::black_box(Box::new(1)));
        assert_eq!(failed(), None);
    }
}
