//! Events come in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::ledger::Ledger;
use super::Done;
use super::pack::Pack;
use super::rows::{Found, bound, columns, must_find};
use crate::name::StreamName;
use crate::stream::Place;
use crate::stream::keep::{Record, Sent};
use crate::stream::sending::{Room, next_id};

/// How events come into one partition.
struct Inlet {
    room: Room,
    is_full: bool,
    /// Taken in, and not stored yet.
    pack: Option<Pack>,
}

impl Ledger {
    pub(super) fn send(&mut self, stream: &StreamName, batch: &[Record]) -> Done<Vec<Sent>> {
        let found = must_find(&self.conn, &self.namespace, stream)?;
        for record in batch {
            found.check(record.partition)?;
        }
        let mut inlets = BTreeMap::new();
        let mut all = Vec::with_capacity(batch.len());
        for record in batch {
            let part = record.partition;
            let inlet = match inlets.entry(part) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Inlet {
                    room: self.room_in(&found, part)?,
                    is_full: false,
                    pack: None,
                }),
            };
            inlet.is_full |= !inlet.room.is_there();
            all.push(match inlet.is_full {
                true => Sent::Full,
                false => self.take_in(&found, record, inlet)?,
            });
        }
        for (part, mut inlet) in inlets {
            if let Some(pack) = inlet.pack {
                self.store_pack(&found, part, &pack)?;
            }
            self.trim(&found, part, &mut inlet.room)?;
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

    fn take_in(&self, found: &Found, record: &Record, inlet: &mut Inlet) -> rusqlite::Result<Sent> {
        let room = &mut inlet.room;
        let now = u64::try_from(self.now.wall).unwrap_or(0);
        let Some(id) = next_id(room.last.id, now, record.id) else {
            return Ok(Sent::NotNewer { last: room.last.id });
        };
        let place = Place {
            position: room.last.position + 1,
            id,
        };
        room.last = place;
        let fields = record.fields.packed();
        match &mut inlet.pack {
            Some(pack) if pack.has_room(fields) => pack.push(place, fields),
            pack => {
                if let Some(full) = pack.replace(Pack::new(place, fields)) {
                    self.store_pack(found, record.partition, &full)?;
                }
            }
        }
        Ok(Sent::Stored(place))
    }

    fn store_pack(&self, found: &Found, part: u16, pack: &Pack) -> rusqlite::Result<()> {
        let (position, ms, seq) = columns(pack.last);
        let sql = "INSERT INTO event(stream, part, position, ms, seq, count, fields)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let key = (found.id, part, position, ms, seq, pack.count, pack.bytes());
        self.execute(sql, key)?;
        Ok(())
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
