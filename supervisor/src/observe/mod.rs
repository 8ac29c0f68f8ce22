//! What the supervisor lets others see of itself.

pub(crate) mod log;
