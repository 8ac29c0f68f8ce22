//! Streams, partitions and shares as the tables hold them.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::ledger::name;
use super::super::read::unsigned;
use super::Done;
use super::pack::Packed;
use crate::broker::{BrokerError, SupervisorId};
use crate::name::{Namespace, StreamName, TaskName};
use crate::stream::keep::{Seek, Trouble};
use crate::stream::sending::{no_partition, unknown};
use crate::stream::{EventId, Full, Place, StreamSpec};

/// A stream, and what of it a move needs.
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) spec: StreamSpec,
    /// No fence was ever above this that no share remembers.
    pub(super) fence: u64,
}

/// A processor of it.
pub(super) struct Processor {
    pub(super) id: i64,
    pub(super) name: TaskName,
    pub(super) paused: Option<String>,
}

/// A partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track {
    pub(super) last: Place,
    pub(super) gone: Place,
}

/// Who holds a share, until when, if he lives.
pub(super) struct Owner {
    pub(super) id: SupervisorId,
    pub(super) term: Term,
}

/// Until when somebody is believed to live: since that boot, unless his seat is known to be empty.
pub(super) struct Term {
    pub(super) seat: i64,
    pub(super) until: i64,
    pub(super) boot: [u8; 16],
}

/// A partition as a processor sees it.
pub(super) struct ShareRow {
    pub(super) processor: i64,
    pub(super) part: u16,
    pub(super) fence: u64,
    pub(super) owner: Option<Owner>,
    pub(super) passed: Place,
    pub(super) moved_to: Option<Seek>,
    pub(super) trouble: Option<Trouble>,
    pub(super) dead: u64,
}

/// The stream of that name.
pub(super) fn find(
    conn: &Connection,
    namespace: &Namespace,
    stream: &StreamName,
) -> rusqlite::Result<Option<Found>> {
    let sql = "SELECT id, name, partitions, size, on_full, fence FROM stream
        WHERE namespace = ?1 AND name = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    statement
        .query_row((namespace.as_str(), stream.as_str()), found)
        .optional()
}

/// All streams, by name.
pub(super) fn all(conn: &Connection, namespace: &Namespace) -> rusqlite::Result<Vec<Found>> {
    let sql = "SELECT id, name, partitions, size, on_full, fence FROM stream
        WHERE namespace = ?1 ORDER BY name";
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_map([namespace.as_str()], found)?.collect()
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let name = name(row, 1, StreamName::new)?;
    let word: String = row.get(4)?;
    let full = Full::from_name(&word)
        .ok_or_else(|| damaged(4, format!("stream `{name}`: when it is full, `{word}`")))?;
    Ok(Found {
        id: row.get(0)?,
        spec: StreamSpec {
            name,
            partitions: row.get(2)?,
            size: unsigned(row, 3)?,
            full,
        },
        fence: unsigned(row, 5)?,
    })
}

/// The stream of that name, which must be there.
pub(super) fn must_find(
    conn: &Connection,
    namespace: &Namespace,
    stream: &StreamName,
) -> Done<Found> {
    Ok(find(conn, namespace, stream)?.ok_or_else(|| unknown(stream))?)
}

impl Found {
    /// Refuses a partition that it does not have.
    pub(super) fn check(&self, part: u16) -> Result<(), BrokerError> {
        match part < self.spec.partitions {
            true => Ok(()),
            false => Err(no_partition(&self.spec.name, part, self.spec.partitions)),
        }
    }

    pub(super) fn processor(
        &self,
        conn: &Connection,
        name: &TaskName,
    ) -> rusqlite::Result<Option<Processor>> {
        let sql = "SELECT id, name, paused FROM processor WHERE stream = ?1 AND name = ?2";
        let mut statement = conn.prepare_cached(sql)?;
        statement
            .query_row((self.id, name.as_str()), processor)
            .optional()
    }

    /// Its processors, by name.
    pub(super) fn processors(&self, conn: &Connection) -> rusqlite::Result<Vec<Processor>> {
        let sql = "SELECT id, name, paused FROM processor WHERE stream = ?1 ORDER BY name";
        let mut statement = conn.prepare_cached(sql)?;
        statement.query_map([self.id], processor)?.collect()
    }

    pub(super) fn track(&self, conn: &Connection, part: u16) -> rusqlite::Result<Track> {
        let sql = "SELECT last, last_ms, last_seq, gone, gone_ms, gone_seq FROM track
            WHERE stream = ?1 AND part = ?2";
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_row((self.id, part), track).optional()?;
        found.ok_or_else(|| damaged(0, format!("partition {part} of `{}`", self.spec.name)))
    }

    /// Of all partitions, in order, each with its number.
    pub(super) fn tracks(&self, conn: &Connection) -> rusqlite::Result<Vec<(u16, Track)>> {
        let sql = "SELECT last, last_ms, last_seq, gone, gone_ms, gone_seq, part FROM track
            WHERE stream = ?1 ORDER BY part";
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map([self.id], |row| Ok((row.get(6)?, track(row)?)))?;
        rows.collect()
    }

    /// The place of an event that is kept, by its position.
    pub(super) fn place(
        &self,
        conn: &Connection,
        part: u16,
        position: u64,
    ) -> rusqlite::Result<Option<Place>> {
        let sql = "SELECT position, ms, seq, count, fields FROM event
            WHERE stream = ?1 AND part = ?2 AND position >= ?3 ORDER BY position LIMIT 1";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query((self.id, part, bound(position)))?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let packed = packed(row)?;
        if packed.last.position == position {
            return Ok(Some(packed.last));
        }
        for event in packed.events() {
            match event {
                Some((place, _)) if place.position == position => return Ok(Some(place)),
                Some(_) => {}
                // Nothing in it can be read any more: whoever goes on goes on behind it.
                None => return Ok(Some(packed.last)),
            }
        }
        Ok(None)
    }

    /// The place behind which the event of that position comes.
    pub(super) fn before(
        &self,
        conn: &Connection,
        part: u16,
        track: Track,
        position: u64,
    ) -> rusqlite::Result<Place> {
        if position <= track.gone.position + 1 {
            return Ok(track.gone);
        }
        if position > track.last.position {
            return Ok(track.last);
        }
        let found = self.place(conn, part, position - 1)?;
        found.ok_or_else(|| self.hole(part, position - 1))
    }

    /// The first position whose id is this or greater; one behind the last if there is none. Ids
    /// grow with positions, so that no index is needed.
    pub(super) fn search(
        &self,
        conn: &Connection,
        part: u16,
        track: Track,
        id: EventId,
    ) -> rusqlite::Result<u64> {
        let (mut low, mut high) = (track.gone.position + 1, track.last.position + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.place(conn, part, middle)?;
            if found.ok_or_else(|| self.hole(part, middle))?.id < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn hole(&self, part: u16, position: u64) -> rusqlite::Error {
        let stream = &self.spec.name;
        damaged(
            0,
            format!("event {position} of partition {part} of `{stream}`"),
        )
    }
}

fn processor(row: &Row<'_>) -> rusqlite::Result<Processor> {
    Ok(Processor {
        id: row.get(0)?,
        name: name(row, 1, TaskName::new)?,
        paused: row.get(2)?,
    })
}

pub(super) fn track(row: &Row<'_>) -> rusqlite::Result<Track> {
    Ok(Track {
        last: place(row, 0)?,
        gone: place(row, 3)?,
    })
}

/// Events, from place, count and fields.
pub(super) fn packed<'a>(row: &'a Row<'_>) -> rusqlite::Result<Packed<'a>> {
    Ok(Packed {
        last: place(row, 0)?,
        count: unsigned(row, 3)?,
        bytes: row.get_ref(4)?.as_blob()?,
    })
}

/// A place from three columns.
pub(super) fn place(row: &Row<'_>, from: usize) -> rusqlite::Result<Place> {
    Ok(Place {
        position: unsigned(row, from)?,
        id: EventId {
            ms: unsigned(row, from + 1)?,
            seq: unsigned(row, from + 2)?,
        },
    })
}

/// A place as three columns.
pub(super) fn columns(place: Place) -> (i64, i64, i64) {
    (
        bound(place.position),
        bound(place.id.ms),
        bound(place.id.seq),
    )
}

/// A number as the tables hold it.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What is stored makes no sense.
pub(super) fn damaged(column: usize, what: String) -> rusqlite::Error {
    let error: Box<dyn std::error::Error + Send + Sync> = format!("{what}: makes no sense").into();
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, error)
}

const SHARE: &str = "SELECT processor, part, fence, owner, seat, until, boot, passed, passed_ms,
        passed_seq, moved_to, trouble, dead FROM share";

fn read_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    part: u16,
    what: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    read.map_err(|error| damaged(column, format!("{what} in partition {part} ({error})")))
}

/// An id of who holds a partition, or of the boot since when.
fn sixteen(row: &Row<'_>, column: usize, part: u16) -> rusqlite::Result<[u8; 16]> {
    let found = row.get::<_, [u8; 16]>(column);
    found.map_err(|error| damaged(column, format!("the holder of partition {part} ({error})")))
}

fn share(row: &Row<'_>) -> rusqlite::Result<ShareRow> {
    let part = row.get(1)?;
    let owner = match row.get_ref(3)? {
        ValueRef::Null => None,
        _ => Some(Owner {
            id: SupervisorId(Uuid::from_bytes(sixteen(row, 3, part)?)),
            term: Term {
                seat: row.get(4)?,
                until: row.get(5)?,
                boot: sixteen(row, 6, part)?,
            },
        }),
    };
    Ok(ShareRow {
        processor: row.get(0)?,
        part,
        fence: unsigned(row, 2)?,
        owner,
        passed: place(row, 7)?,
        moved_to: read_json(row, 10, part, "where a processor is to go on")?,
        trouble: read_json(row, 11, part, "the trouble of a processor")?,
        dead: unsigned(row, 12)?,
    })
}

impl Processor {
    pub(super) fn share(&self, conn: &Connection, part: u16) -> rusqlite::Result<ShareRow> {
        let sql = format!("{SHARE} WHERE processor = ?1 AND part = ?2");
        let mut statement = conn.prepare_cached(&sql)?;
        let found = statement.query_row((self.id, part), share).optional()?;
        found.ok_or_else(|| damaged(0, format!("partition {part} of `{}`", self.name)))
    }

    /// All of them, in order.
    pub(super) fn shares(&self, conn: &Connection) -> rusqlite::Result<Vec<ShareRow>> {
        let sql = format!("{SHARE} WHERE processor = ?1 ORDER BY part");
        let mut statement = conn.prepare_cached(&sql)?;
        statement.query_map([self.id], share)?.collect()
    }
}

impl ShareRow {
    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        let (position, ms, seq) = columns(self.passed);
        let moved_to = self.moved_to.map(|seek| json(&seek));
        let trouble = self.trouble.as_ref().map(json);
        let term = self.owner.as_ref().map(|owner| &owner.term);
        let sql = "UPDATE share SET fence = ?3, owner = ?4, seat = ?5, until = ?6, boot = ?7,
                passed = ?8, passed_ms = ?9, passed_seq = ?10, moved_to = ?11, trouble = ?12,
                dead = ?13
            WHERE processor = ?1 AND part = ?2";
        conn.prepare_cached(sql)?.execute((
            self.processor,
            self.part,
            bound(self.fence),
            self.owner.as_ref().map(|owner| owner.id.0.as_bytes()),
            term.map_or(0, |term| term.seat),
            term.map_or(0, |term| term.until),
            term.map(|term| term.boot),
            position,
            ms,
            seq,
            moved_to,
            trouble,
            bound(self.dead),
        ))?;
        Ok(())
    }

    /// What it failed at, unless it has passed that.
    pub(super) fn open_trouble(&self) -> Option<&Trouble> {
        let passed = self.passed.position;
        self.trouble
            .as_ref()
            .filter(|trouble| trouble.place.position > passed)
    }
}

/// As the tables hold it.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("names, numbers and texts can always be written as JSON")
}
