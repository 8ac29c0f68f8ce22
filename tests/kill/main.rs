//! Supervisors that are killed at any moment, and what becomes of their jobs.
//!
//! The evidence is not what the store says about itself at the end: a trigger in its database
//! records every transition that was accepted, each attempt appends its uuid and fence to a file,
//! and [`laws`] holds both logs against each other.
#![allow(
    clippy::unwrap_used,
    reason = "evidence that cannot be read fails its test at once"
)]

mod evidence;
mod fallbacks;
mod faults;
mod flows;
mod lasting;
mod laws;
mod restart;
mod scene;
mod shared_store;
mod storm;
