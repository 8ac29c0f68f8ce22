//! Which supervisors there are and what they serve.

use std::collections::{HashMap, HashSet};

use rusqlite::Row;
use serde::{Deserialize, Serialize};

use super::claim::uuid;
use super::clock::{shown, stored};
use super::ledger::{Ledger, name};
use super::read::unsigned;
use crate::broker::{Presence, Selection, SupervisorId};
use crate::fleet::Member;
use crate::name::{QueueName, TaskName};
use crate::task::TaskSpec;

/// A [`Presence`] as the rows hold it, prepared by the caller's thread.
#[derive(Debug)]
pub(super) struct Announcement {
    id: SupervisorId,
    host: String,
    pid: u32,
    selection: Vec<u8>,
    tasks: Vec<(TaskName, Vec<u8>)>,
    queues: Vec<QueueName>,
    limits: Vec<(TaskName, Option<u32>)>,
    version: String,
    slots: u32,
    started_at: i64,
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
        let limit = |spec: &TaskSpec| (spec.name.clone(), spec.concurrency);
        Self {
            id: presence.id,
            host: presence.host.clone(),
            pid: presence.pid,
            queues: queues.clone(),
            limits: specs.clone().map(limit).collect(),
            selection: json(&Stored { queues, tasks }),
            tasks: specs.map(|spec| (spec.name.clone(), json(spec))).collect(),
            version: presence.version.clone(),
            slots: presence.slots,
            started_at: stored(presence.started_at),
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, numbers and lists can always be written as JSON")
}

/// What one supervisor takes. What cannot be read is of a later version: nothing.
fn read_selection(json: &[u8]) -> Selection {
    let nothing = Stored {
        queues: Vec::new(),
        tasks: Vec::new(),
    };
    let Stored { queues, tasks } = serde_json::from_slice(json).unwrap_or(nothing);
    Selection { queues, tasks }
}

impl Served {
    /// Adds what one supervisor serves.
    pub(super) fn add(pairs: &mut HashSet<(QueueName, TaskName)>, selection: &[u8]) {
        let Selection { queues, tasks } = read_selection(selection);
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
        if !self.describe(presence)? {
            // Somebody has taken us for dead; we are not, so begin anew.
            self.alive.release(presence.id);
            self.describe(presence)?;
        }
        self.alive.touch();
        self.register(presence)?;
        self.limit_tasks(presence)
    }

    /// Keeps the limits of its tasks; those that have none any more lose them.
    fn limit_tasks(&mut self, presence: &Announcement) -> rusqlite::Result<()> {
        let its_tasks: HashMap<_, _> = presence.limits.iter().cloned().collect();
        for queue in &presence.queues {
            let line = self.line(queue)?;
            let sql = "SELECT lane.id, lane.task FROM cap JOIN lane ON lane.id = cap.lane
                WHERE cap.line = ?1";
            let limited = self.rows(sql, [line], |row| {
                Ok((row.get::<_, i64>(0)?, name(row, 1, TaskName::new)?))
            })?;
            for (lane, task) in limited {
                if its_tasks.get(&task) == Some(&None) {
                    self.limit(line, lane, None)?;
                }
            }
            for (task, most) in &its_tasks {
                if most.is_some() {
                    let (line, lane) = self.lane(queue, task)?;
                    self.limit(line, lane, *most)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a supervisor's row; false if there is none any more.
    fn describe(&mut self, presence: &Announcement) -> rusqlite::Result<bool> {
        let row = self.owner(presence.id)?;
        let sql = "UPDATE supervisor SET seen = ?2, host = ?3, pid = ?4, selection = ?5,
                version = ?6, slots = ?7, since = ?8
            WHERE id = ?1";
        let key = (
            row,
            self.now.wall,
            &presence.host,
            presence.pid,
            &presence.selection,
            &presence.version,
            presence.slots,
            presence.started_at,
        );
        Ok(self.execute(sql, key)? == 1)
    }

    /// The supervisors of our namespace.
    pub(super) fn fleet(&self) -> rusqlite::Result<Vec<Member>> {
        let sql = "SELECT id, uuid, boot, seen, host, pid, selection, version, slots, since,
                (SELECT count(*) FROM job WHERE state = 2 AND owner = supervisor.id)
            FROM supervisor WHERE namespace = ?1 ORDER BY id";
        let member = |row: &Row<'_>| {
            let is_ours = row.get::<_, [u8; 16]>(2)? == self.boot_id;
            let selection: Option<Vec<u8>> = row.get(6)?;
            let has_left = selection.is_none();
            let member = Member {
                id: SupervisorId(uuid(row, 1)?),
                host: row.get(4)?,
                pid: row.get(5)?,
                version: row.get(7)?,
                slots: row.get(8)?,
                held: Some(unsigned(row, 10)?),
                selection: read_selection(selection.as_deref().unwrap_or_default()),
                started_at: row.get::<_, Option<i64>>(9)?.map(shown),
                seen_at: shown(row.get(3)?),
                is_alive: is_ours && self.alive.is_alive(row.get(0)?),
            };
            Ok((member, has_left))
        };
        let all = self.rows(sql, [self.namespace.as_str()], member)?;
        let listed = |(member, has_left): (Member, bool)| {
            (!has_left || member.held != Some(0)).then_some(member)
        };
        Ok(all.into_iter().filter_map(listed).collect())
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
    pub(super) fn forget_supervisors(&mut self, limit: usize) -> rusqlite::Result<usize> {
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
