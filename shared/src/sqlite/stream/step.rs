//! How far holders have come, and what comes next.

use rusqlite::Connection;

use super::super::ledger::Ledger;
use super::Done;
use super::rows::{self, Found, Processor, ShareRow, Track, bound, columns, json, must_find};
use crate::name::{Namespace, StreamName};
use crate::stream::keep::{DEAD_MOST, Duty, Pass, READ_MOST, Read, Step, Trouble};
use crate::stream::{Event, Together, are_packed};

/// Where one in so many partitions is read, what is known of all of them is looked up together.
const ALL_AT_ONCE: usize = 4;

impl Ledger {
    /// Makes steps; says of each whether it was made.
    pub(super) fn make(&mut self, duty: &Duty, steps: &[Step]) -> Done<Vec<bool>> {
        let found = must_find(&self.conn, &self.namespace, &duty.stream)?;
        for step in steps {
            found.check(step.hold.partition)?;
        }
        let Some(processor) = found.processor(&self.conn, &duty.processor)? else {
            return Ok(vec![false; steps.len()]);
        };
        let made = steps
            .iter()
            .map(|step| self.one_step(&found, &processor, step));
        Ok(made.collect::<rusqlite::Result<_>>()?)
    }

    fn one_step(
        &self,
        found: &Found,
        processor: &Processor,
        step: &Step,
    ) -> rusqlite::Result<bool> {
        let part = step.hold.partition;
        let mut share = processor.share(&self.conn, part)?;
        if share.fence != step.hold.fence || share.fence == 0 {
            return Ok(false);
        }
        let track = found.track(&self.conn, part)?;
        share.keep_up(track);
        let is_changed = match &step.pass {
            Pass::To(to) => share.pass(*to, track),
            Pass::Buried {
                to,
                events,
                trouble,
            } => {
                let is_later = share.pass(*to, track);
                if is_later {
                    self.bury(&mut share, events, trouble)?;
                }
                is_later
            }
            Pass::Failed(trouble) => {
                share.trouble = Some(trouble.clone());
                share.open_trouble().is_some()
            }
        };
        if is_changed {
            share.save(&self.conn)?;
        }
        Ok(true)
    }

    fn bury(
        &self,
        share: &mut ShareRow,
        events: &[Event],
        trouble: &Trouble,
    ) -> rusqlite::Result<()> {
        let trouble = json(trouble);
        for event in events {
            let (position, ms, seq) = columns(event.place);
            let key = (share.processor, share.part, position);
            let sql = "DELETE FROM dead_event WHERE processor = ?1 AND part = ?2 AND position = ?3";
            let replaced = self.execute(sql, key)?;
            let sql = "INSERT INTO dead_event(processor, part, position, ms, seq, trouble, fields)
                VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let fields = event.fields.packed();
            self.execute(sql, (key.0, key.1, key.2, ms, seq, &trouble, fields))?;
            share.dead += u64::from(replaced == 0);
        }
        if let Some(surplus) = share.dead.checked_sub(DEAD_MOST)
            && surplus > 0
        {
            let sql = "DELETE FROM dead_event WHERE processor = ?1 AND part = ?2 AND position IN
                (SELECT position FROM dead_event WHERE processor = ?1 AND part = ?2
                    ORDER BY position LIMIT ?3)";
            self.execute(sql, (share.processor, share.part, bound(surplus)))?;
            share.dead = DEAD_MOST;
        }
        Ok(())
    }
}

/// Fulfils wishes to read.
pub(super) fn read_all(
    conn: &Connection,
    namespace: &Namespace,
    stream: &StreamName,
    reads: &[Read],
) -> Done<Vec<Vec<Event>>> {
    let found = must_find(conn, namespace, stream)?;
    for read in reads {
        found.check(read.partition)?;
    }
    // Whoever waits looks at all of them whenever anything was committed. A row that cannot be read is the
    // trouble of those who want it.
    let together = reads.len() > usize::from(found.spec.partitions) / ALL_AT_ONCE;
    let tracks = together.then(|| found.tracks(conn).ok()).flatten();
    let tracks = tracks.unwrap_or_default();
    let events = reads.iter().map(|wish| {
        let at = tracks.binary_search_by_key(&wish.partition, |&(part, _)| part);
        let track = match at.ok().and_then(|at| tracks.get(at)) {
            Some(&(_, track)) => track,
            None => found.track(conn, wish.partition)?,
        };
        read(conn, &found, wish, track)
    });
    Ok(events.collect::<rusqlite::Result<_>>()?)
}

fn read(
    conn: &Connection,
    found: &Found,
    wish: &Read,
    track: Track,
) -> rusqlite::Result<Vec<Event>> {
    // A row may have events that are gone before those that are not.
    let after = wish.after.position.max(track.gone.position);
    if after >= track.last.position {
        return Ok(Vec::new());
    }
    let sql = "SELECT position, ms, seq, count, fields FROM event
        WHERE stream = ?1 AND part = ?2 AND position > ?3 ORDER BY position LIMIT ?4";
    let mut statement = conn.prepare_cached(sql)?;
    let most = wish.most.min(READ_MOST);
    let mut rows = statement.query((found.id, wish.partition, bound(after), most))?;
    let mut events = Together::default();
    while let Some(row) = rows.next()? {
        let row = rows::packed(row)?;
        for (event, nth) in row.events().zip(1..) {
            let damaged = || {
                let at = row.last.position.saturating_sub(row.count) + nth;
                let (part, stream) = (wish.partition, &found.spec.name);
                rows::damaged(4, format!("event {at} of partition {part} of `{stream}`"))
            };
            let (place, fields) = match event {
                Some((place, _)) if place.position <= after => continue,
                Some((_, fields)) if events.is_enough(most, fields.len()) => {
                    return Ok(events.into_events());
                }
                Some((place, fields)) if are_packed(fields) => (place, fields),
                // Those before it come first.
                _ if !events.is_empty() => return Ok(events.into_events()),
                _ => return Err(damaged()),
            };
            events.push(place, fields);
        }
    }
    Ok(events.into_events())
}
