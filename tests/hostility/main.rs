//! What the world does to a SQLite store: other programs, full disks, planted links, neighbours.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod files;
mod growth;
mod layouts;
mod limits;
mod neighbours;
mod parts;
