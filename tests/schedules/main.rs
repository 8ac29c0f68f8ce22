//! Schedules of running supervisors, also when these are killed and the clock is turned.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "all of this is tests; the long form tells its figures"
)]

mod chaos;
mod clock;
mod command;
mod declared;
mod each;
mod lasting;
mod parts;
