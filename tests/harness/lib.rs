//! What tests share: stores with clocks that only move when told, and short words for jobs.
#![allow(
    clippy::unwrap_used,
    reason = "a harness fails its test at once; there is nobody to return an error to"
)]

mod alive;
mod backends;
pub mod cli;
mod clock;
mod disk;
pub mod flow;
mod jobs;
pub mod namespace;
pub mod network;
mod part;
pub mod redis_cluster;
pub mod redis_server;
pub mod rounds;
mod scene;
pub mod sentinel;
pub mod supervise;
pub mod work;

pub use alive::{cgroups_of_run, ignores_term, processes_of, until};
pub use backends::Kind;
pub use clock::TestClock;
pub use disk::{enlarge, small_disk};
pub use jobs::{KEPT, job, queue, settlement, succeed, supervisor, task, uuids};
pub use part::{Helper, role};
pub use scene::{LEASE, Scene, secs};
