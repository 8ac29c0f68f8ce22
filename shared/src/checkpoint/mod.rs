//! Checkpoints: how far somebody has come, kept so that it survives him.
//!
//! [`CheckpointManager`] keeps the offset of a consumer and acknowledges to its source only what is
//! kept. [`Checkpoint`] keeps how far a stream and those that it depends on have come, and says when
//! one of these is down. Both keep one record in any store of [`Checkpoints`]: that of a
//! [`Backend`](crate::backend::Backend), a directory ([`FileCheckpoints`]), or one of your own.
//!
//! How to use them: [`guide::checkpoints`](crate::guide::checkpoints).

mod dependency;
mod error;
mod file;
mod keeper;
mod marker;
mod offset;
mod pulse;
mod seal;
mod store;
mod streams;
#[cfg(test)]
mod tests;
mod vigil;

pub use dependency::{DOWNTIME_THRESHOLD, Dependency, Health};
pub use error::{Cause, CheckpointError};
pub use file::FileCheckpoints;
pub use marker::Distance;
pub use offset::{CheckpointManager, Progress};
pub use pulse::{Beat, Downtime, Pulse, State};
pub use seal::Broken;
#[cfg(any(feature = "redis", feature = "sqlite"))]
pub(crate) use store::check;
pub use store::{BODY_LIMIT, Checkpoints, Keep, Kept, MOST};
pub use streams::{Delivery, marker_of};
pub use vigil::{Checkpoint, CheckpointBuilder, Dependent, PREFIX};
