//! Processes, their pipes, and what is left to clear away after them. Performs what the pool
//! decides; decides nothing. Runs on the reactor thread, apart from [`home::Cleaner`].

pub(crate) mod cgroup;
pub(crate) mod dead;
pub(crate) mod exit;
pub(crate) mod home;
pub(crate) mod limits;
pub(crate) mod link;
pub(crate) mod memory;
pub(crate) mod orphans;
mod packet;
pub(crate) mod pipes;
mod removal;
pub(crate) mod text;
pub(crate) mod users;
pub(crate) mod warden;
pub(crate) mod zygote;
