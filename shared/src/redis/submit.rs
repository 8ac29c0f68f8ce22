//! Stores new jobs.

use std::sync::atomic::Ordering;

use redis::Value;
use uuid::Uuid;

use super::answer::list;
use super::call::Call;
use super::line::Line;
use super::optimistic::Left;
use super::record::{fresh, name, nonsense, unique};
use super::script::SUBMIT;
use super::store::Store;
use super::trouble::Trouble;
use super::turn::{ByQueue, by_queue};
use crate::broker::{BrokerError, Submission, Submitted};
use crate::fault;
use crate::time::since_boot;

/// Times that a batch is sent whose answer did not come.
const SENDS: usize = 2;

/// Jobs on their way into the store.
pub(super) struct Batch<'a> {
    pub(super) jobs: &'a [Submission<'a>],
    /// Where the jobs of each queue stand.
    pub(super) queues: ByQueue<'a>,
    /// Whoever finds its own token has stored the job before its answer was lost.
    token: u64,
}

impl Batch<'_> {
    /// The token of the job at this place.
    pub(super) fn token(&self, place: usize) -> u64 {
        self.token.wrapping_add(count(place))
    }
}

impl Store {
    pub(super) fn store_all(&self, jobs: &[Submission<'_>]) -> Result<Vec<Submitted>, BrokerError> {
        let batch = Batch {
            jobs,
            queues: by_queue(jobs.iter().map(|job| job.queue)),
            token: self.tokens.fetch_add(count(jobs.len()), Ordering::Relaxed),
        };
        fault::point("submit");
        let mut done = self.send(&batch, true);
        for _ in 1..SENDS {
            let is_again = |trouble: &Trouble| {
                trouble.is_forbidden() || matches!(self.say(trouble), BrokerError::Away { .. })
            };
            if done.as_ref().is_err_and(is_again) {
                // What was stored without an answer must not be lined up once more.
                done = self.send(&batch, false);
            }
        }
        done.map_err(|trouble| self.say(&trouble))
    }

    fn send(&self, batch: &Batch<'_>, is_first: bool) -> Result<Vec<Submitted>, Trouble> {
        let mut became = vec![Submitted::Duplicate; batch.jobs.len()];
        let Some((first, _)) = batch.queues.first() else {
            return Ok(became);
        };
        self.lines.with(&self.tag(first), |line| {
            let left = match is_first {
                true => self.store_at_once(line, batch, &mut became)?,
                false => Left::all(batch),
            };
            if !left.queues.is_empty() {
                self.store_by_script(line, batch, left, &mut became)?;
            }
            Ok(became)
        })
    }

    /// Stores whatever there may be.
    fn store_by_script(
        &self,
        line: &mut Line,
        batch: &Batch<'_>,
        left: Left<'_>,
        became: &mut [Submitted],
    ) -> Result<(), Trouble> {
        let queues = &left.queues;
        // First: a job lies in no queue that nobody can find.
        let untold = self.lines.untold(queues.iter().map(|(queue, _)| *queue));
        let mut calls = left.strays;
        calls.extend(self.tell_of(&untold));
        let before = calls.len();
        let old_clock = self.old_clock();
        for (queue, places) in queues {
            let mut call = self.script(&SUBMIT, queue);
            // Also these stand in the order in which this process submits.
            let clock = &self.lines.clock;
            match clock.number(places.len(), since_boot()) {
                Some((_, first)) => call.number(first + count(places.len()) - 1),
                None => call.arg(""),
            };
            for &place in places {
                add(&mut call, &batch.jobs[place], batch.token(place));
            }
            calls.push(call);
        }
        let gates = self.gates(queues);
        let answers = line.run_and_watch(calls, &gates, old_clock)?;
        self.lines.have_told(&untold);
        for ((_, places), answer) in queues.iter().zip(answers.into_iter().skip(before)) {
            for (&place, one) in places.iter().zip(list(answer)?) {
                became[place] = submitted(one)?;
            }
        }
        Ok(())
    }
}

/// A job as scripts take it that store some.
pub(super) fn add(call: &mut Call, submission: &Submission<'_>, token: u64) {
    let (record, long) = fresh(String::new(), submission, token);
    call.arg(named(submission)).arg(record).arg(long);
    unique(call, submission.message.header.unique.as_ref());
}

/// Its uuid, and when it is ready unless that is now.
pub(super) fn named(submission: &Submission<'_>) -> String {
    let message = submission.message;
    let mut named = name(message.uuid);
    if let Some(at) = message.ready_at {
        named.push_str(&at.as_millis().to_string());
    }
    named
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn submitted(answer: Value) -> Result<Submitted, Trouble> {
    match answer {
        Value::Int(1) => Ok(Submitted::Created),
        Value::BulkString(by) => {
            let by = Uuid::try_parse_ascii(&by).map_err(|_| nonsense())?;
            Ok(Submitted::NotUnique { by })
        }
        Value::Int(2) => Ok(Submitted::Closed),
        _ => Ok(Submitted::Duplicate),
    }
}
