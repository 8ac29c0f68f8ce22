//! The client commands against real stores, as far as they need no running task.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails at once; there is nobody to return an error to"
)]

mod child;
mod config;
mod doctor;
mod fleet;
mod inspect;
mod keeping;
mod limits;
mod lock;
mod redis;
mod submit;
mod usage;
