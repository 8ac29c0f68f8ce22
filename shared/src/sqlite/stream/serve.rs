//! Who serves a processor, who holds what of it, and how that looks.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::claim::uuid;
use super::super::clock::shown;
use super::super::ledger::Ledger;
use super::Done;
use super::rows::{self, Found, Owner, Processor, ShareRow, Term, Track, bound, must_find};
use crate::broker::SupervisorId;
use crate::name::{StreamName, TaskName};
use crate::stream::Place;
use crate::stream::keep::{Duty, Hold, Kept, Overview, Rest, Seek, Share, Taken, View};

impl Ledger {
    /// Whether somebody is believed to live no more.
    fn is_past(&self, term: &Term) -> bool {
        term.boot != self.boot_id || term.until <= self.now.boot || !self.alive.is_alive(term.seat)
    }

    fn holder<'a>(&self, share: &'a ShareRow) -> Option<&'a Owner> {
        let owner = share.owner.as_ref();
        owner.filter(|owner| !self.is_past(&owner.term))
    }

    pub(super) fn attend(
        &mut self,
        duty: &Duty,
        member: SupervisorId,
        lease: i64,
        holds: &[Hold],
    ) -> Done<View> {
        let found = must_find(&self.conn, &self.namespace, &duty.stream)?;
        let processor = match found.processor(&self.conn, &duty.processor)? {
            Some(processor) => processor,
            None => self.begin(&found, &duty.processor)?,
        };
        let seat = self.owner(member)?;
        let until = self.now.boot.saturating_add(lease);
        for (id, term) in self.attendants(&processor)? {
            if self.is_past(&term) {
                let sql = "DELETE FROM attendant WHERE processor = ?1 AND uuid = ?2";
                self.execute(sql, (processor.id, id.as_bytes()))?;
            }
        }
        let sql = "INSERT INTO attendant(processor, uuid, seat, until, boot)
            VALUES(?1, ?2, ?3, ?4, ?5)
            ON CONFLICT(processor, uuid) DO UPDATE SET seat = excluded.seat,
                until = excluded.until, boot = excluded.boot";
        let key = (processor.id, member.0.as_bytes(), seat, until, self.boot_id);
        self.execute(sql, key)?;
        for hold in holds {
            let sql = "UPDATE share SET seat = ?5, until = ?6, boot = ?7
                WHERE processor = ?1 AND part = ?2 AND fence = ?3 AND owner = ?4";
            let key = (
                processor.id,
                hold.partition,
                bound(hold.fence),
                member.0.as_bytes(),
                seat,
                until,
                self.boot_id,
            );
            self.execute(sql, key)?;
        }
        Ok(self.view(&found, &processor)?)
    }

    /// Makes a processor that is new.
    fn begin(&self, found: &Found, name: &TaskName) -> rusqlite::Result<Processor> {
        let sql = "INSERT INTO processor(stream, name) VALUES(?1, ?2)";
        self.execute(sql, (found.id, name.as_str()))?;
        let id = self.conn.last_insert_rowid();
        let sql = "INSERT INTO share(processor, part, passed, passed_ms, passed_seq)
            SELECT ?2, part, gone, gone_ms, gone_seq FROM track WHERE stream = ?1";
        self.execute(sql, (found.id, id))?;
        Ok(Processor {
            id,
            name: name.clone(),
            paused: None,
        })
    }

    /// Who serves a processor, by when they came.
    fn attendants(&self, processor: &Processor) -> rusqlite::Result<Vec<(Uuid, Term)>> {
        let sql = "SELECT uuid, seat, until, boot FROM attendant WHERE processor = ?1 ORDER BY id";
        self.rows(sql, [processor.id], |row| {
            let term = Term {
                seat: row.get(1)?,
                until: row.get(2)?,
                boot: row.get(3)?,
            };
            Ok((uuid(row, 0)?, term))
        })
    }

    /// Those of them who live.
    pub(super) fn members(&self, processor: &Processor) -> rusqlite::Result<Vec<SupervisorId>> {
        let all = self.attendants(processor)?.into_iter();
        let living = all.filter(|(_, term)| !self.is_past(term));
        Ok(living.map(|(id, _)| SupervisorId(id)).collect())
    }

    fn view(&self, found: &Found, processor: &Processor) -> rusqlite::Result<View> {
        let shares = processor.shares(&self.conn)?;
        let tracks = found.tracks(&self.conn)?;
        if shares.len() != tracks.len() {
            let name = &processor.name;
            return Err(rows::damaged(0, format!("the partitions of `{name}`")));
        }
        let shares = shares.into_iter().zip(tracks);
        let shares = shares.map(|(share, (_, track))| self.show(found, share, track));
        Ok(View {
            members: self.members(processor)?,
            shares: shares.collect::<Result<_, _>>()?,
            paused: processor.paused.clone(),
        })
    }

    fn show(&self, found: &Found, mut share: ShareRow, track: Track) -> rusqlite::Result<Share> {
        share.keep_up(track);
        let is_behind = share.passed.position < track.last.position;
        let next = match is_behind {
            true => found.place(&self.conn, share.part, share.passed.position + 1)?,
            false => None,
        };
        Ok(Share {
            partition: share.part,
            owner: self.holder(&share).map(|owner| owner.id),
            fence: share.fence,
            passed: share.passed,
            moved_to: share.moved_to,
            last: track.last,
            waiting_since: next.map(|next| shown(bound(next.id.ms))),
            trouble: share.open_trouble().cloned(),
            dead: share.dead,
        })
    }

    pub(super) fn take(
        &mut self,
        duty: &Duty,
        member: SupervisorId,
        partitions: &[u16],
        lease: i64,
    ) -> Done<Vec<Taken>> {
        let found = must_find(&self.conn, &self.namespace, &duty.stream)?;
        let partitions: BTreeSet<u16> = partitions.iter().copied().collect();
        for part in &partitions {
            found.check(*part)?;
        }
        let Some(processor) = found.processor(&self.conn, &duty.processor)? else {
            return Ok(Vec::new());
        };
        if !self.members(&processor)?.contains(&member) {
            return Ok(Vec::new());
        }
        let seat = self.owner(member)?;
        let term = || Term {
            seat,
            until: self.now.boot.saturating_add(lease),
            boot: self.boot_id,
        };
        let mut all = Vec::new();
        for part in partitions {
            let mut share = processor.share(&self.conn, part)?;
            let is_held = self.holder(&share).is_some_and(|owner| owner.id != member);
            let track = found.track(&self.conn, part)?;
            share.keep_up(track);
            let rest = share.open_trouble().and_then(|trouble| trouble.rest);
            if is_held || rest == Some(Rest::Quarantined) {
                continue;
            }
            // Of a new one; it may have been forgotten once.
            if share.fence == 0 {
                share.fence = found.fence;
            }
            share.fence += 1;
            share.owner = Some(Owner {
                id: member,
                term: term(),
            });
            if let Some(to) = share.moved_to.take() {
                share.passed = self.seek_to(&found, part, track, share.passed, to)?;
                share.trouble = None;
            }
            share.trouble = share.open_trouble().cloned();
            if let Some(trouble) = &mut share.trouble
                && trouble.rest.take() == Some(Rest::Halted)
            {
                trouble.tries = 0;
            }
            share.save(&self.conn)?;
            all.push(Taken {
                hold: Hold {
                    partition: part,
                    fence: share.fence,
                },
                passed: share.passed,
                trouble: share.trouble,
            });
        }
        Ok(all)
    }

    fn seek_to(
        &self,
        found: &Found,
        part: u16,
        track: Track,
        passed: Place,
        to: Seek,
    ) -> rusqlite::Result<Place> {
        let next = match to {
            Seek::Start => return Ok(track.gone),
            Seek::End => return Ok(track.last),
            Seek::Id(id) => found.search(&self.conn, part, track, id)?,
            Seek::Skip(count) => passed.position.saturating_add(count).saturating_add(1),
        };
        found.before(&self.conn, part, track, next)
    }

    pub(super) fn give_back(&mut self, duty: &Duty, holds: &[Hold]) -> Done<()> {
        let Some(processor) = self.processor(duty)? else {
            return Ok(());
        };
        for hold in holds {
            let sql = "UPDATE share SET owner = NULL, until = 0
                WHERE processor = ?1 AND part = ?2 AND fence = ?3";
            self.execute(sql, (processor.id, hold.partition, bound(hold.fence)))?;
        }
        self.marks.rings = true;
        Ok(())
    }

    pub(super) fn depart(&mut self, duty: &Duty, member: SupervisorId) -> Done<()> {
        let Some(processor) = self.processor(duty)? else {
            return Ok(());
        };
        let key = (processor.id, member.0.as_bytes());
        let sql = "UPDATE share SET owner = NULL, until = 0 WHERE processor = ?1 AND owner = ?2";
        self.execute(sql, key)?;
        let sql = "DELETE FROM attendant WHERE processor = ?1 AND uuid = ?2";
        self.execute(sql, key)?;
        self.marks.rings = true;
        Ok(())
    }

    /// A processor that somebody has served.
    pub(super) fn processor(&self, duty: &Duty) -> rusqlite::Result<Option<Processor>> {
        match rows::find(&self.conn, &self.namespace, &duty.stream)? {
            Some(found) => found.processor(&self.conn, &duty.processor),
            None => Ok(None),
        }
    }

    pub(super) fn overviews(&self, only: Option<&StreamName>) -> Done<Vec<Overview>> {
        let streams = match only {
            Some(name) => Vec::from_iter(rows::find(&self.conn, &self.namespace, name)?),
            None => rows::all(&self.conn, &self.namespace)?,
        };
        let overview = |found: Found| -> rusqlite::Result<Overview> {
            let mut processors = Vec::new();
            for processor in found.processors(&self.conn)? {
                let view = self.view(&found, &processor)?;
                processors.push((processor.name, view));
            }
            let mut partitions = Vec::new();
            for (part, track) in found.tracks(&self.conn)? {
                let first = track.gone.position + 1;
                partitions.push(Kept {
                    len: track.last.position.saturating_sub(track.gone.position),
                    first: found.place(&self.conn, part, first)?,
                    last: track.last,
                });
            }
            Ok(Overview {
                spec: found.spec,
                partitions,
                processors,
            })
        };
        let all = streams.into_iter().map(overview);
        Ok(all.collect::<rusqlite::Result<_>>()?)
    }
}

impl ShareRow {
    /// A processor does not wait for events that are gone.
    pub(super) fn keep_up(&mut self, track: Track) {
        if self.passed.position < track.gone.position {
            self.passed = track.gone;
        }
    }

    /// Passes all up to a place, if that is later.
    pub(super) fn pass(&mut self, to: Place, track: Track) -> bool {
        let to = match to.position > track.last.position {
            true => track.last,
            false => to,
        };
        let is_later = to.position > self.passed.position;
        if is_later {
            self.passed = to;
            self.trouble = self.open_trouble().cloned();
        }
        is_later
    }
}
