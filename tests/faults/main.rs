//! Real supervisors, and what befalls their Redis servers and the way there.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails at once; there is nobody to return an error to"
)]

mod cluster;
mod lost;
mod parts;
mod refused;
mod sentinel;
mod silent;
