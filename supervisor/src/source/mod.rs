//! The threads between the store and the reactor: claim and settle, renew, guard.

mod decide;
pub(crate) mod groups;
pub(crate) mod guard;
mod held;
mod lanes;
pub(crate) mod queue;
pub(crate) mod renew;
mod room;

pub(crate) use decide::{Place, decide};
pub(crate) use held::Held;
pub(crate) use room::Room;

#[cfg(test)]
mod tests;
