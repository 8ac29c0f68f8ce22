//! What operators do to streams and processors.

use bytes::Bytes;
use rusqlite::Connection;

use super::super::claim::bound as count;
use super::super::ledger::Ledger;
use super::Done;
use super::rows::{self, Found, Processor, ShareRow, bound, must_find};
use crate::name::{Namespace, StreamName, TaskName};
use crate::stream::keep::{DeadEvent, Duty, READ_BYTES, READ_MOST, Seek, Trouble};
use crate::stream::sending::{is_served, no_processor, other_count};
use crate::stream::{Event, Fields, Place, StreamSpec};

impl Ledger {
    pub(super) fn declare(&mut self, spec: &StreamSpec) -> Done<()> {
        let name = spec.name.as_str();
        let (size, full) = (bound(spec.size), spec.full.as_str());
        let Some(found) = rows::find(&self.conn, &self.namespace, &spec.name)? else {
            let sql = "INSERT INTO stream(namespace, name, partitions, size, on_full, fence)
                VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
            // From the clock: a fence that was given out is not given out again if a stream was
            // cleared away and is made anew.
            let fence = self.now.wall.saturating_mul(1024);
            let key = (
                self.namespace.as_str(),
                name,
                spec.partitions,
                size,
                full,
                fence,
            );
            self.execute(sql, key)?;
            let id = self.conn.last_insert_rowid();
            for part in 0..spec.partitions {
                self.execute("INSERT INTO track(stream, part) VALUES(?1, ?2)", (id, part))?;
            }
            return Ok(());
        };
        let there = found.spec.partitions;
        if there != spec.partitions {
            Err(other_count(&spec.name, there, spec.partitions))?;
        }
        if found.spec != *spec {
            let sql = "UPDATE stream SET size = ?2, on_full = ?3 WHERE id = ?1";
            self.execute(sql, (found.id, size, full))?;
        }
        Ok(())
    }

    /// The shares that are meant: these partitions, or all.
    fn meant(&self, duty: &Duty, partitions: &[u16]) -> Done<(Found, Vec<ShareRow>)> {
        let found = must_find(&self.conn, &self.namespace, &duty.stream)?;
        for part in partitions {
            found.check(*part)?;
        }
        let processor = self.must_find_processor(&found, &duty.processor)?;
        let mut shares = processor.shares(&self.conn)?;
        shares.retain(|share| partitions.is_empty() || partitions.contains(&share.part));
        Ok((found, shares))
    }

    fn must_find_processor(&self, found: &Found, name: &TaskName) -> Done<Processor> {
        let processor = found.processor(&self.conn, name)?;
        Ok(processor.ok_or_else(|| no_processor(&found.spec.name, name.as_str()))?)
    }

    pub(super) fn seek(&mut self, duty: &Duty, partitions: &[u16], to: Seek) -> Done<()> {
        for mut share in self.meant(duty, partitions)?.1 {
            share.moved_to = Some(to);
            if let Some(trouble) = &mut share.trouble {
                trouble.rest = None;
            }
            share.save(&self.conn)?;
        }
        self.marks.rings = true;
        Ok(())
    }

    pub(super) fn end_rest(&mut self, duty: &Duty, partitions: &[u16]) -> Done<Vec<u16>> {
        let (found, shares) = self.meant(duty, partitions)?;
        let mut rested = Vec::new();
        for mut share in shares {
            share.keep_up(found.track(&self.conn, share.part)?);
            if share
                .open_trouble()
                .is_some_and(|trouble| trouble.rest.is_some())
            {
                share.trouble = None;
                share.save(&self.conn)?;
                rested.push(share.part);
            }
        }
        self.marks.rings = true;
        Ok(rested)
    }

    pub(super) fn pause(
        &mut self,
        stream: &StreamName,
        processor: Option<&TaskName>,
        why: Option<&str>,
    ) -> Done<()> {
        let found = must_find(&self.conn, &self.namespace, stream)?;
        match processor {
            Some(name) => {
                let processor = self.must_find_processor(&found, name)?;
                let sql = "UPDATE processor SET paused = ?2 WHERE id = ?1";
                self.execute(sql, (processor.id, why))?;
            }
            None => {
                let sql = "UPDATE processor SET paused = ?2 WHERE stream = ?1";
                self.execute(sql, (found.id, why))?;
            }
        }
        self.marks.rings = true;
        Ok(())
    }

    pub(super) fn forget_processor(&mut self, duty: &Duty) -> Done<bool> {
        let Some(found) = rows::find(&self.conn, &self.namespace, &duty.stream)? else {
            return Ok(false);
        };
        let Some(processor) = found.processor(&self.conn, &duty.processor)? else {
            return Ok(false);
        };
        if !self.members(&processor)?.is_empty() {
            Err(is_served(&duty.stream, duty.processor.as_str()))?;
        }
        // No fence of it comes back.
        let sql = "UPDATE stream SET fence = max(fence,
                (SELECT ifnull(max(fence), 0) FROM share WHERE processor = ?2))
            WHERE id = ?1";
        self.execute(sql, (found.id, processor.id))?;
        for table in ["share", "attendant", "dead_event"] {
            let sql = format!("DELETE FROM {table} WHERE processor = ?1");
            self.execute(&sql, [processor.id])?;
        }
        self.execute("DELETE FROM processor WHERE id = ?1", [processor.id])?;
        Ok(true)
    }

    pub(super) fn drop_dead(&mut self, duty: &Duty, part: u16, to: Place) -> Done<u64> {
        let found = must_find(&self.conn, &self.namespace, &duty.stream)?;
        found.check(part)?;
        let Some(processor) = found.processor(&self.conn, &duty.processor)? else {
            return Ok(0);
        };
        let sql = "DELETE FROM dead_event WHERE processor = ?1 AND part = ?2 AND position <= ?3";
        let dropped = self.execute(sql, (processor.id, part, bound(to.position)))?;
        let sql = "UPDATE share SET dead = max(dead - ?3, 0) WHERE processor = ?1 AND part = ?2";
        self.execute(sql, (processor.id, part, count(dropped)))?;
        Ok(u64::try_from(dropped).unwrap_or(u64::MAX))
    }

    /// Removes up to `limit` rows of events of the namespace; with none left all else of its streams. Returns
    /// whether it has come to the end.
    pub(super) fn clear_streams(&mut self, limit: usize) -> rusqlite::Result<bool> {
        let namespace = self.namespace.as_str();
        let mut left = limit;
        for found in self.rows(
            "SELECT id FROM stream WHERE namespace = ?1",
            [namespace],
            |row| row.get::<_, i64>(0),
        )? {
            let sql = "DELETE FROM event WHERE stream = ?1 AND (part, position) IN
                (SELECT part, position FROM event WHERE stream = ?1 LIMIT ?2)";
            left -= self.execute(sql, (found, count(left)))?.min(left);
            if left == 0 {
                return Ok(false);
            }
        }
        for table in ["share", "attendant", "dead_event"] {
            let sql = format!(
                "DELETE FROM {table} WHERE processor IN (SELECT processor.id FROM processor
                    JOIN stream ON stream.id = processor.stream WHERE namespace = ?1)"
            );
            self.execute(&sql, [namespace])?;
        }
        for table in ["processor", "track"] {
            let sql = format!(
                "DELETE FROM {table} WHERE stream IN (SELECT id FROM stream WHERE namespace = ?1)"
            );
            self.execute(&sql, [namespace])?;
        }
        self.execute("DELETE FROM stream WHERE namespace = ?1", [namespace])?;
        self.marks.rings = true;
        Ok(true)
    }
}

/// Dead letters of a partition, oldest first.
pub(super) fn dead(
    conn: &Connection,
    namespace: &Namespace,
    duty: &Duty,
    part: u16,
    most: u32,
) -> Done<Vec<DeadEvent>> {
    let found = must_find(conn, namespace, &duty.stream)?;
    found.check(part)?;
    let Some(processor) = found.processor(conn, &duty.processor)? else {
        return Ok(Vec::new());
    };
    let sql = "SELECT position, ms, seq, trouble, fields FROM dead_event
        WHERE processor = ?1 AND part = ?2 ORDER BY position LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((processor.id, part, most.min(READ_MOST)))?;
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let packed = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += packed.len();
        if bytes > READ_BYTES && !all.is_empty() {
            break;
        }
        let place = rows::place(row, 0)?;
        let trouble: String = row.get(3)?;
        let trouble = serde_json::from_str::<Trouble>(&trouble).ok();
        let fields = Fields::unpack(Bytes::copy_from_slice(packed));
        let (Some(trouble), Some(fields)) = (trouble, fields) else {
            let (at, name) = (place.position, &processor.name);
            let what = format!("dead letter {at} of `{name}` in partition {part}");
            return Err(rows::damaged(3, what).into());
        };
        all.push(DeadEvent {
            partition: part,
            event: Event { place, fields },
            trouble,
        });
    }
    Ok(all)
}
