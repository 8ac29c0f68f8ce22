//! Tasks that wait for the ends of jobs of their own flow. One look asks the store for all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bulkhead_shared::Uuid;
use bulkhead_shared::ask::{Denied, Reply, Standing};
use bulkhead_shared::broker::{BrokerError, Receipt};
use bulkhead_shared::catalog::{Catalog, JobRow, State};
use bulkhead_shared::message::Header;
use bulkhead_shared::status::JobStatus;
use tracing::info;

use super::{Asker, Wish, away, earliest, journal, submit};
use crate::pool::Seat;

/// Between looks at a job that has not ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Tasks that are looked at by one question to the store.
const AT_ONCE: usize = 250;

/// A task that waits for the end of a job.
#[derive(Debug)]
pub(super) struct Awaited {
    asker: Asker,
    receipt: Receipt,
    uuid: Uuid,
    until: Instant,
    look_at: Instant,
}

impl Awaited {
    /// One that has not been looked at.
    pub(super) fn new(wish: &Wish, uuid: [u8; 16], now: Instant, until: Instant) -> Self {
        Self {
            asker: wish.asker,
            receipt: wish.receipt.clone(),
            uuid: Uuid::from_bytes(uuid),
            until,
            look_at: now,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct AwaitedResults(Vec<Awaited>);

type Rows = HashMap<Uuid, JobRow>;

impl AwaitedResults {
    pub(super) fn add(&mut self, one: Awaited) {
        self.0.push(one);
    }

    /// Forgets those of a call that has ended.
    pub(super) fn forget(&mut self, seat: Seat, nonce: u64) {
        self.0
            .retain(|one| one.asker.seat != seat || one.asker.nonce != nonce);
    }

    /// When to look next.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let times = self.0.iter().map(|one| one.look_at.min(one.until));
        times.fold(None, earliest)
    }

    /// Looks at those that are due; the answers there are.
    pub(super) fn look(&mut self, catalog: &dyn Catalog, now: Instant) -> Vec<(Asker, Reply)> {
        let is_due = |one: &mut Awaited| one.look_at <= now || one.until <= now;
        let due: Vec<_> = self.0.extract_if(.., is_due).collect();
        let mut replies = Vec::new();
        let mut rest = due.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(AT_ONCE).collect();
            let mut asked: Vec<_> = some
                .iter()
                .flat_map(|one| [one.uuid, one.receipt.uuid])
                .collect();
            asked.sort_unstable();
            asked.dedup();
            let rows = catalog.jobs_by_id(&asked).map(|rows| -> Rows {
                let rows = rows.into_iter().flatten();
                rows.map(|row| (row.uuid, row)).collect()
            });
            for mut one in some {
                let is_over = one.until <= now;
                let stands = match &rows {
                    Ok(rows) => standing(&one, rows, catalog, is_over),
                    Err(error) => Err(error.clone()),
                };
                match stands {
                    Ok(Some(reply)) => replies.push((one.asker, reply)),
                    Err(error) if is_over || !error.is_transient() => {
                        replies.push((one.asker, away(&error)));
                    }
                    Ok(None) | Err(_) => {
                        one.look_at = now + LOOK_EVERY;
                        self.0.push(one);
                    }
                }
            }
        }
        replies
    }
}

/// How a job stands, if that is known by now; `None` is to look again.
fn standing(
    one: &Awaited,
    rows: &Rows,
    catalog: &dyn Catalog,
    is_over: bool,
) -> Result<Option<Reply>, BrokerError> {
    let Some(own) = rows
        .get(&one.receipt.uuid)
        .filter(|row| submit::holds(&one.receipt, row))
    else {
        return Ok(Some(journal::lost()));
    };
    let row = match rows.get(&one.uuid) {
        Some(row) if is_of_own_flow(own, row) => row,
        // A later step of a flow is not there before those that it follows have ended.
        None if !is_over => return Ok(None),
        _ => {
            let text = format!(
                "job {} is not known, or not of the task's own flow (a task is told of what it has submitted, and of the flow it is part of)",
                one.uuid
            );
            info!(job = %one.receipt.uuid, text, "an ask was denied");
            return Ok(Some(Reply::denied(Denied::Forbidden, text)));
        }
    };
    let standing = match row.state {
        State::Succeeded => {
            let kept = catalog.result(one.uuid)?;
            let result = kept.map(|kept| kept.bytes.into());
            Standing::Succeeded { result }
        }
        State::Dead | State::Dropped => {
            let job = JobStatus::from(row.clone());
            Standing::Failed {
                cause: job.cause.map(|cause| cause.to_string()).unwrap_or_default(),
                text: job.error.map(|error| error.text).unwrap_or_default(),
            }
        }
        State::Ready | State::Delayed | State::Leased if !is_over => return Ok(None),
        State::Ready | State::Delayed | State::Leased => {
            let status = JobStatus::from(row.clone()).status.to_string();
            Standing::Open { status }
        }
    };
    Ok(Some(Reply::Standing(standing)))
}

fn is_of_own_flow(asker: &JobRow, job: &JobRow) -> bool {
    let read = |row: &JobRow| serde_json::from_slice::<Header>(&row.header).ok();
    let (Some(own), Some(header)) = (read(asker), read(job)) else {
        return false;
    };
    may_know((asker.uuid, &own), (job.uuid, &header))
}

/// Whether a job was submitted by the asker, or is part of the same flow.
fn may_know(asker: (Uuid, &Header), job: (Uuid, &Header)) -> bool {
    let flow = |(uuid, header): (Uuid, &Header)| header.progenitor_uuid.unwrap_or(uuid);
    job.1.submitted_by == Some(asker.0) || flow(asker) == flow(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_shared::Message;

    #[test]
    fn a_task_knows_what_it_has_submitted_and_its_own_flow_alone() {
        let id = Uuid::from_u128;
        let job = |progenitor: Option<u128>, submitted_by: Option<u128>| {
            let mut header = Message::new("add").build().unwrap().header;
            header.progenitor_uuid = progenitor.map(id);
            header.submitted_by = submitted_by.map(id);
            header
        };
        let knows = |asker: (u128, &Header), other: (u128, &Header)| {
            may_know((id(asker.0), asker.1), (id(other.0), other.1))
        };
        let (first, second) = (job(None, None), job(Some(1), None));
        assert!(knows((1, &first), (2, &second)) && knows((2, &second), (1, &first)));
        assert!(knows((2, &second), (3, &job(Some(1), None))));
        assert!(!knows((2, &second), (4, &job(Some(5), None))));
        assert!(!knows((1, &first), (6, &job(None, None))));
        let submitted = job(Some(7), Some(1));
        assert!(knows((1, &first), (8, &submitted)));
        assert!(!knows((2, &second), (8, &submitted)), "not its own");
        assert!(!knows((8, &submitted), (1, &first)), "nor the other way");
    }
}
