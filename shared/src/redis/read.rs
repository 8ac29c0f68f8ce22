//! Reads jobs; never moves them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, count, list, number};
use super::call::Call;
use super::control::gate;
use super::presence::About;
use super::record::{Record, line, name};
use super::script::{COUNTS, LIST, READ, RESULT};
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::catalog::{
    Catalog, Filter, FlowCounts, GroupRow, JobRow, KeptResult, QueueCounts, State,
};
use crate::control::QueueGate;
use crate::finding::{Depth, Finding};
use crate::fleet::Member;
use crate::name::QueueName;
use crate::task::TaskSpec;
use crate::time::{Now, Timestamp};

/// Jobs of each state and queue that a listing looks at, at least and at the most, unless it asks for
/// more: it is meant for people, and what is older than ten thousand others is not found by looking
/// around. Also what one call names at the most.
const LOOKED_AT: (usize, usize) = (1000, 10_000);

/// Registrations that others make are seen so much later at the most: a producer that asks with
/// every message need not ask the server each time.
const SPECS_HOLD: Duration = Duration::from_secs(1);

/// Jobs read in one call.
const READ_AT_ONCE: usize = 500;

/// A job as a script shows it.
pub(super) struct Found {
    pub(super) record: Vec<u8>,
    pub(super) header: Vec<u8>,
    is_delayed: bool,
    result: Option<u64>,
}

impl Store {
    /// All jobs with these uuids.
    pub(super) fn find<'a>(
        &self,
        queues: &'a [QueueName],
        uuids: &[Uuid],
    ) -> Result<Vec<(&'a QueueName, Uuid, Found)>, BrokerError> {
        let mut all = Vec::new();
        for some in uuids.chunks(READ_AT_ONCE) {
            let answers = self.on_each(queues, &READ, |call| {
                for uuid in some {
                    call.arg(name(*uuid));
                }
            })?;
            for (queue, answer) in queues.iter().zip(answers) {
                let jobs = list(answer).map_err(|trouble| self.say(&trouble))?;
                for (uuid, job) in some.iter().zip(jobs.into_iter().skip(1)) {
                    if job != Value::Nil {
                        let found = found(job).map_err(|trouble| self.say(&trouble))?;
                        all.push((queue, *uuid, found));
                    }
                }
            }
        }
        Ok(all)
    }

    fn rows(&self, found: Vec<(&QueueName, Uuid, Found)>) -> Result<Vec<JobRow>, BrokerError> {
        let rows = found.into_iter().map(|(queue, uuid, found)| {
            let owner = Record::new(&found.record)?.owner().map(ToOwned::to_owned);
            Ok((owner, row(queue, uuid, found)?))
        });
        let mut rows = rows
            .collect::<Result<Vec<_>, Trouble>>()
            .map_err(|trouble| self.say(&trouble))?;
        let hosts = self.hosts(rows.iter().filter_map(|(owner, _)| owner.as_deref()))?;
        for (owner, row) in &mut rows {
            row.owner_host = owner.as_ref().and_then(|owner| hosts.get(owner)).cloned();
        }
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// The hosts of supervisors, as far as they have said.
    fn hosts<'a>(
        &self,
        owners: impl Iterator<Item = &'a str>,
    ) -> Result<HashMap<String, String>, BrokerError> {
        let mut owners: Vec<&str> = owners.collect();
        owners.sort_unstable();
        owners.dedup();
        let tag = self.common_tag();
        let call = |owner: &&str| Call::plain(&[b"GET", format!("{tag}s:{owner}").as_bytes()]);
        let calls: Vec<_> = owners.iter().map(call).collect();
        let answers = self.lines.run_again(&calls)?;
        let known = owners
            .into_iter()
            .zip(answers)
            .filter_map(|(owner, about)| {
                let about: About = serde_json::from_slice(&bytes(about).ok()?).ok()?;
                Some((owner.to_owned(), about.host))
            });
        Ok(known.collect())
    }

    /// The queue of the newest job with this uuid.
    pub(super) fn queue_of(&self, uuid: Uuid) -> Result<Option<QueueName>, BrokerError> {
        let rows = self.jobs_by_id(&[uuid])?;
        Ok(rows.into_iter().flatten().next().map(|row| row.queue))
    }

    fn read_result(&self, uuid: Uuid, take: &str) -> Result<Option<KeptResult>, BrokerError> {
        let Some(queue) = self.queue_of(uuid)? else {
            return Ok(None);
        };
        let mut call = self.script(&RESULT, &queue);
        call.arg(name(uuid)).arg(take);
        let kept = |answer: Value| -> Result<Option<KeptResult>, Trouble> {
            if answer == Value::Nil {
                return Ok(None);
            }
            let mut items = Items::of(answer)?;
            let record = bytes(items.next()?)?;
            if items.len() == 0 {
                return Ok(None);
            }
            let at = Record::new(&record)?.finished_at().unwrap_or_default();
            let bytes = bytes(items.next()?)?;
            Ok(Some(KeptResult { bytes, at }))
        };
        kept(self.on_one(call)?).map_err(|trouble| self.say(&trouble))
    }

    /// Ids of about the newest jobs of a queue in these states, newest first; those that this many
    /// of each state stand before.
    fn newest(
        &self,
        queue: &QueueName,
        letters: &str,
        passed: usize,
        most: usize,
    ) -> Result<Vec<Uuid>, BrokerError> {
        let mut call = self.script(&LIST, queue);
        call.number(u64::try_from(most).unwrap_or(u64::MAX))
            .arg(letters)
            .number(u64::try_from(passed).unwrap_or(u64::MAX));
        let mut answers = self.lines.run_again(&[call])?;
        let lines = list(answers.swap_remove(0)).and_then(|lines| {
            let line = |one: Value| line(&bytes(one)?);
            lines.into_iter().map(line).collect::<Result<Vec<_>, _>>()
        });
        let mut lines = lines.map_err(|trouble| self.say(&trouble))?;
        lines.sort_unstable_by_key(|(seq, _)| Reverse(*seq));
        lines.dedup();
        Ok(lines.into_iter().map(|(_, uuid)| uuid).collect())
    }

    /// About the newest jobs of a queue that a filter lets through.
    fn newest_rows(
        &self,
        queue: &QueueName,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<JobRow>, BrokerError> {
        let letters = letters(&filter.states);
        let is_narrow = filter.task.is_some() || filter.cause.is_some();
        let depth = match limit > LOOKED_AT.1 {
            // Whoever asks for so many means all of them, wherever they are.
            true if is_narrow => usize::MAX,
            true => limit,
            false if is_narrow => LOOKED_AT.1,
            false => limit.max(LOOKED_AT.0),
        };
        let page = depth.min(LOOKED_AT.1);
        let (mut rows, mut known) = (Vec::new(), HashSet::new());
        // Ends with the queue: each turn passes over a page more of it.
        for passed in (0..depth).step_by(page) {
            let uuids = self.newest(queue, &letters, passed, page)?;
            if uuids.is_empty() {
                break;
            }
            for some in uuids.chunks(READ_AT_ONCE) {
                let left = limit - rows.len();
                if left == 0 {
                    return Ok(rows);
                }
                // Not more than are asked for, where each of them will do.
                let some = if is_narrow {
                    some
                } else {
                    &some[..some.len().min(left)]
                };
                let mut found = self.rows(self.find(std::slice::from_ref(queue), some)?)?;
                // A later page repeats jobs that newer ones have moved into it.
                found.retain(|row| is_wanted(filter, row) && known.insert(row.uuid));
                found.truncate(left);
                rows.extend(found);
            }
        }
        Ok(rows)
    }

    fn counts(&self, queues: &[QueueName], oldest: &str) -> Result<Vec<QueueCounts>, BrokerError> {
        let answers = self.on_each(queues, &COUNTS, |call| {
            call.arg(oldest);
        })?;
        let counts = |(queue, answer): (&QueueName, Value)| {
            let mut items = Items::of(answer)?;
            Ok(QueueCounts {
                queue: queue.clone(),
                ready: count(&items.next()?)?,
                delayed: count(&items.next()?)?,
                leased: count(&items.next()?)?,
                succeeded: count(&items.next()?)?,
                dead: count(&items.next()?)?,
                oldest_ready: u64::try_from(number(&items.next()?)?)
                    .ok()
                    .map(Timestamp::from_millis),
                gate: gate(&items.next()?),
            })
        };
        let all = queues.iter().zip(answers).map(counts);
        all.collect::<Result<Vec<_>, Trouble>>()
            .map_err(|trouble| self.say(&trouble))
    }
}

impl Catalog for Store {
    fn jobs_by_id(&self, uuids: &[Uuid]) -> Result<Vec<Option<JobRow>>, BrokerError> {
        let queues = self.all_queues()?;
        let mut newest: HashMap<Uuid, JobRow> = HashMap::new();
        for row in self.rows(self.find(&queues, uuids)?)? {
            let is_newer = newest
                .get(&row.uuid)
                .is_none_or(|other| other.submitted_at <= row.submitted_at);
            if is_newer {
                newest.insert(row.uuid, row);
            }
        }
        Ok(uuids.iter().map(|uuid| newest.get(uuid).cloned()).collect())
    }

    fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<JobRow>, BrokerError> {
        let queues = match &filter.queue {
            Some(queue) => vec![queue.clone()],
            None => self.all_queues()?,
        };
        let mut rows = Vec::new();
        for queue in queues {
            rows.extend(self.newest_rows(&queue, filter, limit)?);
            // Of each queue as many as are asked for: not all of them at once.
            if rows.len() > limit {
                sort_by_age(&mut rows);
                rows.truncate(limit);
            }
        }
        sort_by_age(&mut rows);
        Ok(rows)
    }

    fn result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError> {
        self.read_result(uuid, "0")
    }

    fn take_result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError> {
        self.read_result(uuid, "1")
    }

    fn payload(&self, uuid: Uuid) -> Result<Option<Vec<u8>>, BrokerError> {
        let Some(queue) = self.queue_of(uuid)? else {
            return Ok(None);
        };
        let get = |kind| {
            let key = format!("{}{kind}{}", self.tag(&queue), name(uuid));
            Call::plain(&[b"GET", key.as_bytes()])
        };
        let answers = self.lines.run_again(&["s:", "m:"].map(get))?;
        let read = || -> Result<Option<Vec<u8>>, Trouble> {
            let mut answers = answers.into_iter();
            let (record, long) = (answers.next(), answers.next());
            let Some(record) = record.filter(|record| *record != Value::Nil) else {
                return Ok(None);
            };
            let long = long.filter(|long| *long != Value::Nil).map(bytes);
            let (record, long) = (bytes(record)?, long.transpose()?);
            let record = Record::new(&record)?;
            if record.has_long_message() && long.is_none() {
                return Ok(None);
            }
            let (_, payload) = record.message(long.as_deref().unwrap_or_default())?;
            Ok(Some(payload.to_vec()))
        };
        read().map_err(|trouble| self.say(&trouble))
    }

    fn groups(&self, uuids: &[Uuid]) -> Result<Vec<Option<GroupRow>>, BrokerError> {
        self.read_groups(uuids)
    }

    fn flows(&self) -> Result<FlowCounts, BrokerError> {
        self.count_flows()
    }

    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        self.counts(&self.all_queues()?, "1")
    }

    fn unfinished(&self, queues: &[QueueName]) -> Result<u64, BrokerError> {
        let counts = self.counts(queues, "0")?;
        let unfinished = counts
            .iter()
            .filter(|one| one.gate != QueueGate::Paused)
            .map(|one| one.ready + one.delayed + one.leased);
        Ok(unfinished.sum())
    }

    fn tasks(&self) -> Result<Vec<TaskSpec>, BrokerError> {
        let now = Now::read().mono;
        if let Some((read, specs)) = &*self.specs()
            && now.saturating_duration_since(*read) < SPECS_HOLD
        {
            return Ok(specs.clone());
        }
        let key = format!("{}tasks", self.common_tag());
        let mut answers = self
            .lines
            .run_again(&[Call::plain(&[b"HVALS", key.as_bytes()])])?;
        let specs = list(answers.swap_remove(0)).map_err(|trouble| self.say(&trouble))?;
        // What cannot be read was written by a later version for its own kind.
        let read = |spec: Value| serde_json::from_slice(&bytes(spec).ok()?).ok();
        let mut specs: Vec<TaskSpec> = specs.into_iter().filter_map(read).collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        *self.specs() = Some((now, specs.clone()));
        Ok(specs)
    }

    fn place(&self) -> String {
        self.lines.place.clone()
    }

    fn fleet(&self) -> Result<Vec<Member>, BrokerError> {
        self.members()
    }

    fn examine(&self, depth: Depth) -> Result<Vec<Finding>, BrokerError> {
        self.findings(depth)
    }
}

fn found(job: Value) -> Result<Found, Trouble> {
    let mut items = Items::of(job)?;
    let (record, long) = (bytes(items.next()?)?, bytes(items.next()?)?);
    let read = Record::new(&record)?;
    let header = match read.has_long_message() {
        true => long,
        false => read.message(&[])?.0.to_vec(),
    };
    Ok(Found {
        record,
        header,
        is_delayed: number(&items.next()?)? == 1,
        result: u64::try_from(number(&items.next()?)?).ok(),
    })
}

fn row(queue: &QueueName, uuid: Uuid, found: Found) -> Result<JobRow, Trouble> {
    let record = Record::new(&found.record)?;
    let state = record.shown(found.is_delayed)?;
    Ok(JobRow {
        uuid,
        task: record.task()?,
        queue: queue.clone(),
        state,
        priority: record.priority()?,
        fence: record.fence()?,
        submitted_at: record.submitted_at(),
        ready_at: record.ready_at(),
        started_at: record.started_at(),
        finished_at: record.finished_at(),
        cause: record.cause(),
        is_revoked: record.is_revoked(),
        progress: record.progress().map(Into::into),
        owner_host: None,
        pid: record.pid(),
        history: record.history().to_vec(),
        header: found.header,
        result_bytes: found.result,
    })
}

/// States as scripts name them; all of them if there are none.
fn letters(states: &[State]) -> String {
    if states.is_empty() {
        return "RWLSDO".into();
    }
    let letter = |state: &State| match state {
        State::Ready => 'R',
        State::Delayed => 'W',
        State::Leased => 'L',
        State::Succeeded => 'S',
        State::Dead => 'D',
        State::Dropped => 'O',
    };
    states.iter().map(letter).collect()
}

fn is_wanted(filter: &Filter, row: &JobRow) -> bool {
    filter.task.as_ref().is_none_or(|task| *task == row.task)
        && filter.cause.is_none_or(|cause| Some(cause) == row.cause)
        // It may have moved since it was named.
        && (filter.states.is_empty() || filter.states.contains(&row.state))
}

/// Newest first.
fn sort_by_age(rows: &mut [JobRow]) {
    let is_mixed = rows.windows(2).any(|two| two[0].queue != two[1].queue);
    if is_mixed {
        // Jobs of one millisecond come from several queues: their ids tell which is newer, as far as
        // they are made of the time.
        rows.sort_by_key(|row| Reverse((row.submitted_at, row.uuid)));
    } else {
        // Stable, so that jobs of one queue stay in their order.
        rows.sort_by_key(|row| Reverse(row.submitted_at));
    }
}
