//! What Bulkhead's supervisor, its children and its producers share.
//!
//! Without features this crate is data: names, messages, policies, outcomes, the wire. The
//! feature `store` adds the traits over a store and the [`client`]; behind them are `sqlite`, the
//! embedded store, and `redis`, the one for many machines. Both are on by default.
#![deny(unsafe_code)]

pub mod ask;
pub mod backoff;
pub mod cgroup;
pub mod codec;
pub mod command;
pub mod flow;
pub mod frame;
pub mod history;
pub mod hook;
pub mod isolation;
pub mod limits;
pub mod message;
pub mod name;
pub mod outcome;
pub mod pidfd;
pub mod policy;
pub mod retry;
pub mod stream;
pub mod task;
pub mod time;
pub mod trigger;
pub mod units;

#[cfg(feature = "store")]
pub mod backend;
#[cfg(feature = "store")]
pub mod broker;
#[cfg(feature = "store")]
pub mod catalog;
#[cfg(feature = "store")]
pub mod checkpoint;
#[cfg(feature = "store")]
pub mod client;
#[cfg(feature = "store")]
pub mod control;
#[cfg(feature = "store")]
mod directory;
#[cfg(feature = "store")]
pub mod fault;
#[cfg(feature = "store")]
pub mod finding;
#[cfg(feature = "store")]
pub mod fleet;
#[cfg(feature = "sqlite")]
pub mod guide;
#[cfg(feature = "store")]
pub mod journal;
#[cfg(feature = "store")]
pub mod lock;
#[cfg(feature = "store")]
pub mod reconnect;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "store")]
pub mod schedule;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "store")]
pub mod status;
#[cfg(feature = "store")]
pub mod transit;
#[cfg(feature = "store")]
pub mod turned;

#[cfg(any(feature = "redis", feature = "sqlite"))]
mod wake;

pub use message::{Message, MessageBuilder, MessageError};
pub use name::{
    CheckpointName, Key, LockName, LockOwner, Namespace, QueueName, ScheduleName, StreamName,
    TaskName,
};
pub use time::Timestamp;
pub use uuid::Uuid;
