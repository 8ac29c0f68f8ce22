//! What a task is kept from: profiles as data, what this host can do, and what comes of both.

pub(crate) mod lowered;
pub(crate) mod menu;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod profile;
pub(crate) mod seccomp;
