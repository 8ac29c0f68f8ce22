//! The supervisors of a namespace, as a store knows them.

use crate::broker::{Selection, SupervisorId};
use crate::time::Timestamp;

/// One start of a supervisor, alive or dead and not forgotten yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which start.
    pub id: SupervisorId,
    /// Its machine; `None` if it has never announced itself.
    pub host: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its release; `None` for one that does not say.
    pub version: Option<String>,
    /// Jobs it can run at once; 0 for a command that only moves jobs.
    pub slots: Option<u32>,
    /// Jobs it holds now, if the store can tell cheaply.
    pub held: Option<u64>,
    /// What it takes; nothing once it has left.
    pub selection: Selection,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// Its last sign of life.
    pub seen_at: Timestamp,
    /// Whether it lives. In doubt it does.
    pub is_alive: bool,
}
