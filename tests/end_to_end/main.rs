//! Real supervisors, real processes, real stores.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails at once; there is nobody to return an error to"
)]

mod fallbacks;
mod parts;
mod signals;
mod verdicts;
