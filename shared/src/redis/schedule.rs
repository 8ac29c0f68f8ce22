//! Schedules: each lies with the queue of its jobs, so that a firing is one script.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, count, number};
use super::call::Call;
use super::record::{name as key, nonsense};
use super::script::{SCHEDULE_DUE, SCHEDULE_FIRE, SCHEDULE_FORGET, SCHEDULE_INDEX, SCHEDULE_PUT};
use super::store::{Store, queue_names};
use super::submit::add;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Submission};
use crate::fault;
use crate::name::{QueueName, ScheduleName};
use crate::schedule::{self, Due, Fire, Fired, MOST, Put, Row, Schedules, Step};
use crate::time::Timestamp;

impl Schedules for Store {
    fn put(&self, row: &Row) -> Result<Put, BrokerError> {
        schedule::check(row)?;
        // The index first: a row lies in no queue that nobody can find.
        match self.index(row)? {
            Place::Free => {}
            Place::Full => return Ok(Put::Full),
            Place::Elsewhere(queue) => {
                let found = self.look_up(&row.name, &queue)?;
                if found.is_some() {
                    return Ok(Put::Stale);
                }
                // Whoever was about to put it there, or to remove it, did not come to the end.
                self.unindex(&row.name, &queue)?;
                if !matches!(self.index(row)?, Place::Free) {
                    return Ok(Put::Stale);
                }
            }
        }
        let mut calls: Vec<Call> = self.tell_of(&[&row.queue]).into_iter().collect();
        let mut call = self.script(&SCHEDULE_PUT, &row.queue);
        call.arg(row.name.as_str())
            .number(row.version)
            .arg(due(row.due))
            .arg(&row.body);
        calls.push(call);
        let mut answers = self.lines.run(&calls)?;
        let answer = answers.pop().unwrap_or_default();
        let is_written = number(&answer).map_err(|trouble| self.say(&trouble))? == 1;
        Ok(if is_written { Put::Written } else { Put::Stale })
    }

    fn find(&self, name: &ScheduleName) -> Result<Option<Row>, BrokerError> {
        let index = format!("{}schedules", self.common_tag());
        let call = Call::plain(&[b"HGET", index.as_bytes(), name.as_str().as_bytes()]);
        let mut answers = self.lines.run_again(&[call])?;
        let Ok(queue) = bytes(answers.swap_remove(0)) else {
            return Ok(None);
        };
        let queue = String::from_utf8(queue).ok();
        match queue.and_then(|queue| QueueName::new(&queue).ok()) {
            Some(queue) => self.look_up(name, &queue),
            None => Ok(None),
        }
    }

    fn all(&self) -> Result<Vec<Row>, BrokerError> {
        let queues = self.scheduled()?;
        let answers = self.on_each(&queues, &SCHEDULE_DUE, |call| {
            call.arg("a").arg("");
        })?;
        let mut all = Vec::new();
        for (queue, answer) in queues.iter().zip(answers) {
            let (_, _, rows) = read(answer, queue).map_err(|trouble| self.say(&trouble))?;
            all.extend(rows);
        }
        all.sort_by(|one: &Row, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn forget(&self, row: &Row) -> Result<bool, BrokerError> {
        let mut call = self.script(&SCHEDULE_FORGET, &row.queue);
        call.arg(row.name.as_str()).number(row.version);
        let answer = self.on_one(call)?;
        let is_gone = number(&answer).map_err(|trouble| self.say(&trouble))? == 1;
        if is_gone {
            self.unindex(&row.name, &row.queue)?;
        }
        Ok(is_gone)
    }

    fn due(&self, limit: usize) -> Result<Due, BrokerError> {
        let queues = self.scheduled()?;
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).min(1000);
        let answers = self.on_each(&queues, &SCHEDULE_DUE, |call| {
            call.arg("d").number(limit);
        })?;
        let mut all = Due {
            now: Timestamp::default(),
            rows: Vec::new(),
            next: None,
        };
        for (queue, answer) in queues.iter().zip(answers) {
            let (now, next, rows) = read(answer, queue).map_err(|trouble| self.say(&trouble))?;
            // The servers of a cluster have a clock each: none is asked about what is not due there.
            all.now = if all.now == Timestamp::default() {
                now
            } else {
                all.now.min(now)
            };
            all.next = all.next.into_iter().chain(next).min();
            all.rows.extend(rows);
        }
        if queues.is_empty() {
            all.now = Timestamp::now();
        }
        all.rows.sort_by_key(|row| row.due);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        all.rows.truncate(limit);
        Ok(all)
    }

    fn fire(&self, fires: &[Fire]) -> Result<Vec<Fired>, BrokerError> {
        if fires.is_empty() {
            return Ok(Vec::new());
        }
        let calls: Vec<_> = fires.iter().map(|fire| self.fire_call(fire)).collect();
        let answers = self.lines.run(&calls)?;
        fault::point("fire");
        let fired = |answer| {
            Ok(match number(&answer)? {
                1 => Fired::Free,
                2 => Fired::Busy,
                _ => Fired::Stale,
            })
        };
        let fired: Result<Vec<_>, Trouble> = answers.into_iter().map(fired).collect();
        fired.map_err(|trouble| self.say(&trouble))
    }
}

/// Whether a schedule may lie in a queue.
enum Place {
    Free,
    Full,
    Elsewhere(QueueName),
}

impl Store {
    fn scheduled(&self) -> Result<Vec<QueueName>, BrokerError> {
        let key = format!("{}scheduled", self.common_tag());
        let mut answers = self
            .lines
            .run_again(&[Call::plain(&[b"SMEMBERS", key.as_bytes()])])?;
        queue_names(answers.swap_remove(0)).map_err(|trouble| self.say(&trouble))
    }

    fn look_up(&self, name: &ScheduleName, queue: &QueueName) -> Result<Option<Row>, BrokerError> {
        let mut call = self.script(&SCHEDULE_DUE, queue);
        call.arg("n").arg(name.as_str());
        let answer = self.on_one(call)?;
        let (_, _, rows) = read(answer, queue).map_err(|trouble| self.say(&trouble))?;
        Ok(rows.into_iter().next())
    }

    fn index_call(&self, what: &str, name: &ScheduleName, queue: &QueueName) -> Call {
        let mut call = Call::script(&SCHEDULE_INDEX, &self.common_tag(), &self.clock());
        call.arg(what)
            .arg(name.as_str())
            .arg(queue.as_str())
            .number(u64::try_from(MOST).unwrap_or(u64::MAX));
        call
    }

    fn index(&self, row: &Row) -> Result<Place, BrokerError> {
        let answer = self.on_one(self.index_call("a", &row.name, &row.queue))?;
        if answer == Value::Nil {
            return Ok(Place::Free);
        }
        let queue = bytes(answer).map_err(|trouble| self.say(&trouble))?;
        let queue = String::from_utf8(queue).unwrap_or_default();
        Ok(QueueName::new(&queue).map_or(Place::Full, Place::Elsewhere))
    }

    fn unindex(&self, name: &ScheduleName, queue: &QueueName) -> Result<(), BrokerError> {
        self.on_one(self.index_call("r", name, queue)).map(drop)
    }

    fn fire_call(&self, fire: &Fire) -> Call {
        let mut call = self.script(&SCHEDULE_FIRE, &fire.queue);
        let nothing = Step {
            due: None,
            body: Vec::new(),
        };
        let (waited, step) = match &fire.unless {
            Some((uuid, step)) => (key(*uuid), step),
            None => (String::new(), &nothing),
        };
        call.arg(fire.name.as_str())
            .number(fire.version)
            .arg(due(fire.next.due))
            .arg(&fire.next.body)
            .arg(waited)
            .arg(due(step.due))
            .arg(&step.body);
        let token = Uuid::new_v4().as_u64_pair().1;
        for message in &fire.messages {
            let queue = &fire.queue;
            add(&mut call, &Submission { message, queue }, token);
        }
        call
    }
}

fn due(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".into(), |at| at.as_millis().to_string())
}

/// The server's time, until the next row is due, and rows.
fn read(
    answer: Value,
    queue: &QueueName,
) -> Result<(Timestamp, Option<Duration>, Vec<Row>), Trouble> {
    let mut items = Items::of(answer)?;
    let now = Timestamp::from_millis(count(&items.next()?)?);
    let next = u64::try_from(number(&items.next()?)?).ok();
    let mut rows = Vec::with_capacity(items.len() / 4);
    while items.len() > 0 {
        let name = text(items.next()?)?;
        let version = text(items.next()?)?.parse().map_err(|_| nonsense())?;
        let due = text(items.next()?)?.parse().ok();
        rows.push(Row {
            name: ScheduleName::new(&name).map_err(|_| nonsense())?,
            queue: queue.clone(),
            version,
            due: due.map(Timestamp::from_millis),
            body: bytes(items.next()?)?,
        });
    }
    Ok((now, next.map(Duration::from_millis), rows))
}

fn text(value: Value) -> Result<String, Trouble> {
    String::from_utf8(bytes(value)?).map_err(|_| nonsense())
}
