//! Which supervisors there are and what they serve.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use crate::broker::{Presence, Selection, SupervisorId};
use crate::name::{QueueName, TaskName};

/// A [`Presence`] as the rows hold it, prepared by the caller's thread.
#[derive(Debug)]
pub(super) struct Announcement {
    id: SupervisorId,
    host: String,
    pid: u32,
    selection: Vec<u8>,
    tasks: Vec<(TaskName, Vec<u8>)>,
}

/// A [`Selection`] as the rows hold it.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    queues: Vec<QueueName>,
    tasks: Vec<TaskName>,
}

/// Queues and tasks that somebody serves.
#[derive(Debug)]
pub(super) struct Served(pub(super) HashSet<(QueueName, TaskName)>);

impl Announcement {
    pub(super) fn new(presence: &Presence) -> Self {
        let Selection { queues, tasks } = presence.selection.clone();
        let specs = presence.tasks.iter();
        Self {
            id: presence.id,
            host: presence.host.clone(),
            pid: presence.pid,
            selection: json(&Stored { queues, tasks }),
            tasks: specs.map(|spec| (spec.name.clone(), json(spec))).collect(),
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, numbers and lists can always be written as JSON")
}

impl Served {
    /// Adds what one supervisor serves. What cannot be read is of a later version: nothing.
    pub(super) fn add(pairs: &mut HashSet<(QueueName, TaskName)>, selection: &[u8]) {
        let Ok(Stored { queues, tasks }) = serde_json::from_slice(selection) else {
            return;
        };
        for queue in &queues {
            pairs.extend(tasks.iter().map(|task| (queue.clone(), task.clone())));
        }
    }

    pub(super) fn contains(&self, queue: &QueueName, task: &TaskName) -> bool {
        self.0.contains(&(queue.clone(), task.clone()))
    }
}

impl Ledger {
    pub(super) fn announce(&mut self, presence: &Announcement) -> rusqlite::Result<()> {
        let row = self.owner(presence.id)?;
        let sql = "UPDATE supervisor SET seen = ?2, host = ?3, pid = ?4, selection = ?5
            WHERE id = ?1";
        let key = (
            row,
            self.now.wall,
            &presence.host,
            presence.pid,
            &presence.selection,
        );
        if self.execute(sql, key)? == 0 {
            // Somebody has taken us for dead; we are not, so begin anew.
            self.alive.release(presence.id);
            self.owner(presence.id)?;
            return self.announce_again(presence);
        }
        self.register(presence)
    }

    fn announce_again(&mut self, presence: &Announcement) -> rusqlite::Result<()> {
        let row = self.owner(presence.id)?;
        let sql = "UPDATE supervisor SET host = ?2, pid = ?3, selection = ?4 WHERE id = ?1";
        self.execute(
            sql,
            (row, &presence.host, presence.pid, &presence.selection),
        )?;
        self.register(presence)
    }

    fn register(&self, presence: &Announcement) -> rusqlite::Result<()> {
        for (task, spec) in &presence.tasks {
            let sql = "INSERT INTO task(namespace, name, spec) VALUES(?1, ?2, ?3)
                ON CONFLICT(namespace, name) DO UPDATE SET spec = excluded.spec
                WHERE spec IS NOT excluded.spec";
            self.execute(sql, (self.namespace.as_str(), task.as_str(), spec))?;
        }
        Ok(())
    }

    /// Its row stays as long as it holds leases: they are taken over by whoever looks next.
    pub(super) fn leave(&mut self, id: SupervisorId) -> rusqlite::Result<()> {
        self.alive.release(id);
        self.execute(
            "UPDATE supervisor SET selection = NULL WHERE uuid = ?1",
            [id.0.as_bytes()],
        )?;
        self.marks.rings = true;
        Ok(())
    }

    /// Forgets supervisors that are dead and hold nothing.
    pub(super) fn forget_supervisors(&self, limit: usize) -> rusqlite::Result<usize> {
        let sql = "SELECT id, boot FROM supervisor WHERE NOT EXISTS(
            SELECT 1 FROM job WHERE state = 2 AND owner = supervisor.id)";
        let idle = self.rows(sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?))
        })?;
        let dead = idle
            .into_iter()
            .filter(|(row, boot)| *boot != self.boot_id || !self.alive.is_alive(*row))
            .take(limit);
        let mut forgotten = 0;
        for (row, _) in dead {
            forgotten += self.execute("DELETE FROM supervisor WHERE id = ?1", [row])?;
        }
        Ok(forgotten)
    }
}
