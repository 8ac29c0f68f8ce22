//! Streams: each lies in a slot of its own, with all its partitions and processors, so that a move is
//! one script. A partition is a Redis stream that other programs can read.

mod told;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;

use super::answer::{Items, bytes, count, list, number};
use super::bell::rung;
use super::call::Call;
use super::record::name;
use super::script::{
    STREAM_ATTEND, STREAM_CLEAR, STREAM_DECLARE, STREAM_OPERATE, STREAM_READ, STREAM_SEND,
    STREAM_STEP, STREAM_TAKE, STREAM_VIEW, STREAM_YIELD, Script,
};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::{BrokerError, SupervisorId};
use crate::name::{StreamName, TaskName};
use crate::stream::keep::{
    Attendance, DEAD_MOST, DeadEvent, Duty, Hold, Overview, READ_BYTES, READ_MOST, Read, Record,
    Seek, Sent, Step, Streams, Taken, Turn, View,
};
use crate::stream::sending::{
    self, NUMBER_MOST, TRIMMED_AT_ONCE, is_served, no_partition, no_processor, other_count, unknown,
};
use crate::stream::{EventId, Place, StreamSpec};
use crate::time::{Timestamp, millis};

/// So many events are asked for as they are, and what is too much of them is left; ...
const ASKED_PLAINLY: u32 = 16;

/// ... so many if those before were small. More of them are asked for by a script that looks at their
/// sizes, which takes the server longer.
const ASKED_IF_SMALL: u32 = 128;

/// Dead letters in one answer of the server.
const DEAD_AT_ONCE: u32 = 16;

impl Store {
    fn stream_call(&self, script: &'static Script, stream: &StreamName) -> Call {
        Call::script(script, &self.stream_tag(stream), &self.clock())
    }

    fn stream_key(&self, stream: &StreamName, key: &str) -> String {
        format!("{}{key}", self.stream_tag(stream))
    }

    fn told<T>(&self, told: Result<T, Trouble>) -> Result<T, BrokerError> {
        told.map_err(|trouble| self.say(&trouble))
    }

    /// What a script answers, unless it says no.
    fn accepted(&self, duty: (&StreamName, &str), answer: Value) -> Result<Items, BrokerError> {
        let (stream, processor) = duty;
        let mut items = self.told(Items::of(answer))?;
        let said = self.told(items.next().and_then(|value| number(&value)))?;
        let part = |items: &mut Items| {
            let part = items.next().and_then(|value| number(&value));
            part.ok().and_then(|part| u16::try_from(part).ok())
        };
        Err(match said {
            0 => return Ok(items),
            -1 => unknown(stream),
            -2 => {
                let there = self.partitions(stream)?;
                no_partition(stream, part(&mut items).unwrap_or(u16::MAX), there)
            }
            -3 => no_processor(stream, processor),
            -4 => is_served(stream, processor),
            _ => self.say(&told::nonsense("the answer of a script about streams")),
        })
    }

    /// How many partitions a stream has; none if there is no such stream.
    fn partitions(&self, stream: &StreamName) -> Result<u16, BrokerError> {
        let key = self.stream_key(stream, "spec");
        let call = Call::plain(&[b"HGET", key.as_bytes(), b"n"]);
        let answer = self.lines.run_again(&[call])?.swap_remove(0);
        match answer {
            Value::Nil => Ok(0),
            found => self.told(told::parsed(found, "the number of partitions")),
        }
    }

    fn check_partition(&self, stream: &StreamName, part: u16) -> Result<(), BrokerError> {
        match self.partitions(stream)? {
            0 => Err(unknown(stream)),
            there if part < there => Ok(()),
            there => Err(no_partition(stream, part, there)),
        }
    }

    fn send_some(&self, stream: &StreamName, batch: &[&Record]) -> Result<Vec<Sent>, BrokerError> {
        let mut call = self.stream_call(&STREAM_SEND, stream);
        call.arg(rung(stream.as_str())).number(TRIMMED_AT_ONCE);
        for record in batch {
            let id = record.id.map_or_else(String::new, |id| id.to_string());
            call.number(record.partition.into()).arg(id);
            call.number(u64::try_from(record.fields.len() * 2).unwrap_or(u64::MAX));
            for (name, value) in record.fields.iter() {
                call.arg(name).arg(value);
            }
        }
        let answer = self.on_one(call)?;
        let all = self.told(list(answer.clone()))?;
        match all.first() {
            Some(Value::Int(-1 | -2)) if all.len() < 3 => {
                Err(match self.accepted((stream, ""), answer) {
                    Err(error) => error,
                    Ok(_) => unknown(stream),
                })
            }
            _ => self.told(told::sent(all, batch.len())),
        }
    }

    fn operate(
        &self,
        duty: (&StreamName, &str),
        what: &str,
        word: &str,
        partitions: &[u16],
    ) -> Result<Items, BrokerError> {
        let mut call = self.stream_call(&STREAM_OPERATE, duty.0);
        call.arg(what)
            .arg(rung(duty.0.as_str()))
            .arg(duty.1)
            .arg(word);
        for part in partitions {
            call.number((*part).into());
        }
        let mut answers = self.lines.run_again(&[call])?;
        self.accepted(duty, answers.swap_remove(0))
    }

    fn give_up(
        &self,
        duty: &Duty,
        member: Option<SupervisorId>,
        holds: &[Hold],
    ) -> Result<(), BrokerError> {
        let mut call = self.stream_call(&STREAM_YIELD, &duty.stream);
        call.arg(duty.processor.as_str())
            .arg(rung(duty.stream.as_str()))
            .arg(member.map_or_else(String::new, |member| name(member.0)));
        for hold in holds {
            call.number(hold.partition.into()).number(hold.fence);
        }
        self.lines.run_again(&[call]).map(drop)
    }

    /// The streams of the namespace, by name.
    fn stream_names(&self) -> Result<Vec<StreamName>, BrokerError> {
        let key = format!("{}streams", self.common_tag());
        let call = Call::plain(&[b"SMEMBERS", key.as_bytes()]);
        let answer = self.lines.run_again(&[call])?.swap_remove(0);
        let mut names = BTreeSet::new();
        for name in self.told(list(answer))? {
            let name = String::from_utf8(self.told(bytes(name))?).ok();
            // A name that this version does not allow is a later one's.
            names.extend(name.and_then(|name| StreamName::new(&name).ok()));
        }
        Ok(names.into_iter().collect())
    }

    /// Removes all streams of the namespace.
    pub(super) fn clear_streams(&self) -> Result<(), BrokerError> {
        for stream in self.stream_names()? {
            let mut call = self.stream_call(&STREAM_CLEAR, &stream);
            call.arg(rung(stream.as_str()));
            self.lines.run_again(&[call])?;
        }
        let key = format!("{}streams", self.common_tag());
        self.lines
            .run_again(&[Call::plain(&[b"DEL", key.as_bytes()])])
            .map(drop)
    }

    fn steps(&self, duty: &Duty, steps: &[Step]) -> Call {
        let mut call = self.stream_call(&STREAM_STEP, &duty.stream);
        call.arg(duty.processor.as_str()).number(DEAD_MOST);
        for step in steps {
            told::step(&mut call, step);
        }
        call
    }

    fn read(&self, stream: &StreamName, read: &Read) -> Call {
        let (most, after) = (read.most.min(READ_MOST), bounded(read.after.id));
        let size = self.event_size.load(Ordering::Relaxed);
        let are_small = size < READ_BYTES / ASKED_IF_SMALL as usize;
        let plainly = if are_small {
            ASKED_IF_SMALL
        } else {
            ASKED_PLAINLY
        };
        if most == 0 || most > plainly {
            let mut call = self.stream_call(&STREAM_READ, stream);
            call.number(read.partition.into())
                .arg(after.to_string())
                .number(most.into())
                .number(u64::try_from(READ_BYTES).unwrap_or(u64::MAX));
            return call;
        }
        let key = self.stream_key(stream, &format!("ev:{}", read.partition));
        let mut call = Call::plain(&[b"XRANGE", key.as_bytes()]);
        call.arg(format!("({after}")).arg("+");
        call.arg("COUNT").number(most.into());
        call
    }
}

impl Streams for Store {
    fn declare(&self, spec: &StreamSpec) -> Result<(), BrokerError> {
        sending::check_spec(spec)?;
        // Its name first: no stream is there that nobody can find.
        let key = format!("{}streams", self.common_tag());
        let tell = Call::plain(&[b"SADD", key.as_bytes(), spec.name.as_str().as_bytes()]);
        let mut call = self.stream_call(&STREAM_DECLARE, &spec.name);
        call.number(spec.partitions.into())
            .number(spec.size)
            .arg(spec.full.as_str());
        let mut answers = self.lines.run_again(&[tell, call])?;
        let there = self.told(count(&answers.pop().unwrap_or_default()))?;
        match u16::try_from(there) {
            Ok(there) if there == spec.partitions => Ok(()),
            there => {
                let there = there.unwrap_or(u16::MAX);
                Err(other_count(&spec.name, there, spec.partitions))
            }
        }
    }

    fn send(&self, stream: &StreamName, records: &[Record]) -> Result<Vec<Sent>, BrokerError> {
        sending::in_batches(stream, records, |batch| self.send_some(stream, batch))
    }

    fn attend(&self, attendance: Attendance<'_>) -> Result<View, BrokerError> {
        let duty = attendance.duty;
        let mut call = self.stream_call(&STREAM_ATTEND, &duty.stream);
        call.arg(duty.processor.as_str())
            .arg(name(attendance.member.0))
            .number(lease(attendance.lease));
        for hold in attendance.holds {
            call.number(hold.partition.into()).number(hold.fence);
        }
        // Like renewals it waits for nothing else.
        let answer = self.pulse.run_again(&[call])?.swap_remove(0);
        let mut items = self.accepted(pair(duty), answer)?;
        let view = items.next().and_then(told::view);
        Ok(self.told(view)?.1)
    }

    fn take(
        &self,
        duty: &Duty,
        member: SupervisorId,
        partitions: &[u16],
        length: Duration,
    ) -> Result<Vec<Taken>, BrokerError> {
        let mut call = self.stream_call(&STREAM_TAKE, &duty.stream);
        call.arg(duty.processor.as_str())
            .arg(name(member.0))
            .number(lease(length));
        for part in partitions.iter().collect::<BTreeSet<_>>() {
            call.number((*part).into());
        }
        let answer = self.lines.run_again(&[call])?.swap_remove(0);
        let mut items = self.accepted(pair(duty), answer)?;
        let mut all = Vec::with_capacity(items.len());
        while items.len() > 0 {
            all.push(self.told(items.next().and_then(told::taken))?);
        }
        Ok(all)
    }

    fn give_back(&self, duty: &Duty, holds: &[Hold]) -> Result<(), BrokerError> {
        self.give_up(duty, None, holds)
    }

    fn depart(&self, duty: &Duty, member: SupervisorId) -> Result<(), BrokerError> {
        self.give_up(duty, Some(member), &[])
    }

    fn step(&self, duty: &Duty, steps: &[Step], reads: &[Read]) -> Result<Turn, BrokerError> {
        // What it may read is looked at along with it: one round trip.
        let key = self.stream_key(&duty.stream, "spec");
        let mut calls = vec![Call::plain(&[b"HGET", key.as_bytes(), b"n"])];
        calls.extend((!steps.is_empty()).then(|| self.steps(duty, steps)));
        calls.extend(reads.iter().map(|read| self.read(&duty.stream, read)));
        let mut answers = self.lines.run_again(&calls)?.into_iter();
        let there = match answers.next().unwrap_or_default() {
            Value::Nil => return Err(unknown(&duty.stream)),
            found => self.told(told::parsed(found, "the number of partitions"))?,
        };
        let mut turn = Turn::default();
        if !steps.is_empty() {
            let answer = answers.next().unwrap_or_default();
            let made = self.told(list(answer.clone()))?;
            if matches!(made.first(), Some(Value::Int(-1 | -2))) {
                self.accepted(pair(duty), answer)?;
            }
            turn.steps = made.iter().map(|made| *made == Value::Int(1)).collect();
            if turn.steps.len() != steps.len() {
                return Err(self.say(&told::nonsense("the answer to steps")));
            }
        }
        if let Some(read) = reads.iter().find(|read| read.partition >= there) {
            return Err(no_partition(&duty.stream, read.partition, there));
        }
        let mut largest = None;
        for (read, answer) in reads.iter().zip(answers) {
            let what = || format!("partition {} of `{}`", read.partition, duty.stream);
            let (events, size) = self.told(told::events(answer, &what))?;
            turn.events.push(events);
            largest = largest.max(size);
        }
        if let Some(largest) = largest {
            self.event_size.store(largest, Ordering::Relaxed);
        }
        Ok(turn)
    }

    fn seek(&self, duty: &Duty, partitions: &[u16], to: Seek) -> Result<(), BrokerError> {
        let to = match to {
            Seek::Start => "start".into(),
            Seek::End => "end".into(),
            Seek::Id(id) => format!("id:{id}"),
            Seek::Skip(count) => format!("skip:{count}"),
        };
        self.operate(pair(duty), "seek", &to, partitions).map(drop)
    }

    fn release(&self, duty: &Duty, partitions: &[u16]) -> Result<Vec<u16>, BrokerError> {
        let mut rested = self.operate(pair(duty), "release", "", partitions)?;
        let mut all = Vec::with_capacity(rested.len());
        while rested.len() > 0 {
            let part = rested.next().and_then(told::part);
            all.push(self.told(part)?);
        }
        Ok(all)
    }

    fn pause(
        &self,
        stream: &StreamName,
        processor: Option<&TaskName>,
        why: Option<&str>,
    ) -> Result<(), BrokerError> {
        let what = if why.is_some() { "pause" } else { "resume" };
        let processor = processor.map_or("", TaskName::as_str);
        self.operate((stream, processor), what, why.unwrap_or_default(), &[])
            .map(drop)
    }

    fn forget(&self, duty: &Duty) -> Result<bool, BrokerError> {
        let key = self.stream_key(&duty.stream, "by");
        let processor = duty.processor.as_str();
        let look = Call::plain(&[b"HEXISTS", key.as_bytes(), processor.as_bytes()]);
        let answer = self.lines.run_again(&[look])?.swap_remove(0);
        if self.told(number(&answer))? == 0 {
            return Ok(false);
        }
        self.operate(pair(duty), "forget", "", &[])?;
        Ok(true)
    }

    fn dead(&self, duty: &Duty, partition: u16, most: u32) -> Result<Vec<DeadEvent>, BrokerError> {
        self.check_partition(&duty.stream, partition)?;
        let key = format!("dead:{partition}:{}", duty.processor);
        let key = self.stream_key(&duty.stream, &key);
        let most = usize::try_from(most.min(READ_MOST)).unwrap_or(usize::MAX);
        let (mut all, mut size, mut after) = (Vec::new(), 0, 0);
        loop {
            let mut call = Call::plain(&[b"ZRANGEBYSCORE", key.as_bytes()]);
            call.arg(format!("({after}")).arg("+inf").arg("LIMIT");
            call.number(0).number(DEAD_AT_ONCE.into());
            let some = self.lines.run_again(&[call])?.swap_remove(0);
            let some = self.told(list(some))?;
            if some.is_empty() {
                return Ok(all);
            }
            for one in some {
                let one = self.told(bytes(one))?;
                size += one.len();
                if all.len() == most || size > READ_BYTES && !all.is_empty() {
                    return Ok(all);
                }
                let what = || format!("a dead letter of `{}`", duty.processor);
                let dead = self.told(told::dead(&one, partition, &what))?;
                after = dead.event.place.position;
                all.push(dead);
            }
        }
    }

    fn drop_dead(&self, duty: &Duty, partition: u16, to: Place) -> Result<u64, BrokerError> {
        self.check_partition(&duty.stream, partition)?;
        let key = format!("dead:{partition}:{}", duty.processor);
        let key = self.stream_key(&duty.stream, &key);
        let mut call = Call::plain(&[b"ZREMRANGEBYSCORE", key.as_bytes(), b"-inf"]);
        call.number(to.position.min(NUMBER_MOST));
        self.told(count(&self.on_one(call)?))
    }

    fn streams(&self, only: Option<&StreamName>) -> Result<Vec<Overview>, BrokerError> {
        let names = match only {
            Some(name) => vec![name.clone()],
            None => self.stream_names()?,
        };
        let mut all = Vec::new();
        for name in names {
            let call = self.stream_call(&STREAM_VIEW, &name);
            let answer = self.lines.run_again(&[call])?.swap_remove(0);
            all.extend(self.told(told::overview(answer, name))?);
        }
        Ok(all)
    }
}

fn pair(duty: &Duty) -> (&StreamName, &str) {
    (&duty.stream, duty.processor.as_str())
}

/// A lease as scripts take it.
fn lease(length: Duration) -> u64 {
    millis(length).min(Timestamp::MAX.as_millis())
}

/// An id with numbers that scripts can count to.
fn bounded(id: EventId) -> EventId {
    EventId {
        ms: id.ms.min(NUMBER_MOST),
        seq: id.seq.min(NUMBER_MOST),
    }
}
