//! Why a durable call did not work.

use bulkhead_shared::ask::ENTRY_LIMIT;

use crate::context::Stopped;
use crate::desk::AskError;

/// Why a durable call did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// Another call stood at this place when the job ran before.
    #[error(
        "durable call `{place}` is {now}, and was {before} when the job ran before (what is outside a step must do the same in every run; submit a new job if the task has changed)"
    )]
    Diverged {
        /// The place in the task's sequence of durable calls, or the call's name.
        place: String,
        /// What it was.
        before: String,
        /// What it is.
        now: String,
    },
    /// What was recorded is no value of the type that is wanted now.
    #[error(
        "what durable call `{place}` has recorded is no value of the type it has now (submit a new job if the task has changed)"
    )]
    Type {
        /// The call.
        place: String,
        /// What the decoder says.
        #[source]
        source: serde_json::Error,
    },
    /// A value that cannot be recorded.
    #[error("the value of durable call `{place}` cannot be written as JSON")]
    NotJson {
        /// The call.
        place: String,
        /// What the encoder says.
        #[source]
        source: serde_json::Error,
    },
    /// A value of too many bytes.
    #[error(
        "the value of durable call `{place}` has {len} bytes, more than {ENTRY_LIMIT} (record where it lies, not what it is)"
    )]
    TooLarge {
        /// The call.
        place: String,
        /// Its length as JSON.
        len: usize,
    },
    /// A name that cannot be one.
    #[error(
        "`{name}` cannot name a durable call (use 1 to 64 letters, digits and `_ - .`, not a digit first)"
    )]
    Name {
        /// The text.
        name: String,
    },
    /// Two calls of one run have the same name.
    #[error("two durable calls of this run are named `{name}` (give each a name of its own)")]
    NamedTwice {
        /// The name.
        name: String,
    },
    /// No task runs on this thread.
    #[error(
        "no task runs on this thread (hand it `ctx.durable().branch(NAME)`, and call its methods)"
    )]
    NoCall,
    /// The program cannot leave a call from within.
    #[error(
        "a durable sleep leaves the task by unwinding, and this program is built to abort instead (build it with `panic = \"unwind\"`, or use `async fn` tasks)"
    )]
    NoUnwinding,
    /// The task was asked to stop while it slept.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The supervisor did not do it.
    #[error(transparent)]
    Ask(#[from] AskError),
}
