//! Stores jobs that are ready at once by plain commands, in one transaction, which takes the server and
//! whoever waits less than a script does. What a script would have looked at is taken for granted, and
//! known before anybody is told: that the queues are open, since their gates are watched, and that the
//! uuids are new, since the server says what was there. A job for which it was not so goes the long way.

use std::sync::atomic::Ordering;

use redis::Value;

use super::call::{Call, Transaction};
use super::clock::Clock;
use super::evidence;
use super::line::Line;
use super::record::{fresh, name, ready, way};
use super::store::Store;
use super::submit::Batch;
use super::trouble::Trouble;
use super::turn::ByQueue;
use crate::broker::{Submission, Submitted};
use crate::name::{QueueName, TaskName};
use crate::time::{self, Timestamp};

/// Jobs in one transaction. What does not fit goes by a script, which holds no second copy of them.
const MOST: usize = 1000;

/// One ring of so many leaves but one element at its bell: whoever waits there is not to wake for each
/// job that was stored before it came.
const CALMED: u64 = 16;

/// What has to go the long way.
pub(super) struct Left<'a> {
    pub(super) queues: ByQueue<'a>,
    /// What takes out of the lines again what names no job: the uuids of these are known.
    pub(super) strays: Vec<Call>,
}

impl<'a> Left<'a> {
    pub(super) fn all(batch: &Batch<'a>) -> Self {
        Self {
            queues: batch.queues.clone(),
            strays: Vec::new(),
        }
    }
}

/// Jobs of one task that become ready.
struct Lined<'a> {
    /// What the keys of their queue begin with.
    tag: String,
    task: &'a TaskName,
    /// Priorities and places by turns.
    places: Vec<String>,
}

impl Store {
    /// Stores jobs; returns what has to go the long way.
    pub(super) fn store_at_once<'a>(
        &self,
        line: &mut Line,
        batch: &Batch<'a>,
        became: &mut [Submitted],
    ) -> Result<Left<'a>, Trouble> {
        let gates = self.gates(&batch.queues);
        let untold = self
            .lines
            .untold(batch.queues.iter().map(|(queue, _)| *queue));
        let is_usual = batch.jobs.len() <= MOST && batch.jobs.iter().all(is_usual);
        let may_be = self.has_transactions.load(Ordering::Relaxed);
        if !is_usual || !may_be || !untold.is_empty() || !line.watches(&gates) {
            return Ok(Left::all(batch));
        }
        let clock = &self.lines.clock;
        let numbered = clock.number(batch.jobs.len(), time::since_boot());
        let Some((now, first)) = numbered else {
            return Ok(Left::all(batch));
        };
        let Some(transaction) = self.transaction(batch, self.time_of_day(now), first) else {
            return Ok(Left::all(batch));
        };
        let done = line.transact(transaction, self.old_clock());
        if done.as_ref().is_err_and(Trouble::is_forbidden) {
            // Of scripts alone a user may do what he may not do otherwise.
            self.has_transactions.store(false, Ordering::Relaxed);
        }
        Ok(match done? {
            Some(answers) => self.left(batch, first, answers, became),
            None => Left::all(batch),
        })
    }

    /// What stores all of a batch, first the jobs and then their places; nothing if a message is long.
    fn transaction(&self, batch: &Batch<'_>, now: Timestamp, first: u64) -> Option<Transaction> {
        let (mut transaction, mut lined) = (Transaction::new(), Vec::<Lined<'_>>::new());
        let (mut numbers, mut told) = (first.., Vec::new());
        for (queue, places) in &batch.queues {
            let (tag, from) = (self.tag(queue), lined.len());
            for (&place, number) in places.iter().zip(&mut numbers) {
                let job = &batch.jobs[place];
                let (record, long) = fresh(ready(number, now), job, batch.token(place));
                if !long.is_empty() {
                    return None;
                }
                let key = format!("{tag}s:{}", name(job.message.uuid));
                transaction.push(&[b"SET", key.as_bytes(), &record, b"NX", b"GET"], &[]);
                let (task, priority) = (&job.message.task, job.message.priority);
                let known = lined[from..].iter().position(|one| one.task == task);
                let at = known.map_or(lined.len(), |known| from + known);
                if known.is_none() {
                    let (tag, places) = (tag.clone(), Vec::new());
                    lined.push(Lined { tag, task, places });
                }
                let place = place_of(number, job);
                lined[at].places.extend([priority.to_string(), place]);
                if evidence::is_kept() {
                    told.push((tag.clone(), name(job.message.uuid), record));
                }
            }
        }
        for Lined { tag, task, places } in &lined {
            let (ready, tasks) = (format!("{tag}r:{task}"), format!("{tag}t"));
            transaction.push(&[b"ZADD", ready.as_bytes()], places);
            transaction.push(&[b"SADD", tasks.as_bytes(), task.as_str().as_bytes()], &[]);
            let bell = format!("{tag}b:{task}");
            transaction.push(&[b"LPUSH", bell.as_bytes(), b"1"], &[]);
            if is_calmed(self.rings.fetch_add(1, Ordering::Relaxed)) {
                transaction.push(&[b"LTRIM", bell.as_bytes(), b"0", b"0"], &[]);
            }
        }
        for (tag, uuid, record) in told {
            evidence::tell(&mut transaction, &tag, &uuid, &record);
        }
        Some(transaction)
    }

    /// What is left when the server has answered what [`Self::transaction`] made.
    fn left<'a>(
        &self,
        batch: &Batch<'a>,
        first: u64,
        answers: Vec<Value>,
        became: &mut [Submitted],
    ) -> Left<'a> {
        let mut left = Left {
            queues: ByQueue::new(),
            strays: Vec::new(),
        };
        let mut stored = answers.into_iter().zip(first..);
        for (queue, places) in &batch.queues {
            let mut known = Vec::new();
            for (&place, (answer, number)) in places.iter().zip(&mut stored) {
                became[place] = Submitted::Created;
                if answer != Value::Nil {
                    let job = &batch.jobs[place];
                    let ready = format!("{}r:{}", self.tag(queue), job.message.task);
                    let stray = place_of(number, job);
                    let stray = Call::plain(&[b"ZREM", ready.as_bytes(), stray.as_bytes()]);
                    left.strays.push(stray);
                    known.push(place);
                }
            }
            if !known.is_empty() {
                left.queues.push((*queue, known));
            }
        }
        left
    }

    /// What says whether these queues are open.
    pub(super) fn gates(&self, queues: &ByQueue<'_>) -> Vec<String> {
        let gate = |(queue, _): &(&QueueName, _)| format!("{}gate", self.tag(queue));
        queues.iter().map(gate).collect()
    }

    /// The server's clock, if it should be looked at.
    pub(super) fn old_clock(&self) -> Option<&Clock> {
        let clock = &self.lines.clock;
        clock.is_old(time::since_boot()).then_some(clock)
    }

    /// What scripts take for the time when it is `time` at the server.
    fn time_of_day(&self, time: Timestamp) -> Timestamp {
        let own = self.time.as_ref().map(|own| own().0);
        own.unwrap_or_else(|| {
            Timestamp::from_millis(time.as_millis().saturating_add_signed(time::turned()))
        })
    }
}

/// Whether the ring of this number leaves but one element. As good as by chance: of those of one bell
/// some do, however many others are rung by turns with it.
const fn is_calmed(ring: u64) -> bool {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let spread = ring.wrapping_mul(ODD);
    (spread ^ (spread >> 32)).wrapping_mul(ODD) < u64::MAX / CALMED
}

/// Where a job stands in its line.
fn place_of(number: u64, job: &Submission<'_>) -> String {
    let (message, uuid) = (job.message, name(job.message.uuid));
    let way = way(&message.task, Some(&message.header));
    format!("{number:014x}{uuid}{}:{way}", message.priority)
}

/// Whether a job waits for nothing, and nothing else has to be kept of it.
fn is_usual(job: &Submission<'_>) -> bool {
    let (message, header) = (job.message, &job.message.header);
    message.ready_at.is_none()
        && header.unique.is_none()
        && header.ttl_ms.is_none()
        && header.expires_at.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_bells_that_are_rung_by_turns_each_is_calmed_now_and_then() {
        for bells in 1..=64 {
            for bell in 0..bells {
                let mut rings = (0..).map(|round| bell + round * bells);
                for _ in 0..10 {
                    let calmed = rings.by_ref().take(500).position(is_calmed);
                    assert!(calmed.is_some(), "{bell} of {bells}");
                }
            }
        }
        let calmed = (0..16_000).filter(|ring| is_calmed(*ring)).count();
        assert!((900..1_100).contains(&calmed), "{calmed}");
    }
}
