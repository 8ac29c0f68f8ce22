//! Groups, and what is done along with the end of a job. Everything is one file, so all of it is
//! done in the move itself.

use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::claim::{bound, uuid as uuid_of};
use super::clock::{shown, stored_length};
use super::ledger::{Ledger, name};
use super::submit::Entry;
use crate::broker::{Submission, Submitted};
use crate::catalog::{FlowCounts, GroupRow};
use crate::control::QueueGate;
use crate::fault;
use crate::flow::follow::{self, Thread};
use crate::flow::{Complete, Count, Errand, GroupRecord, Member, MemberEnd, Opening};
use crate::hook::{Ending, HookKind, Hooked};
use crate::message::{Header, PAYLOAD_LIMIT};
use crate::name::{Namespace, QueueName, TaskName};
use crate::outcome::Cause;
use crate::policy::VERDICT_KEPT;
use crate::task::TaskSpec;

/// How a job ends that never ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unrun {
    Revoked,
    Removed,
}

impl Ledger {
    pub(super) fn run_errands(&mut self, errands: &[Errand]) -> rusqlite::Result<()> {
        for errand in errands {
            match errand {
                Errand::Submit { queue, message } => {
                    let entry = Entry::new(&Submission { message, queue });
                    // Also where producers are refused: what has begun goes on.
                    if self.submit_one(&entry)? == Submitted::Duplicate
                        && let Some(member) = message.header.member.as_deref()
                    {
                        let known = self.member_of(message.uuid, queue)?;
                        self.count_known(message.uuid, member, known.as_ref())?;
                    }
                }
                Errand::Count(count) => self.count(count)?,
                Errand::Open(opening) => {
                    if self.open(opening)? == Submitted::Duplicate
                        && let Some(member) = opening.record.member.as_deref()
                    {
                        let known = self.record_of(opening.uuid)?;
                        let known = known.and_then(|record| record.member);
                        self.count_known(opening.uuid, member, known.as_deref())?;
                    }
                }
            }
        }
        if !errands.is_empty() {
            self.marks.rings = true;
            fault::point("errands");
        }
        Ok(())
    }

    /// Opens a group for a producer, unless the queue it is kept with takes nothing new.
    pub(super) fn open_new(&mut self, opening: &Opening) -> rusqlite::Result<Submitted> {
        let line = self.line(&opening.home)?;
        if self.gate(line)? == QueueGate::Draining && self.record_of(opening.uuid)?.is_none() {
            return Ok(Submitted::Closed);
        }
        self.open(opening)
    }

    pub(super) fn open(&mut self, opening: &Opening) -> rusqlite::Result<Submitted> {
        let record = serde_json::to_vec(&opening.record)
            .expect("a record holds only text, numbers and checked JSON");
        let sql = "INSERT INTO bundle(uuid, namespace, home, record, members, opened_at)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        let key = (
            opening.uuid.as_bytes(),
            self.namespace.as_str(),
            opening.home.as_str(),
            record,
            bound(opening.record.members.len()),
            self.now.wall,
        );
        if self.execute(sql, key)? == 0 {
            return Ok(Submitted::Duplicate);
        }
        self.run_errands(&opening.members)?;
        Ok(Submitted::Created)
    }

    /// A step that finds its uuid taken never runs: its group counts it as failed, unless what is known
    /// is the same member.
    fn count_known(
        &mut self,
        uuid: Uuid,
        member: &Member,
        known: Option<&Member>,
    ) -> rusqlite::Result<()> {
        if known.is_some_and(|known| (known.group, known.index) == (member.group, member.index)) {
            return Ok(());
        }
        self.count(&follow::known(uuid, member))
    }

    /// The place in a group of a job that its queue knows.
    fn member_of(&mut self, uuid: Uuid, queue: &QueueName) -> rusqlite::Result<Option<Member>> {
        let line = self.line(queue)?;
        let sql = "SELECT header FROM job WHERE uuid = ?1 AND line = ?2";
        let header: Option<Vec<u8>> = self.row(sql, (uuid.as_bytes(), line), |row| row.get(0))?;
        // A damaged header names no group.
        let header = header.and_then(|json| serde_json::from_slice::<Header>(&json).ok());
        Ok(header
            .and_then(|header| header.member)
            .map(|member| *member))
    }

    fn record_of(&self, group: Uuid) -> rusqlite::Result<Option<GroupRecord>> {
        let sql = "SELECT record FROM bundle WHERE uuid = ?1 AND namespace = ?2";
        let key = (group.as_bytes(), self.namespace.as_str());
        let record: Option<Vec<u8>> = self.row(sql, key, |row| row.get(0))?;
        Ok(record.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    fn count(&mut self, count: &Count) -> rusqlite::Result<()> {
        let sql = "SELECT id, bytes FROM bundle
            WHERE uuid = ?1 AND namespace = ?2 AND closed_at IS NULL";
        let key = (count.member.group.as_bytes(), self.namespace.as_str());
        let found = self.row(sql, key, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        let Some((id, bytes)) = found else {
            return Ok(());
        };
        let end = &count.end;
        let total = bytes.saturating_add(bound(end.body.len()));
        // What no join could take is not kept.
        let body = (total <= bound(PAYLOAD_LIMIT)).then_some(&end.body);
        let sql = "INSERT INTO place(bundle, place, member, is_failed, body)
            VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let key = (
            id,
            count.member.index,
            end.uuid.as_bytes(),
            end.is_failed,
            body,
        );
        if self.execute(sql, key)? == 1 {
            let sql = "UPDATE bundle SET ended = ended + 1, failed = failed + ?2, bytes = ?3
                WHERE id = ?1 RETURNING ended >= members";
            let is_complete = self.row(sql, (id, end.is_failed, total), |row| row.get(0))?;
            self.marks.has_completed |= is_complete.unwrap_or(false);
        }
        Ok(())
    }

    /// What the end of a job that never ran brings.
    pub(super) fn end_unrun(&mut self, id: i64, how: Unrun) -> rusqlite::Result<()> {
        let sql = "SELECT uuid, header, fence, lane FROM job WHERE id = ?1";
        let found = self.row(sql, [id], |row| {
            let header: Vec<u8> = row.get(1)?;
            Ok((uuid_of(row, 0)?, header, row.get::<_, i64>(2)?, row.get(3)?))
        })?;
        let Some((uuid, header, fence, lane)) = found else {
            return Ok(());
        };
        // A damaged header names no group.
        let Ok(header) = serde_json::from_slice::<Header>(&header) else {
            return Ok(());
        };
        let thread = Thread::of(uuid, &header);
        let errands = thread.map(|thread| match how {
            Unrun::Revoked => thread.failed(Cause::Revoked, None),
            Unrun::Removed => thread.removed(),
        });
        let mut errands = errands.unwrap_or_default();
        if how == Unrun::Revoked {
            let names = self.names(lane)?;
            let kinds = self.hooks_of(&names.task)?;
            if let Some(hooked) = Hooked::of(uuid, &names.queue, &names.task, &header, &kinds) {
                let at = shown(self.now.wall);
                errands
                    .extend(hooked.revoked(&Ending::unrun(u64::try_from(fence).unwrap_or(0), at)));
            }
        }
        self.run_errands(&errands)
    }

    /// The hooks of a task, as far as supervisors have registered it.
    fn hooks_of(&self, task: &TaskName) -> rusqlite::Result<Vec<HookKind>> {
        let sql = "SELECT spec FROM task WHERE namespace = ?1 AND name = ?2";
        let key = (self.namespace.as_str(), task.as_str());
        let spec: Option<Vec<u8>> = self.row(sql, key, |row| row.get(0))?;
        let spec = spec.and_then(|spec| serde_json::from_slice::<TaskSpec>(&spec).ok());
        Ok(spec.map_or_else(Vec::new, |spec| spec.hooks))
    }

    pub(super) fn has_complete(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM bundle INDEXED BY bundle_complete
            WHERE namespace = ?1 AND closed_at IS NULL AND ended >= members LIMIT 1";
        let found = self.row(sql, [self.namespace.as_str()], |_| Ok(()))?;
        Ok(found.is_some())
    }

    pub(super) fn complete(&self, limit: usize) -> rusqlite::Result<Vec<Complete>> {
        let sql = "SELECT id, uuid, home, record, bytes FROM bundle INDEXED BY bundle_complete
            WHERE namespace = ?1 AND closed_at IS NULL AND ended >= members ORDER BY id LIMIT ?2";
        let key = (self.namespace.as_str(), bound(limit));
        let found = self.rows(sql, key, |row| {
            let complete = Complete {
                uuid: uuid_of(row, 1)?,
                home: name(row, 2, QueueName::new)?,
                record: row.get(3)?,
                bytes: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                ends: Vec::new(),
            };
            Ok((row.get::<_, i64>(0)?, complete))
        })?;
        let mut all = Vec::with_capacity(found.len());
        for (id, mut group) in found {
            let sql = "SELECT member, is_failed, body FROM place WHERE bundle = ?1 ORDER BY place";
            group.ends = self.rows(sql, [id], |row| {
                Ok(MemberEnd {
                    uuid: uuid_of(row, 0)?,
                    is_failed: row.get(1)?,
                    body: row.get::<_, Option<Vec<u8>>>(2)?.unwrap_or_default(),
                })
            })?;
            all.push(group);
        }
        Ok(all)
    }

    pub(super) fn close(&mut self, group: Uuid, errands: &[Errand]) -> rusqlite::Result<bool> {
        let sql = "UPDATE bundle SET closed_at = ?3, forget_at = ?4
            WHERE uuid = ?1 AND namespace = ?2 AND closed_at IS NULL AND ended >= members
            RETURNING id";
        let now = self.now.wall;
        let forget_at = now.saturating_add(stored_length(VERDICT_KEPT));
        let key = (group.as_bytes(), self.namespace.as_str(), now, forget_at);
        let closed: Option<i64> = self.row(sql, key, |row| row.get(0))?;
        let Some(id) = closed else {
            return Ok(false);
        };
        // The join has them now; who failed is still shown.
        self.execute("UPDATE place SET body = NULL WHERE bundle = ?1", [id])?;
        self.run_errands(errands)?;
        self.marks.rings = true;
        Ok(true)
    }

    /// Forgets groups that were closed long ago.
    pub(super) fn forget_groups(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let sql = "SELECT id FROM bundle WHERE forget_at IS NOT NULL AND forget_at <= ?1 LIMIT ?2";
        let ids: Vec<i64> = self.rows(sql, (self.now.wall, bound(limit)), |row| row.get(0))?;
        for id in &ids {
            self.execute("DELETE FROM place WHERE bundle = ?1", [id])?;
            self.execute("DELETE FROM bundle WHERE id = ?1", [id])?;
        }
        Ok(ids.len())
    }
}

pub(super) fn groups(
    conn: &Connection,
    namespace: &Namespace,
    uuids: &[Uuid],
) -> rusqlite::Result<Vec<Option<GroupRow>>> {
    let sql = "SELECT id, uuid, home, members, ended, failed, opened_at, closed_at, record
        FROM bundle WHERE uuid = ?1 AND namespace = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = Vec::with_capacity(uuids.len());
    for uuid in uuids {
        let key = (uuid.as_bytes(), namespace.as_str());
        let found = statement.query_row(key, group).optional()?;
        rows.push(match found {
            Some((id, row)) => Some(with_places(conn, id, row)?),
            None => None,
        });
    }
    Ok(rows)
}

fn group(row: &Row<'_>) -> rusqlite::Result<(i64, GroupRow)> {
    let closed_at: Option<i64> = row.get(7)?;
    let found = GroupRow {
        uuid: uuid_of(row, 1)?,
        home: name(row, 2, QueueName::new)?,
        members: row.get(3)?,
        ended: row.get(4)?,
        failed: row.get(5)?,
        opened_at: shown(row.get(6)?),
        closed_at: closed_at.map(shown),
        record: row.get(8)?,
        failed_places: Vec::new(),
        succeeded_places: Vec::new(),
    };
    Ok((row.get(0)?, found))
}

fn with_places(conn: &Connection, id: i64, mut row: GroupRow) -> rusqlite::Result<GroupRow> {
    let sql = "SELECT place, is_failed FROM place WHERE bundle = ?1 ORDER BY place";
    let mut statement = conn.prepare_cached(sql)?;
    let places = statement.query_map([id], |row| {
        Ok((row.get::<_, u32>(0)?, row.get::<_, bool>(1)?))
    })?;
    for place in places {
        match place? {
            (place, true) => row.failed_places.push(place),
            (place, false) => row.succeeded_places.push(place),
        }
    }
    Ok(row)
}

pub(super) fn flows(conn: &Connection, namespace: &Namespace) -> rusqlite::Result<FlowCounts> {
    let sql = "SELECT count(*) FROM bundle INDEXED BY bundle_open
        WHERE namespace = ?1 AND closed_at IS NULL";
    let open: i64 = conn
        .prepare_cached(sql)?
        .query_row([namespace.as_str()], |row| row.get(0))?;
    Ok(FlowCounts {
        groups: u64::try_from(open).unwrap_or(0),
        errands: 0,
    })
}
