//! `submit --wait`: tells the end of each attempt, and prints results in the order of submission.

use std::time::Duration;

use bulkhead_shared::client::{Client, ClientError, Look, Wait};
use bulkhead_shared::outcome::{Cause, ErrorDetails};
use bulkhead_shared::status::{JobStatus, Status};
use bulkhead_shared::{Timestamp, Uuid};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Sender;
use crate::commands::result::one_line;
use crate::commands::{CommandError, interrupt, output, show};
use crate::exit::Exit;

/// Uuids told when a wait ends early.
const LISTED: usize = 20;

/// The line of one job.
#[derive(Serialize)]
struct Ended<'a> {
    uuid: Uuid,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Option<ErrorDetails>>,
}

/// Jobs that are waited for, and what has been said of them.
struct Waiting<'a> {
    client: &'a Client,
    is_single: bool,
    /// When the last attempt that was told of had ended, for each job.
    told: Vec<Option<(Timestamp, u32)>>,
    /// Ended, and not printed because an earlier one has not ended.
    ended: Vec<Option<JobStatus>>,
    printed: usize,
    has_failed: bool,
}

/// Waits for everything that was sent.
pub(super) fn run(sender: &Sender, within: Option<Duration>) -> Result<Exit, CommandError> {
    let interrupt = interrupt::on_ctrl_c()?;
    let uuids = sender.sent();
    if !uuids.is_empty() {
        let jobs = match uuids.len() {
            1 => "1 job".into(),
            n => format!("{n} jobs"),
        };
        output::say(&format!(
            "waiting for {jobs} (Ctrl-C ends the wait, not the jobs)"
        ));
    }
    let mut waiting = Waiting {
        client: sender.client(),
        is_single: sender.is_single(),
        told: vec![None; uuids.len()],
        ended: vec![None; uuids.len()],
        printed: 0,
        has_failed: false,
    };
    let wait = Wait {
        within,
        interrupt: Some(&interrupt),
    };
    let waited = sender
        .client()
        .watch(uuids, wait, |place, job| waiting.look(place, job));
    if let Err(CommandError::Client(
        ClientError::TimedOut { waiting, .. } | ClientError::Interrupted { waiting },
    )) = &waited
    {
        tell_left(waiting);
    }
    waited?;
    match sender.exit() {
        _ if waiting.has_failed => Ok(Exit::TaskFailed),
        exit => Ok(exit),
    }
}

fn tell_left(left: &[Uuid]) {
    for uuid in left.iter().take(LISTED) {
        output::say(&format!("not ended: {uuid}"));
    }
    if let Some(more @ 1..) = left.len().checked_sub(LISTED) {
        output::say(&format!("not ended: {more} more"));
    }
}

impl Waiting<'_> {
    fn look(&mut self, place: usize, job: &JobStatus) -> Result<Look, CommandError> {
        if job.status == Status::Unknown {
            // Removed by somebody while we waited.
            return Err(ClientError::NotFound { uuid: job.uuid }.into());
        }
        self.tell_attempts(place, job);
        if !job.status.has_ended() {
            return Ok(Look::Again);
        }
        self.ended[place] = Some(job.clone());
        self.print()?;
        Ok(Look::Enough)
    }

    fn tell_attempts(&mut self, place: usize, job: &JobStatus) {
        let is_new = |n: u32, at| self.told[place].is_none_or(|told| told < (at, n));
        let mut last = self.told[place];
        for attempt in &job.attempts {
            let at = attempt.finished_at.unwrap_or_default();
            if is_new(attempt.n, at) {
                let next = next(job, attempt.finished_at);
                let text = show::attempt(attempt);
                output::say(&format!("{}: {text}{next}", job.uuid));
                last = Some((at, attempt.n));
            }
        }
        self.told[place] = last;
    }

    /// Prints the jobs whose turn has come.
    fn print(&mut self) -> Result<(), CommandError> {
        while let Some(job) = self.ended.get_mut(self.printed).and_then(Option::take) {
            self.printed += 1;
            self.has_failed |= job.status == Status::Failed;
            if self.is_single {
                if let Some(result) = self.result(job.uuid)? {
                    output::line(result.get())?;
                }
            } else {
                self.print_line(&job)?;
            }
        }
        Ok(())
    }

    fn print_line(&self, job: &JobStatus) -> Result<(), CommandError> {
        let (result, error) = match job.status {
            Status::Succeeded => {
                let result = self.result(job.uuid)?;
                (
                    Some(result.unwrap_or_else(|| RawValue::NULL.to_owned())),
                    None,
                )
            }
            _ => (None, Some(&job.error)),
        };
        output::json(&Ended {
            uuid: job.uuid,
            status: job.status,
            cause: job.cause,
            result,
            error,
        })
    }

    /// The result as it was written; null if none is kept. Of one that is not JSON people are told:
    /// its job has succeeded all the same.
    fn result(&self, uuid: Uuid) -> Result<Option<Box<RawValue>>, CommandError> {
        match self.client.result(uuid, None) {
            Ok(bytes) => match one_line(uuid, bytes) {
                Ok(line) => {
                    let value = RawValue::from_string(line);
                    value
                        .map(Some)
                        .map_err(|error| CommandError::Output(error.into()))
                }
                Err(reason) => {
                    output::say(&reason);
                    Ok(None)
                }
            },
            Err(ClientError::NoResult { .. }) => Ok(Some(RawValue::NULL.to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What comes after the last of a job's attempts.
fn next(job: &JobStatus, ended: Option<Timestamp>) -> String {
    let is_last = job
        .attempts
        .last()
        .is_some_and(|last| last.finished_at == ended);
    match (job.status, job.next_at) {
        _ if !is_last => String::new(),
        (Status::Retrying, Some(next)) => {
            format!("; next attempt {}", show::time(next, Timestamp::now()))
        }
        (Status::Retrying, None) => "; next attempt as soon as there is room".into(),
        _ => String::new(),
    }
}
