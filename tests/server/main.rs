//! What befalls a Redis server, its connections and its keys, and what the store makes of it.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod connections;
mod demoted;
mod growth;
mod herd;
mod mending;
mod optimism;
mod refusals;
mod streams;
