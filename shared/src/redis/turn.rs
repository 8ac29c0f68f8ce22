//! Ends attempts and gives ready jobs to supervisors, in one round trip where it can.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, list, number};
use super::call::Call;
use super::errand::{Letter, Packed};
use super::record::{NONE, NOTHING, Record, hex, key, letter_of, line, name, nonsense, size, time};
use super::script::{CLAIM, NOTE, RENEW, SETTLE};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::{
    BrokerError, Claim, Claimed, Note, Receipt, Renewal, Settled, Settlement, Turned,
};
use crate::fault;
use crate::name::QueueName;
use crate::outcome::Cause;
use crate::policy::VERDICT_KEPT;
use crate::retry::Move;
use crate::time::{Timestamp, millis};

/// What lies in one queue, with its places among all.
pub(super) type ByQueue<'a> = Vec<(&'a QueueName, Vec<usize>)>;

/// What is to be delivered if the settlement at this place comes to this.
type Letters = HashMap<(usize, Settled), Vec<Letter>>;

/// What a claim from one queue brought.
struct Brought {
    claimed: Vec<Claimed>,
    next_due: Option<Duration>,
    more: bool,
    revoked: Vec<Receipt>,
}

/// What a job does that is to be tried again.
#[derive(Debug, Clone, Copy)]
enum Retried {
    /// Its attempt has ended.
    Ends,
    /// It has not begun, and keeps its place before those who wait for the same lock.
    Pauses,
}

impl Store {
    pub(super) fn settle_and_claim(
        &self,
        settlements: &[Settlement],
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, BrokerError> {
        let lines = &self.lines;
        self.free_attempts(settlements);
        let turned = match self.take_turn(settlements, claim) {
            // Often the server has closed a connection that was idle. Whatever was done before it
            // broke is recognised.
            Err(Trouble::Broken(error)) if !error.is_timeout() => {
                self.take_turn(settlements, claim)
            }
            done => done,
        };
        let mut turned = turned.map_err(|trouble| trouble.translate(&lines.place))?;
        self.free_jobs(settlements, &turned.settled);
        self.take_locks(&mut turned);
        Ok(turned)
    }

    /// Gives back jobs that wait for their locks: they have not run.
    pub(super) fn pause(&self, settlements: &[Settlement]) -> Result<(), BrokerError> {
        let by_queue = by_queue(settlements.iter().map(|one| &one.receipt.queue));
        // Nothing has ended, so nothing follows.
        let mut letters = HashMap::new();
        let calls: Vec<Call> = by_queue
            .iter()
            .map(|(queue, places)| {
                self.settle_call(queue, places, settlements, Retried::Pauses, &mut letters)
            })
            .collect();
        self.lines.run_again(&calls).map(drop)
    }

    fn take_turn(
        &self,
        settlements: &[Settlement],
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, Trouble> {
        let by_queue = by_queue(settlements.iter().map(|one| &one.receipt.queue));
        let mut letters = HashMap::new();
        let mut calls: Vec<Call> = by_queue
            .iter()
            .map(|(queue, places)| {
                self.settle_call(queue, places, settlements, Retried::Ends, &mut letters)
            })
            .collect();
        let queues = claim.map_or(&[][..], |claim| &claim.selection.queues);
        // While claims are in doubt, what they gave is asked for, and nothing more.
        let doubts = self.doubts.claims(queues);
        let number = self.doubts.number();
        // The later queues are only looked at; what they have is taken if there is room left.
        for (index, queue) in queues.iter().enumerate() {
            let claim = claim.expect("there are queues only with a claim");
            let room = if index == 0 && doubts.is_empty() {
                claim.room
            } else {
                0
            };
            let doubt = doubts.get(queue).copied();
            calls.push(self.claim_call(&claim, queue, room, number, doubt));
        }
        if !settlements.is_empty() {
            fault::point("settle");
        }
        let answers = self.lines.attempt(&calls).inspect_err(|_| {
            self.doubts.lose_endings(settlements);
            if let (Some(first), true) = (queues.first(), doubts.is_empty()) {
                self.doubts.lose_claim(first, number);
            }
        })?;
        let mut answers = answers.into_iter();
        self.doubts.find_endings(settlements);
        let mut to_deliver = Vec::new();
        let mut turned = Turned {
            settled: vec![Settled::Stale; settlements.len()],
            ..Turned::default()
        };
        for ((_, places), call) in by_queue.iter().zip(&calls) {
            let settled = list(answers.next().unwrap_or_default())?;
            turned.has_completed |= self.note_completion(call.tag(), &settled)?;
            for (&place, one) in places.iter().zip(settled) {
                turned.settled[place] = match one {
                    Value::Int(1) => Settled::Applied,
                    Value::Int(2) => Settled::Revoked,
                    _ => Settled::Stale,
                };
                to_deliver.extend(
                    letters
                        .remove(&(place, turned.settled[place]))
                        .into_iter()
                        .flatten(),
                );
            }
        }
        if !settlements.is_empty() {
            fault::point("settled");
        }
        turned.has_completed |= self.deliver_now(to_deliver);
        let Some(claim) = claim else {
            return Ok(turned);
        };
        for (index, (queue, answer)) in queues.iter().zip(answers).enumerate() {
            let mut brought = brought(answer, queue)?;
            let left = claim.room.saturating_sub(turned.claimed.len());
            if let Some(&doubt) = doubts.get(queue) {
                self.doubts.find_claim(queue, doubt);
            } else if index > 0 && left > 0 && brought.more && doubts.is_empty() {
                match self.claim_more(&claim, queue, left, number) {
                    Ok(more) => brought = more,
                    // What is in doubt is asked for at the next turn.
                    Err(_) => turned.more = true,
                }
            }
            merge(&mut turned, brought);
        }
        if !turned.claimed.is_empty() {
            fault::point("claim");
            fault::point("claimed");
        }
        Ok(turned)
    }

    /// Claims from a queue that has something.
    fn claim_more(
        &self,
        claim: &Claim<'_>,
        queue: &QueueName,
        room: usize,
        number: u64,
    ) -> Result<Brought, Trouble> {
        let call = self.claim_call(claim, queue, room, number, None);
        let answers = self.lines.attempt(&[call]);
        let mut answers = answers.inspect_err(|_| self.doubts.lose_claim(queue, number))?;
        brought(answers.swap_remove(0), queue)
    }

    /// A claim with this number; or, if one is in doubt, what that one gave.
    fn claim_call(
        &self,
        claim: &Claim<'_>,
        queue: &QueueName,
        room: usize,
        number: u64,
        doubt: Option<u64>,
    ) -> Call {
        let mut call = self.script(&CLAIM, queue);
        call.number(u64::try_from(room).unwrap_or(u64::MAX))
            .number(millis(claim.lease).min(Timestamp::MAX.as_millis()))
            .arg(name(claim.owner.0))
            .arg(&self.doubts.token)
            .number(doubt.unwrap_or(number))
            .arg(if doubt.is_some() { "1" } else { "" });
        for task in &claim.selection.tasks {
            call.arg(task.as_str());
        }
        call
    }

    fn settle_call(
        &self,
        queue: &QueueName,
        places: &[usize],
        all: &[Settlement],
        retried: Retried,
        letters: &mut Letters,
    ) -> Call {
        let mut call = self.script(&SETTLE, queue);
        let receipts = places.iter().map(|&place| &all[place].receipt);
        call.arg(if self.doubts.has_any(receipts) {
            "1"
        } else {
            ""
        })
        .number(u64::try_from(places.len()).unwrap_or(u64::MAX));
        for &place in places {
            let settlement = &all[place];
            let receipt = &settlement.receipt;
            let mut kind = "R";
            let (mut till, mut ready) = (NONE.to_owned(), String::new());
            let mut kept = Some(settlement.at.plus(VERDICT_KEPT));
            let (mut cause, mut kept_result): (Option<Cause>, &[u8]) = (None, &[]);
            let mut bytes = NOTHING.to_owned();
            match &settlement.next {
                Move::Succeed {
                    result,
                    result_until,
                    purge_at,
                } => {
                    kind = "S";
                    kept_result = result.as_deref().unwrap_or_default();
                    bytes = size(result.as_deref());
                    // A result that is forgotten with its job needs no time of its own.
                    let until =
                        result_until.filter(|until| purge_at.is_none_or(|purge| *until < purge));
                    till = time(until);
                    kept = *purge_at;
                }
                Move::Retry { at } => {
                    kind = match retried {
                        Retried::Ends => "T",
                        Retried::Pauses => "P",
                    };
                    ready = at.min(&Timestamp::MAX).as_millis().to_string();
                }
                Move::Release => {}
                Move::Snooze { until, signal } => {
                    kind = "Z";
                    ready = until.min(&Timestamp::MAX).as_millis().to_string();
                    kept_result = signal.as_ref().map_or(&[], |name| name.as_str().as_bytes());
                }
                Move::Bury { cause: c, purge_at } => {
                    (kind, cause, kept) = ("D", Some(*c), *purge_at);
                }
                Move::Drop { cause: c, purge_at } => {
                    (kind, cause, kept) = ("O", Some(*c), *purge_at);
                }
            }
            let (uuid, at, kept) = (name(receipt.uuid), time(Some(settlement.at)), time(kept));
            let cause = cause.map_or('-', letter_of);
            let Receipt { fence, mark, .. } = receipt;
            call.arg(format!(
                "{fence:014x}{mark:014x}{uuid}{kind}{at}{kept}{till}{cause}{bytes}{ready}"
            ))
            .arg(&settlement.history)
            .arg(kept_result);
        }
        let is_bare = |place: &usize| {
            let errands = &all[*place].errands;
            errands.applied.is_empty() && errands.revoked.is_empty()
        };
        if !places.iter().all(is_bare) {
            for &place in places {
                give_errands(&mut call, queue, place, &all[place], letters);
            }
        }
        call
    }

    pub(super) fn extend(
        &self,
        receipts: &[Receipt],
        lease: Duration,
    ) -> Result<Vec<Renewal>, BrokerError> {
        let by_queue = by_queue(receipts.iter().map(|receipt| &receipt.queue));
        let call = |(queue, places): &(&QueueName, Vec<usize>)| {
            let mut call = self.script(&RENEW, queue);
            call.number(millis(lease));
            for &place in places {
                let receipt = &receipts[place];
                call.arg(name(receipt.uuid))
                    .arg(key(receipt.fence, receipt.mark));
            }
            call
        };
        let calls: Vec<_> = by_queue.iter().map(call).collect();
        let answers = self.pulse.run_again(&calls)?;
        let mut renewals = vec![Renewal::Lost; receipts.len()];
        for ((_, places), answer) in by_queue.iter().zip(answers) {
            let held = list(answer).map_err(|trouble| self.say(&trouble))?;
            for (&place, one) in places.iter().zip(held) {
                renewals[place] = match one {
                    Value::Int(1) => Renewal::Held,
                    Value::Int(2) => Renewal::Revoked,
                    _ => Renewal::Lost,
                };
            }
        }
        Ok(renewals)
    }

    pub(super) fn write_notes(&self, notes: &[Note]) -> Result<(), BrokerError> {
        let by_queue = by_queue(notes.iter().map(|note| &note.receipt.queue));
        let call = |(queue, places): &(&QueueName, Vec<usize>)| {
            let mut call = self.script(&NOTE, queue);
            for &place in places {
                let note = &notes[place];
                call.arg(name(note.receipt.uuid))
                    .arg(key(note.receipt.fence, note.receipt.mark))
                    .arg(time(Some(note.started_at)))
                    .arg(format!("{:08x}", note.pid))
                    .arg(if note.progress.is_some() { "1" } else { "0" })
                    .arg(note.progress.as_deref().unwrap_or_default());
            }
            call
        };
        let calls: Vec<_> = by_queue.iter().map(call).collect();
        self.lines.run_again(&calls).map(drop)
    }
}

/// Adds what comes with an ending, for either outcome.
fn give_errands(
    call: &mut Call,
    queue: &QueueName,
    place: usize,
    settlement: &Settlement,
    letters: &mut Letters,
) {
    let Settlement {
        receipt, errands, ..
    } = settlement;
    // Always the same for the same ending: one that is written again keeps its letters.
    let id = format!("{}{:x}", name(receipt.uuid), receipt.fence);
    for (settled, errands) in [
        (Settled::Applied, &errands.applied),
        (Settled::Revoked, &errands.revoked),
    ] {
        let packed = Packed::new(queue, errands, &id);
        packed.give(call);
        if !packed.letters.is_empty() {
            letters.insert((place, settled), packed.letters);
        }
    }
}

/// Groups by queue, in the order in which queues appear.
pub(super) fn by_queue<'a>(queues: impl Iterator<Item = &'a QueueName>) -> ByQueue<'a> {
    let mut groups: ByQueue<'a> = Vec::new();
    for (place, queue) in queues.enumerate() {
        match groups.iter_mut().find(|(known, _)| *known == queue) {
            Some((_, places)) => places.push(place),
            None => groups.push((queue, vec![place])),
        }
    }
    groups
}

fn merge(turned: &mut Turned, brought: Brought) {
    turned.claimed.extend(brought.claimed);
    turned.revoked.extend(brought.revoked);
    turned.more |= brought.more;
    turned.next_due = turned.next_due.into_iter().chain(brought.next_due).min();
}

fn brought(answer: Value, queue: &QueueName) -> Result<Brought, Trouble> {
    let mut items = Items::of(answer)?;
    let claimed = claimed(items.next()?, queue)?;
    let due = number(&items.next()?)?;
    let more = number(&items.next()?)? == 1;
    let mut revoked = Vec::new();
    for one in list(items.next()?)? {
        let one = bytes(one)?;
        let (mark, uuid) = line(&one)?;
        let fence = one.get(46..60).and_then(hex).ok_or_else(nonsense)?;
        revoked.push(receipt(uuid, fence, mark, queue));
    }
    Ok(Brought {
        claimed,
        next_due: u64::try_from(due).ok().map(Duration::from_millis),
        more,
        revoked,
    })
}

/// Jobs from uuids, records and messages that are long by turns.
pub(super) fn claimed(answer: Value, queue: &QueueName) -> Result<Vec<Claimed>, Trouble> {
    let mut items = Items::of(answer)?;
    let mut jobs = Vec::with_capacity(items.len() / 3);
    while items.len() > 0 {
        let uuid = Uuid::try_parse_ascii(&bytes(items.next()?)?).map_err(|_| nonsense())?;
        let (record, long) = (bytes(items.next()?)?, bytes(items.next()?)?);
        let record = Record::new(&record)?;
        let (header, payload) = record.message(&long)?;
        jobs.push(Claimed {
            receipt: receipt(uuid, record.fence()?, record.seq()?, queue),
            task: record.task()?,
            header: header.to_vec(),
            payload: payload.to_vec(),
            history: record.history().to_vec(),
        });
    }
    Ok(jobs)
}

fn receipt(uuid: Uuid, fence: u64, mark: i64, queue: &QueueName) -> Receipt {
    Receipt {
        uuid,
        fence,
        mark,
        queue: queue.clone(),
    }
}
