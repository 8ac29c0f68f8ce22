//! Streams with real supervisors and processors: policies, sharing, steering, and a storm.
#![deny(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "evidence that cannot be read fails its test at once"
)]

mod commands;
mod dependency;
mod policies;
mod scene;
mod sharing;
mod storm;
