//! Schedules of running supervisors, also when these are killed and the clock is turned.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod chaos;
mod clock;
mod command;
mod each;
mod parts;
