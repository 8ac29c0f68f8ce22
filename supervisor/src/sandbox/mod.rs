//! What a task is kept from, chosen at start from what this host can do.

pub(crate) mod plan;
pub(crate) mod probe;
