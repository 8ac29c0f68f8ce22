//! Stores new jobs.

use redis::Value;
use uuid::Uuid;

use super::answer::list;
use super::call::Call;
use super::record::{fresh, name, nonsense, unique};
use super::script::SUBMIT;
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Submission, Submitted};
use crate::fault;
use crate::name::QueueName;

/// Times that a batch is sent whose answer did not come.
const SENDS: usize = 2;

impl Store {
    pub(super) fn store_all(
        &self,
        batch: &[Submission<'_>],
    ) -> Result<Vec<Submitted>, BrokerError> {
        let mut queues: Vec<(&QueueName, Vec<usize>)> = Vec::new();
        for (index, submission) in batch.iter().enumerate() {
            match queues
                .iter_mut()
                .find(|(queue, _)| *queue == submission.queue)
            {
                Some((_, places)) => places.push(index),
                None => queues.push((submission.queue, vec![index])),
            }
        }
        // Whoever finds its own token has stored the job before its answer was lost.
        let token = Uuid::new_v4().as_u64_pair().1;
        let mut calls = Vec::with_capacity(queues.len() + 1);
        for (queue, places) in &queues {
            let mut call = self.script(&SUBMIT, queue);
            for &place in places {
                let index = u64::try_from(place).unwrap_or(u64::MAX);
                add(&mut call, &batch[place], token.wrapping_add(index));
            }
            calls.push(call);
        }
        // First: a job lies in no queue that nobody can find.
        let untold = self.lines.untold(queues.iter().map(|(queue, _)| *queue));
        let told = usize::from(!untold.is_empty());
        calls.splice(..0, self.tell_of(&untold));
        fault::point("submit");
        let mut answers = self.lines.run(&calls);
        for _ in 1..SENDS {
            if matches!(answers, Err(BrokerError::Away { .. })) {
                answers = self.lines.run(&calls);
            }
        }
        let answers = answers?;
        self.lines.have_told(&untold);
        let mut became = vec![Submitted::Duplicate; batch.len()];
        for ((_, places), answer) in queues.iter().zip(answers.into_iter().skip(told)) {
            let answer = list(answer).map_err(|trouble| self.say(&trouble))?;
            for (&place, one) in places.iter().zip(answer) {
                became[place] = submitted(one).map_err(|trouble| self.say(&trouble))?;
            }
        }
        Ok(became)
    }
}

/// A job as scripts take it that store some.
pub(super) fn add(call: &mut Call, submission: &Submission<'_>, token: u64) {
    let (record, long) = fresh(submission, token);
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
