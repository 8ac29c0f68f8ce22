//! `supervisor migrate`: jobs between two stores.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod command;
mod full;
mod parts;
mod refusals;
mod servers;
mod storm;
