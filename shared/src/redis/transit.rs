//! Jobs on their way from one store to another. Each queue is a line of its own, and one call
//! of a script moves jobs of one queue.

use std::fmt::Write;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, count, list, number};
use super::call::Call;
use super::record::{Record, ending, letter_of, name, nonsense, stored, time, unique, way};
use super::script::{ADMIT, FORGET_SENT, LINE_UP, RECEIVE, SEND_OFF};
use super::store::Store;
use super::trouble::Trouble;
use super::turn::by_queue;
use crate::broker::BrokerError;
use crate::catalog::State;
use crate::message::Header;
use crate::name::QueueName;
use crate::time::{Timestamp, millis};
use crate::transit::{Parcel, Received, Sent, Transit, Underway};

/// Bytes in one answer, about: a page of large jobs is cut short by it.
const PAGE_BYTES: usize = 32 << 20;

/// What messages have instead of the token of a submission: nobody sends these again.
const NO_TOKEN: &str = "----------------";

impl Transit for Store {
    fn send_off(&self, limit: usize) -> Result<Vec<Parcel>, BrokerError> {
        let (mut parcels, mut room) = (Vec::new(), PAGE_BYTES);
        for queue in self.all_queues()? {
            let left = limit - parcels.len();
            if left == 0 || room == 0 {
                break;
            }
            let mut page = self.page(&queue, left, room)?;
            if page.is_empty() {
                self.line_up(&queue)?;
                page = self.page(&queue, left, room)?;
            }
            room = room.saturating_sub(page.iter().map(size).sum());
            parcels.extend(page);
        }
        Ok(parcels)
    }

    fn receive(&self, parcels: &[Parcel]) -> Result<Vec<Received>, BrokerError> {
        let groups = by_queue(parcels.iter().map(|parcel| &parcel.queue));
        let queues: Vec<_> = groups.iter().map(|(queue, _)| *queue).collect();
        let mut calls = Vec::with_capacity(groups.len() + 1);
        // First: a job lies in no queue that nobody can find.
        calls.extend(self.tell_of(&queues));
        let told = calls.len();
        for (queue, places) in &groups {
            let mut call = self.script(&RECEIVE, queue);
            for &place in places {
                pack(&mut call, &parcels[place]);
            }
            calls.push(call);
        }
        let answers = self.lines.run(&calls)?;
        let mut received = vec![Received::Known; parcels.len()];
        for ((_, places), answer) in groups.iter().zip(answers.into_iter().skip(told)) {
            for (&place, is_stored) in places.iter().zip(self.flags(answer)?) {
                if is_stored {
                    received[place] = Received::Stored;
                }
            }
        }
        Ok(received)
    }

    fn forget_sent(&self, sent: &[Sent]) -> Result<Vec<bool>, BrokerError> {
        let groups = by_queue(sent.iter().map(|sent| &sent.queue));
        let call = |(queue, places): &(&QueueName, Vec<usize>)| {
            let mut call = self.script(&FORGET_SENT, queue);
            for &place in places {
                let Sent { uuid, fence, .. } = &sent[place];
                call.arg(name(*uuid)).arg(format!("{fence:014x}"));
            }
            call
        };
        let calls: Vec<_> = groups.iter().map(call).collect();
        // Once: a second time would not find what the first has forgotten.
        let answers = self.lines.run(&calls)?;
        let mut forgotten = vec![false; sent.len()];
        for ((_, places), answer) in groups.iter().zip(answers) {
            for (&place, is_gone) in places.iter().zip(self.flags(answer)?) {
                forgotten[place] = is_gone;
            }
        }
        Ok(forgotten)
    }

    fn admit(&self, limit: usize) -> Result<usize, BrokerError> {
        let mut admitted = 0;
        for queue in self.all_queues()? {
            if admitted == limit {
                break;
            }
            let mut call = self.script(&ADMIT, &queue);
            call.number(u64::try_from(limit - admitted).unwrap_or(u64::MAX));
            let some = count(&self.on_one(call)?).map_err(|trouble| self.say(&trouble))?;
            admitted += usize::try_from(some).unwrap_or(usize::MAX);
        }
        Ok(admitted)
    }

    fn underway(&self) -> Result<Underway, BrokerError> {
        let queues = self.all_queues()?;
        let sum = |key: &str| -> Result<u64, BrokerError> {
            let call = |queue: &QueueName| {
                let key = format!("{}{key}", self.tag(queue));
                Call::plain(&[b"ZCARD", key.as_bytes()])
            };
            let calls: Vec<_> = queues.iter().map(call).collect();
            let answers = self.lines.run_again(&calls)?;
            let counts = answers.iter().map(count);
            counts
                .sum::<Result<u64, Trouble>>()
                .map_err(|trouble| self.say(&trouble))
        };
        Ok(Underway {
            leaving: sum("g")?,
            arriving: sum("i")?,
        })
    }
}

impl Store {
    /// The first jobs of a queue that are on their way, or that were listed to go.
    fn page(
        &self,
        queue: &QueueName,
        limit: usize,
        room: usize,
    ) -> Result<Vec<Parcel>, BrokerError> {
        loop {
            let mut call = self.script(&SEND_OFF, queue);
            for bound in [limit, room] {
                call.number(u64::try_from(bound).unwrap_or(u64::MAX));
            }
            let page = parcels(self.on_one(call)?, queue);
            let (page, has_more) = page.map_err(|trouble| self.say(&trouble))?;
            // What was listed may have gone since.
            if !page.is_empty() || !has_more {
                return Ok(page);
            }
        }
    }

    /// Lists all jobs of a queue that can go.
    fn line_up(&self, queue: &QueueName) -> Result<(), BrokerError> {
        let (mut from, mut after) = (Vec::new(), 0);
        loop {
            let mut call = self.script(&LINE_UP, queue);
            call.arg(&from).number(after);
            let answer = self.on_one(call)?;
            let next = || -> Result<_, Trouble> {
                let mut items = Items::of(answer)?;
                items.next()?;
                Ok((bytes(items.next()?)?, count(&items.next()?)?))
            };
            (from, after) = next().map_err(|trouble| self.say(&trouble))?;
            if from.is_empty() {
                return Ok(());
            }
        }
    }

    fn flags(&self, answer: Value) -> Result<Vec<bool>, BrokerError> {
        let flags = list(answer).and_then(|all| {
            let flag = |one| number(one).map(|n| n == 1);
            all.iter().map(flag).collect::<Result<Vec<_>, _>>()
        });
        flags.map_err(|trouble| self.say(&trouble))
    }
}

fn size(parcel: &Parcel) -> usize {
    let result = parcel.result.as_ref().map_or(0, Vec::len);
    parcel.header.len() + parcel.payload.len() + parcel.history.len() + result
}

/// Parcels of an answer, and whether more are listed.
fn parcels(answer: Value, queue: &QueueName) -> Result<(Vec<Parcel>, bool), Trouble> {
    let mut both = Items::of(answer)?;
    let mut items = Items::of(both.next()?)?;
    let mut parcels = Vec::with_capacity(items.len() / 4);
    while items.len() > 0 {
        let uuid = Uuid::try_parse_ascii(&bytes(items.next()?)?).map_err(|_| nonsense())?;
        let (record, message) = (bytes(items.next()?)?, bytes(items.next()?)?);
        let result = match items.next()? {
            Value::Nil => None,
            result => Some(bytes(result)?),
        };
        parcels.push(parcel(queue, uuid, &record, &message, result)?);
    }
    Ok((parcels, number(&both.next()?)? == 1))
}

fn parcel(
    queue: &QueueName,
    uuid: Uuid,
    record: &[u8],
    message: &[u8],
    result: Option<Vec<u8>>,
) -> Result<Parcel, Trouble> {
    let record = Record::new(record)?;
    let (header, payload) = record.message(message)?;
    Ok(Parcel {
        uuid,
        queue: queue.clone(),
        task: record.task()?,
        state: record.shown(false)?,
        priority: record.priority()?,
        fence: record.fence()?,
        submitted_at: record.submitted_at(),
        ready_at: record.ready_at(),
        ttl: record.ttl(),
        expires_at: record.expires_at(),
        started_at: record.started_at(),
        pid: record.pid(),
        finished_at: record.finished_at(),
        cause: record.cause(),
        progress: record.progress().map(Into::into),
        header: header.to_vec(),
        payload: payload.to_vec(),
        history: record.history().to_vec(),
        result,
        result_until: record.result_until(),
        purge_at: record.purge_at(),
    })
}

/// One parcel as the script takes it.
fn pack(call: &mut Call, parcel: &Parcel) {
    let state = match parcel.state {
        State::Ready => 'r',
        State::Delayed | State::Leased => 'w',
        State::Succeeded => 's',
        State::Dead => 'd',
        State::Dropped => 'o',
    };
    let ends = !matches!(parcel.state, State::Ready | State::Delayed);
    let purge_at = parcel.purge_at.filter(|_| ends);
    // A result that is forgotten with its job needs no time of its own.
    let until = parcel
        .result_until
        .filter(|until| purge_at.is_none_or(|purge| *until < purge));
    let header: Option<Header> = serde_json::from_slice(&parcel.header).ok();
    let progress = parcel.progress.as_deref().unwrap_or_default();
    let mut record = String::with_capacity(400);
    record.push_str(&time(Some(parcel.submitted_at)));
    record.push_str(&time(Some(parcel.ready_at)));
    record.push_str(&time(parcel.ttl.map(millis).map(Timestamp::from_millis)));
    record.push_str(&time(parcel.expires_at));
    record.push_str(&time(parcel.started_at));
    let pid = parcel.pid.map(|pid| format!("{pid:08x}"));
    record.push_str(pid.as_deref().unwrap_or("--------"));
    record.push_str(&time(parcel.finished_at));
    record.push_str(&time(purge_at));
    record.push_str(&time(until));
    record.push_str("--------------------------------");
    record.push(parcel.cause.map_or('-', letter_of));
    let (length, way) = (progress.len(), way(&parcel.task, header.as_ref()));
    writeln!(record, "{length:08x}{}:{way}", parcel.priority).expect("a text takes everything");
    let mut record = record.into_bytes();
    record.extend_from_slice(progress);
    record.extend_from_slice(&parcel.history);
    let message = stored(NO_TOKEN, &parcel.header, &parcel.payload);
    // What has not succeeded has none.
    let result = parcel
        .result
        .as_deref()
        .filter(|_| parcel.state == State::Succeeded);
    let long = ending(&mut record, &message, result);
    call.arg(name(parcel.uuid))
        .arg(format!("{state}<{:014x}", parcel.fence))
        .arg(record);
    for part in long {
        call.arg(part);
    }
    unique(call, header.and_then(|header| header.unique).as_ref());
}
