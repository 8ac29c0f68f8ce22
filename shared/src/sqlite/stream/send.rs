//! Events come in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::ledger::Ledger;
use super::Done;
use super::rows::{Found, bound, columns, must_find};
use crate::name::StreamName;
use crate::stream::Place;
use crate::stream::keep::{Record, Sent};
use crate::stream::sending::{Room, next_id};

impl Ledger {
    pub(super) fn send(&mut self, stream: &StreamName, batch: &[Record]) -> Done<Vec<Sent>> {
        let found = must_find(&self.conn, &self.namespace, stream)?;
        for record in batch {
            found.check(record.partition)?;
        }
        let mut rooms: BTreeMap<u16, (Room, bool)> = BTreeMap::new();
        let mut all = Vec::with_capacity(batch.len());
        for record in batch {
            let part = record.partition;
            let (room, is_full) = match rooms.entry(part) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert((self.room_in(&found, part)?, false)),
            };
            *is_full |= !room.is_there();
            all.push(match *is_full {
                true => Sent::Full,
                false => self.store_event(&found, record, room)?,
            });
        }
        for (part, (room, _)) in &mut rooms {
            self.trim(&found, *part, room)?;
        }
        self.marks.rings |= all.iter().any(|sent| matches!(sent, Sent::Stored(_)));
        Ok(all)
    }

    fn room_in(&self, found: &Found, part: u16) -> rusqlite::Result<Room> {
        let track = found.track(&self.conn, part)?;
        let sql = "SELECT min(passed) FROM processor JOIN share ON share.processor = processor.id
            WHERE processor.stream = ?1 AND share.part = ?2";
        let passed = self.row(sql, (found.id, part), |row| row.get::<_, Option<i64>>(0))?;
        let passed = passed.flatten();
        Ok(Room {
            size: found.spec.size,
            full: found.spec.full,
            passed: passed.map(|passed| u64::try_from(passed).unwrap_or(0)),
            gone: track.gone,
            last: track.last,
        })
    }

    fn store_event(
        &self,
        found: &Found,
        record: &Record,
        room: &mut Room,
    ) -> rusqlite::Result<Sent> {
        let now = u64::try_from(self.now.wall).unwrap_or(0);
        let Some(id) = next_id(room.last.id, now, record.id) else {
            return Ok(Sent::NotNewer { last: room.last.id });
        };
        let place = Place {
            position: room.last.position + 1,
            id,
        };
        let (position, ms, seq) = columns(place);
        let sql = "INSERT INTO event(stream, part, position, ms, seq, fields)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        let key = (
            found.id,
            record.partition,
            position,
            ms,
            seq,
            record.fields.packed(),
        );
        self.execute(sql, key)?;
        room.last = place;
        Ok(Sent::Stored(place))
    }

    /// Removes what may go, and writes how far the partition has come.
    fn trim(&self, found: &Found, part: u16, room: &mut Room) -> rusqlite::Result<()> {
        if let Some(to) = room.trim_to() {
            let place = found.place(&self.conn, part, to)?;
            let sql = "DELETE FROM event WHERE stream = ?1 AND part = ?2 AND position <= ?3";
            self.execute(sql, (found.id, part, bound(to)))?;
            room.gone = place.unwrap_or(Place {
                position: to,
                ..room.gone
            });
        }
        let ((last, last_ms, last_seq), (gone, gone_ms, gone_seq)) =
            (columns(room.last), columns(room.gone));
        let sql = "UPDATE track SET last = ?3, last_ms = ?4, last_seq = ?5,
                gone = ?6, gone_ms = ?7, gone_seq = ?8
            WHERE stream = ?1 AND part = ?2";
        let key = (
            found.id, part, last, last_ms, last_seq, gone, gone_ms, gone_seq,
        );
        self.execute(sql, key)?;
        Ok(())
    }
}
