//! Four supervisors on two hosts and one Redis server, all of which fail.
//!
//! The hosts are network namespaces, so that one can be cut off. The evidence is not what the
//! store says about itself at the end: its scripts tell a stream of every transition in the step
//! that makes it, each attempt writes under its fence to a register that all hosts share, and
//! [`laws`] holds both against each other.
#![allow(
    clippy::unwrap_used,
    reason = "evidence that cannot be read fails its test at once"
)]

mod attempts;
mod cut;
mod evidence;
mod fleet;
mod flows;
mod laws;
mod overlap;
mod server;
mod storm;
mod story;
