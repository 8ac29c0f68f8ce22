//! What surrounds the events of a processor.

use bulkhead_shared::stream::Event;

use crate::hooks::TaskError;

/// Runs around each event of the processors that name it: `middleware = [Timing, Audit]`. The first
/// of several is the outermost.
///
/// It lives in the processor's process, so it sees what the function does there: errors and panics. A
/// crash, a timeout or the end of memory takes it along. What is to happen to every event that fails
/// is the business of `exception_policy`: that is where dead letters are made.
///
/// ```
/// use bulkhead_child::{Event, Middleware, TaskError, anyhow};
///
/// struct Audit;
///
/// impl Middleware for Audit {
///     fn before(&self, event: &Event) -> anyhow::Result<()> {
///         println!("{} begins", event.place.id);
///         Ok(())
///     }
///     fn failed(&self, event: &Event, error: &TaskError) {
///         println!("{} failed: {}", event.place.id, error.text);
///     }
/// }
/// ```
pub trait Middleware: Sync {
    /// Before the function is given the event; of a batch, for each of its events.
    ///
    /// # Errors
    /// The event has failed, and the function is not given it. So it is with a panic.
    fn before(&self, event: &Event) -> anyhow::Result<()> {
        let _ = event;
        Ok(())
    }

    /// When the function has asked for more, or returned without an error, and the event is about to be
    /// passed.
    ///
    /// # Errors
    /// The event has failed after all, and is not passed. So it is with a panic.
    fn after(&self, event: &Event) -> anyhow::Result<()> {
        let _ = event;
        Ok(())
    }

    /// When the function has failed with the event in its hands, or the event could not be read, in
    /// which case nothing has begun. A panic in here is passed over.
    fn failed(&self, event: &Event, error: &TaskError) {
        let _ = (event, error);
    }
}
