//! Real supervisors, real processes, real stores.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails at once; there is nobody to return an error to"
)]

mod ahead;
mod asks;
mod ceilings;
mod children;
mod command_hooks;
mod commands;
mod crowds;
mod deadlines;
mod draining;
mod durable;
mod fallbacks;
mod flows;
mod groups;
mod hooks;
mod hostile;
mod limits;
mod memory;
mod moving;
mod output;
mod own_limits;
mod parts;
mod profiles;
mod python;
mod real_work;
mod redis;
mod reload;
mod retries;
mod signals;
mod submissions;
mod two_supervisors;
mod users;
mod wardens;
