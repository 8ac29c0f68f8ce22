//! Gates of queues, the end of a namespace, and what others took away.

use redis::Value;

use super::answer::{Items, bytes, count, list, number};
use super::call::Call;
use super::line::Line;
use super::script::{ADRIFT, CLEAR, GATE, MEND};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::control::{Control, QueueGate};
use crate::name::QueueName;

/// Entries looked at in one call.
const A_LOOK: u64 = 500;

/// Indexes whose entries must each have a record; those of ready jobs come on top.
const INDEXES: [&str; 10] = ["d", "p", "parked", "x", "l", "g", "i", "e:S", "e:D", "e:O"];

/// What the keys begin with that are there for jobs and named by no index: unique keys, gates,
/// doorbells, revocations, what jobs remember, what lay beside a record that somebody took away.
const REST: [&str; 10] = [
    "once:", "run:", "park:", "b:", "v:", "log:", "logk:", "sig:", "m:", "o:",
];

/// As the server holds it.
const fn letter(gate: QueueGate) -> &'static str {
    match gate {
        QueueGate::Open => "0",
        QueueGate::Paused => "1",
        QueueGate::Draining => "2",
    }
}

/// A gate as a script tells it; one that a later version may know is as good as open.
pub(super) fn gate(told: &Value) -> QueueGate {
    match number(told) {
        Ok(1) => QueueGate::Paused,
        Ok(2) => QueueGate::Draining,
        _ => QueueGate::Open,
    }
}

impl Control for Store {
    fn set_gate(&self, queue: &QueueName, wanted: QueueGate) -> Result<QueueGate, BrokerError> {
        let mut call = self.script(&GATE, queue);
        call.arg(letter(wanted));
        let mut calls: Vec<Call> = self.tell_of(&[queue]).into_iter().collect();
        calls.push(call);
        let mut answers = self.lines.run(&calls)?;
        Ok(gate(&answers.pop().unwrap_or_default()))
    }

    fn clear(&self, limit: usize) -> Result<usize, BrokerError> {
        let queues = self.all_queues()?;
        let mut cleared = 0;
        for queue in &queues {
            let left = limit.saturating_sub(cleared);
            if left == 0 {
                return Ok(cleared);
            }
            let mut call = self.script(&CLEAR, queue);
            call.number(u64::try_from(left).unwrap_or(u64::MAX));
            cleared += self.counted(&self.on_one(call)?)?;
        }
        if cleared == 0 {
            let mut call = Call::plain(&[b"DEL"]);
            for key in ["tasks", "schedules", "scheduled"] {
                call.arg(format!("{}{key}", self.common_tag()));
            }
            self.on_one(call)?;
            *self.specs() = None;
            self.clear_streams()?;
            self.clear_the_rest()
                .map_err(|trouble| self.say(&trouble))?;
        }
        Ok(cleared)
    }

    fn mend(&self, limit: usize) -> Result<usize, BrokerError> {
        let mut mended = 0;
        for queue in self.all_queues()? {
            for index in self.indexes(&queue)? {
                mended += self.mend_index(&queue, &index, limit.saturating_sub(mended))?;
            }
            let left = limit.saturating_sub(mended);
            let adrift = self.put_back(&queue, left);
            mended += adrift.map_err(|trouble| self.say(&trouble))?;
        }
        Ok(mended)
    }
}

impl Store {
    fn counted(&self, answer: &Value) -> Result<usize, BrokerError> {
        let counted = count(answer).map_err(|trouble| self.say(&trouble))?;
        Ok(usize::try_from(counted).unwrap_or(usize::MAX))
    }

    /// The indexes of a queue, those of its ready jobs included.
    fn indexes(&self, queue: &QueueName) -> Result<Vec<String>, BrokerError> {
        let key = format!("{}t", self.tag(queue));
        let answer = self.on_one(Call::plain(&[b"SMEMBERS", key.as_bytes()]))?;
        let tasks = list(answer).map_err(|trouble| self.say(&trouble))?;
        let mut indexes: Vec<String> = INDEXES.iter().map(|&index| index.into()).collect();
        for task in tasks {
            let task = bytes(task).map_err(|trouble| self.say(&trouble))?;
            indexes.push(format!("r:{}", String::from_utf8_lossy(&task)));
        }
        Ok(indexes)
    }

    fn mend_index(
        &self,
        queue: &QueueName,
        index: &str,
        limit: usize,
    ) -> Result<usize, BrokerError> {
        let (mut cursor, mut mended) = (b"0".to_vec(), 0);
        while mended < limit {
            let mut call = self.script(&MEND, queue);
            call.arg(index).arg(&cursor).number(A_LOOK);
            let look = |answer| -> Result<(Vec<u8>, Value), Trouble> {
                let mut items = Items::of(answer)?;
                Ok((bytes(items.next()?)?, items.next()?))
            };
            let (next, found) = look(self.on_one(call)?).map_err(|trouble| self.say(&trouble))?;
            mended += self.counted(&found)?;
            if next == b"0" {
                break;
            }
            cursor = next;
        }
        Ok(mended)
    }

    /// What no index of the jobs names.
    fn clear_the_rest(&self) -> Result<(), Trouble> {
        let pattern = format!("{{{}|*", self.namespace);
        for node in self.masters()? {
            let mut line = Line::open(&node)?;
            let mut cursor = b"0".to_vec();
            loop {
                let (next, keys) = scan(&mut line, &cursor, &pattern)?;
                let is_ours = |key: &&Vec<u8>| {
                    let key = String::from_utf8_lossy(key);
                    let (_, name) = key.split_once('}').unwrap_or_default();
                    REST.iter().any(|start| name.starts_with(start))
                };
                let gone = keys.iter().filter(is_ours);
                let calls: Vec<Call> = gone.map(|key| Call::plain(&[b"DEL", key])).collect();
                self.lines.attempt(&calls)?;
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// Looks at all records of a queue.
    fn put_back(&self, queue: &QueueName, limit: usize) -> Result<usize, Trouble> {
        let pattern = format!("{}s:*", self.tag(queue));
        let mut mended = 0;
        for node in self.masters()? {
            let mut line = Line::open(&node)?;
            let mut cursor = b"0".to_vec();
            while mended < limit {
                let (next, keys) = scan(&mut line, &cursor, &pattern)?;
                mended += self.put_back_some(queue, &keys, pattern.len() - 1)?;
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(mended)
    }

    fn put_back_some(
        &self,
        queue: &QueueName,
        keys: &[Vec<u8>],
        prefix: usize,
    ) -> Result<usize, Trouble> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut call = self.script(&ADRIFT, queue);
        for key in keys {
            call.arg(key.get(prefix..).unwrap_or_default());
        }
        let mut answers = self.lines.attempt(&[call])?;
        let found = count(&answers.swap_remove(0))?;
        Ok(usize::try_from(found).unwrap_or(usize::MAX))
    }
}

/// Some keys of one server that match, and where to go on; at `0` all have been seen.
pub(super) fn scan(
    line: &mut Line,
    cursor: &[u8],
    pattern: &str,
) -> Result<(Vec<u8>, Vec<Vec<u8>>), Trouble> {
    let words: [&[u8]; 6] = [
        b"SCAN",
        cursor,
        b"MATCH",
        pattern.as_bytes(),
        b"COUNT",
        b"1000",
    ];
    let answer = line.run(&[Call::plain(&words)])?.swap_remove(0);
    let mut items = Items::of(answer)?;
    let next = bytes(items.next()?)?;
    let keys = list(items.next()?)?.into_iter().map(bytes);
    Ok((next, keys.collect::<Result<_, _>>()?))
}
