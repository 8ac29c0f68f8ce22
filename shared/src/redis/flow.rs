//! Groups, and the ends of jobs that never ran.

use std::collections::HashMap;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, list, number};
use super::call::Call;
use super::errand::Packed;
use super::record::{Record, hex, name, nonsense};
use super::script::{CLOSE, COMPLETE, GROUPS, OPEN, REMOVE, REVOKE};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Revocation, Submitted};
use crate::catalog::{Catalog, FlowCounts, GroupRow};
use crate::fault;
use crate::flow::follow::Thread;
use crate::flow::{Complete, Errand, MemberEnd, Opening};
use crate::hook::{Ending, Hooked};
use crate::message::Header;
use crate::name::QueueName;
use crate::outcome::Cause;
use crate::policy::VERDICT_KEPT;
use crate::time::{Timestamp, millis};

/// Looks at a job that others change at the same time; each finds it as another one only if it was
/// removed and submitted anew in between.
const LOOKS: usize = 4;

/// A job as it was read before a user ends it: its seq, and what hangs on it.
struct Known {
    queue: QueueName,
    uuid: Uuid,
    seq: String,
    thread: Option<Thread>,
    /// The hook that its revocation brings.
    hook: Vec<Errand>,
}

impl Store {
    pub(super) fn open_group(&self, opening: &Opening) -> Result<Submitted, BrokerError> {
        let errand = Errand::Open(Box::new(opening.clone()));
        let packed = Packed::new(&opening.home, &[errand], &name(opening.uuid));
        let untold = self.lines.untold(std::iter::once(&opening.home));
        let told = usize::from(!untold.is_empty());
        let mut calls: Vec<Call> = self.tell_of(&untold).into_iter().collect();
        let mut call = self.script(&OPEN, &opening.home);
        packed.give(&mut call);
        calls.push(call);
        fault::point("submit");
        // A second time finds the group, and does nothing: it may be the one of the first time.
        let mut may_be_ours = false;
        let answers = match self.lines.attempt(&calls) {
            Err(Trouble::Broken(_)) => {
                may_be_ours = true;
                self.lines.run(&calls)
            }
            done => done.map_err(|trouble| self.say(&trouble)),
        }?;
        self.lines.have_told(&untold);
        let answer = answers.into_iter().nth(told).unwrap_or_default();
        let opened = list(answer).and_then(|parts| {
            // Complete at once, if all its members were known.
            self.note_completion(&self.tag(&opening.home), &parts)?;
            number(&parts[0])
        });
        let opened = opened.map_err(|trouble| self.say(&trouble))?;
        if opened < 0 {
            return Ok(Submitted::Closed);
        }
        self.deliver_now(packed.letters);
        Ok(match opened {
            0 if !may_be_ours => Submitted::Duplicate,
            _ => Submitted::Created,
        })
    }

    pub(super) fn complete_groups(&self, limit: usize) -> Result<Vec<Complete>, BrokerError> {
        let mut queues = self.take_complete();
        let others = self.next_queues(&self.rounds.groups)?;
        queues.extend(others);
        queues.sort();
        queues.dedup();
        let look = |queue: &QueueName| {
            Call::plain(&[b"ZCARD", format!("{}q", self.tag(queue)).as_bytes()])
        };
        let calls: Vec<Call> = queues.iter().map(look).collect();
        let looks = self.lines.run_again(&calls)?;
        let mut all = Vec::new();
        for (queue, found) in queues.iter().zip(looks) {
            if number(&found).is_ok_and(|count| count == 0) {
                continue;
            }
            // One by one: what members returned may be large.
            let left = limit.saturating_sub(all.len()).min(16);
            if left == 0 {
                break;
            }
            let mut call = self.script(&COMPLETE, queue);
            call.number(u64::try_from(left).unwrap_or(u64::MAX));
            let found = complete(self.on_one(call)?, queue);
            all.extend(found.map_err(|trouble| self.say(&trouble))?);
        }
        Ok(all)
    }

    pub(super) fn close_group(
        &self,
        group: &Complete,
        errands: &[Errand],
    ) -> Result<bool, BrokerError> {
        let packed = Packed::new(&group.home, errands, &name(group.uuid));
        let mut call = self.script(&CLOSE, &group.home);
        call.arg(name(group.uuid)).number(millis(VERDICT_KEPT));
        packed.give(&mut call);
        let tag = call.tag().to_owned();
        let answer = list(self.on_one(call)?);
        let closed = answer.and_then(|answer| {
            self.note_completion(&tag, &answer)?;
            number(&answer[0])
        });
        let is_closed = closed.map_err(|trouble| self.say(&trouble))? == 1;
        if is_closed {
            self.deliver_now(packed.letters);
        }
        Ok(is_closed)
    }

    pub(super) fn read_groups(&self, uuids: &[Uuid]) -> Result<Vec<Option<GroupRow>>, BrokerError> {
        let queues = self.all_queues()?;
        let mut found: HashMap<Uuid, GroupRow> = HashMap::new();
        let answers = self.on_each(&queues, &GROUPS, |call| {
            for uuid in uuids {
                call.arg(name(*uuid));
            }
        })?;
        for (queue, answer) in queues.iter().zip(answers) {
            let groups = list(answer).map_err(|trouble| self.say(&trouble))?;
            for (uuid, fields) in uuids.iter().zip(groups) {
                let row = row(*uuid, queue, fields).map_err(|trouble| self.say(&trouble))?;
                if let Some(row) = row {
                    found.insert(*uuid, row);
                }
            }
        }
        Ok(uuids.iter().map(|uuid| found.remove(uuid)).collect())
    }

    pub(super) fn count_flows(&self) -> Result<FlowCounts, BrokerError> {
        let queues = self.all_queues()?;
        let ask = |queue: &QueueName| {
            let tag = self.tag(queue);
            [("ZCARD", "n"), ("HLEN", "f")].map(|(command, key)| {
                Call::plain(&[command.as_bytes(), format!("{tag}{key}").as_bytes()])
            })
        };
        let calls: Vec<Call> = queues.iter().flat_map(ask).collect();
        let answers = self.lines.run_again(&calls)?;
        let mut counts = FlowCounts::default();
        for pair in answers.chunks(2) {
            let count = |place: usize| super::answer::count(&pair[place]);
            counts.groups += count(0).map_err(|trouble| self.say(&trouble))?;
            counts.errands += count(1).map_err(|trouble| self.say(&trouble))?;
        }
        Ok(counts)
    }

    pub(super) fn revoke_everywhere(
        &self,
        uuid: Uuid,
        skip: bool,
    ) -> Result<Revocation, BrokerError> {
        for _ in 0..LOOKS {
            if let Some(done) = self.try_to_revoke(uuid, skip)? {
                return Ok(done);
            }
        }
        Err(self.too_busy(uuid))
    }

    fn try_to_revoke(&self, uuid: Uuid, skip: bool) -> Result<Option<Revocation>, BrokerError> {
        let queues = self.all_queues()?;
        let known = self.known(&queues, &[uuid])?;
        let mut letters = Vec::new();
        let mut calls = Vec::with_capacity(queues.len());
        for queue in &queues {
            let job = known.iter().find(|job| job.queue == *queue);
            let mut errands = job
                .and_then(|job| job.thread.as_ref())
                .map_or_else(Vec::new, |thread| thread.failed(Cause::Revoked, None));
            errands.extend(job.map(|job| job.hook.clone()).unwrap_or_default());
            let packed = Packed::new(queue, &errands, &format!("{}r", name(uuid)));
            let mut call = self.script(&REVOKE, queue);
            call.arg(name(uuid))
                .arg(if skip { "1" } else { "0" })
                .number(millis(VERDICT_KEPT))
                .arg(job.map_or("", |job| &job.seq));
            packed.give(&mut call);
            letters.extend(packed.letters);
            calls.push(call);
        }
        let answers = self.lines.run_again(&calls)?;
        let numbers = answers.iter().filter_map(|one| number(one).ok());
        let numbers: Vec<i64> = numbers.collect();
        // Of several jobs with one uuid, the answer that matters most.
        let most = numbers.iter().max().copied().unwrap_or(0);
        if most < 3 && numbers.contains(&-1) {
            return Ok(None);
        }
        self.deliver_kept(&letters)?;
        Ok(Some(match most {
            1 => Revocation::AlreadyEnded,
            2 => Revocation::Skipped,
            3 => Revocation::Ended,
            4 => Revocation::Told,
            _ => Revocation::Unknown,
        }))
    }

    pub(super) fn remove_everywhere(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let mut removed = 0;
        for _ in 0..LOOKS {
            let (some, changed) = self.try_to_remove(uuids)?;
            removed += some;
            if changed == 0 {
                return Ok(usize::try_from(removed).unwrap_or(0));
            }
        }
        Err(self.too_busy(uuids.first().copied().unwrap_or_default()))
    }

    fn try_to_remove(&self, uuids: &[Uuid]) -> Result<(i64, i64), BrokerError> {
        let queues = self.all_queues()?;
        let known = self.known(&queues, uuids)?;
        let mut letters = Vec::new();
        let mut calls = Vec::with_capacity(queues.len());
        for queue in &queues {
            let mut call = self.script(&REMOVE, queue);
            for uuid in uuids {
                let job = known
                    .iter()
                    .find(|job| job.queue == *queue && job.uuid == *uuid);
                let errands = job
                    .and_then(|job| job.thread.as_ref())
                    .map_or_else(Vec::new, Thread::removed);
                let packed = Packed::new(queue, &errands, &format!("{}x", name(*uuid)));
                call.arg(name(*uuid)).arg(job.map_or("", |job| &job.seq));
                packed.give(&mut call);
                letters.extend(packed.letters);
            }
            calls.push(call);
        }
        let answers = self.lines.run_again(&calls)?;
        let (mut removed, mut changed) = (0, 0);
        for answer in answers {
            let both = list(answer).and_then(|parts| match &parts[..] {
                [one, other] => Ok((number(one)?, number(other)?)),
                _ => Err(nonsense()),
            });
            let both = both.map_err(|trouble| self.say(&trouble))?;
            removed += both.0;
            changed += both.1;
        }
        self.deliver_kept(&letters)?;
        Ok((removed, changed))
    }

    /// What users may end before it has run, with what hangs on it.
    fn known(&self, queues: &[QueueName], uuids: &[Uuid]) -> Result<Vec<Known>, BrokerError> {
        let mut all = Vec::new();
        let specs = self.tasks()?;
        for (queue, uuid, found) in self.find(queues, uuids)? {
            let record = Record::new(&found.record).map_err(|trouble| self.say(&trouble))?;
            // A damaged header names no group.
            let header: Option<Header> = serde_json::from_slice(&found.header).ok();
            let seq = record.seq().map_err(|trouble| self.say(&trouble))?;
            let (task, fence) = (record.task(), record.fence());
            let task = task.map_err(|trouble| self.say(&trouble))?;
            let fence = fence.map_err(|trouble| self.say(&trouble))?;
            let spec = specs.iter().find(|spec| spec.name == task);
            let hooked = header
                .as_ref()
                .zip(spec)
                .and_then(|(header, spec)| Hooked::of(uuid, queue, &task, header, &spec.hooks));
            let at = Timestamp::now();
            all.push(Known {
                queue: queue.clone(),
                uuid,
                seq: format!("{seq:014x}"),
                thread: header.and_then(|header| Thread::of(uuid, &header)),
                hook: hooked
                    .map_or_else(Vec::new, |hooked| hooked.revoked(&Ending::unrun(fence, at))),
            });
        }
        Ok(all)
    }

    fn too_busy(&self, uuid: Uuid) -> BrokerError {
        BrokerError::Away {
            reason: format!(
                "{}: job {uuid} was removed and submitted anew while it was looked at",
                self.lines.place
            ),
        }
    }
}

fn complete(answer: Value, queue: &QueueName) -> Result<Vec<Complete>, Trouble> {
    let mut items = Items::of(answer)?;
    let mut all = Vec::new();
    while items.len() > 0 {
        let uuid = uuid(&bytes(items.next()?)?)?;
        let record = bytes(items.next()?)?;
        let total = String::from_utf8(bytes(items.next()?)?).ok();
        let total = total.and_then(|text| text.parse().ok());
        let places = pairs(items.next()?)?;
        let mut bodies: HashMap<Vec<u8>, Vec<u8>> = pairs(items.next()?)?.into_iter().collect();
        let mut ends = Vec::with_capacity(places.len());
        for (place, about) in places {
            let (flag, member) = about.split_first().ok_or_else(nonsense)?;
            let end = MemberEnd {
                uuid: self::uuid(member)?,
                is_failed: *flag == b'1',
                body: bodies.remove(&place).unwrap_or_default(),
            };
            ends.push((place, end));
        }
        ends.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.push(Complete {
            uuid,
            home: queue.clone(),
            record,
            bytes: total.ok_or_else(nonsense)?,
            ends: ends.into_iter().map(|(_, end)| end).collect(),
        });
    }
    Ok(all)
}

fn row(uuid: Uuid, home: &QueueName, fields: Value) -> Result<Option<GroupRow>, Trouble> {
    let fields = pairs(fields)?;
    if fields.is_empty() {
        return Ok(None);
    }
    let mut row = GroupRow {
        uuid,
        home: home.clone(),
        members: 0,
        ended: 0,
        failed: 0,
        opened_at: Timestamp::default(),
        closed_at: None,
        record: Vec::new(),
        failed_places: Vec::new(),
        succeeded_places: Vec::new(),
    };
    for (field, value) in fields {
        let number = || std::str::from_utf8(&value).ok()?.parse::<u64>().ok();
        let small = || number().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        match field.as_slice() {
            b"r" => row.record = value,
            b"n" => row.members = small(),
            b"e" => row.ended = small(),
            b"f" => row.failed = small(),
            b"o" => row.opened_at = Timestamp::from_millis(number().unwrap_or(0)),
            b"c" => row.closed_at = number().map(Timestamp::from_millis),
            [b'p', place @ ..] => {
                let place = hex(place).and_then(|place| u32::try_from(place).ok());
                let place = place.ok_or_else(nonsense)?;
                match value.first() {
                    Some(b'1') => row.failed_places.push(place),
                    _ => row.succeeded_places.push(place),
                }
            }
            _ => {}
        }
    }
    row.failed_places.sort_unstable();
    row.succeeded_places.sort_unstable();
    Ok(Some(row))
}

/// A name and a value.
type Field = (Vec<u8>, Vec<u8>);

/// A hash's fields with their values.
fn pairs(value: Value) -> Result<Vec<Field>, Trouble> {
    let items = list(value)?;
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(one), Some(other)) = (items.next(), items.next()) {
        pairs.push((bytes(one)?, bytes(other)?));
    }
    Ok(pairs)
}

fn uuid(text: &[u8]) -> Result<Uuid, Trouble> {
    Uuid::try_parse_ascii(text).map_err(|_| nonsense())
}
