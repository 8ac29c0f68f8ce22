//! What jobs remember.

use std::collections::BTreeSet;

use redis::Value;
use uuid::Uuid;

use super::answer::{Items, bytes, count, list, number};
use super::call::Call;
use super::control::scan;
use super::line::Line;
use super::record::{hex, key, name, nonsense};
use super::script::{RECALL, RECORD, SIGNAL, TAKE};
use super::store::Store;
use super::trouble::Trouble;
use super::turn::by_queue;
use crate::broker::{BrokerError, Receipt};
use crate::fault;
use crate::journal::{
    BYTES_MOST, ENTRIES_MOST, Entry, Journal, Journals, KeptSignal, PAGE, PAGE_BYTES, Page, Record,
    Recorded, SIGNALS_MOST, Signal, Signalled, Taken,
};
use crate::name::Key;
use crate::time::Timestamp;

/// Bytes before the body of an entry: when, and its number.
const HEAD: usize = 18;

impl Journals for Store {
    fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, BrokerError> {
        let by_queue = by_queue(records.iter().map(|record| &record.receipt.queue));
        let calls: Vec<Call> = by_queue
            .iter()
            .map(|(queue, places)| {
                let mut call = self.script(&RECORD, queue);
                call.number(ENTRIES_MOST.into()).arg(BYTES_MOST.to_string());
                for &place in places {
                    let record = &records[place];
                    call.arg(name(record.receipt.uuid))
                        .arg(key(record.receipt.fence, record.receipt.mark))
                        .arg(&record.key)
                        .arg(if record.is_first { "1" } else { "" })
                        .arg(&record.body);
                }
                call
            })
            .collect();
        fault::point("record");
        let answers = self.lines.run_again(&calls)?;
        fault::point("recorded");
        let mut recorded = vec![Recorded::Lost; records.len()];
        for ((_, places), answer) in by_queue.iter().zip(answers) {
            let read = |answer: Value| -> Result<Vec<Recorded>, Trouble> {
                let mut items = Items::of(answer)?;
                let now = time(&items.next()?)?;
                let each = |_: &usize| Ok(became(number(&items.next()?)?, now));
                places.iter().map(each).collect()
            };
            let all = read(answer).map_err(|trouble| self.say(&trouble))?;
            for (&place, one) in places.iter().zip(all) {
                recorded[place] = one;
            }
        }
        Ok(recorded)
    }

    fn recall(&self, receipt: &Receipt, after: u32) -> Result<Option<Page>, BrokerError> {
        let mut call = self.script(&RECALL, &receipt.queue);
        call.arg(name(receipt.uuid))
            .arg(key(receipt.fence, receipt.mark))
            .number(after.into())
            .number(PAGE as u64)
            .number(PAGE_BYTES as u64);
        let answer = self.on_one(call)?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let read = || -> Result<Page, Trouble> {
            let mut items = Items::of(answer)?;
            let (now, more) = (time(&items.next()?)?, number(&items.next()?)? == 1);
            let mut entries = Vec::with_capacity(items.len() / 2);
            while items.len() > 0 {
                entries.push(entry(items.next()?, items.next()?)?);
            }
            Ok(Page { entries, more, now })
        };
        read().map(Some).map_err(|trouble| self.say(&trouble))
    }

    fn take(&self, receipt: &Receipt, signal: &Key, by: &str) -> Result<Taken, BrokerError> {
        let mut call = self.script(&TAKE, &receipt.queue);
        call.arg(name(receipt.uuid))
            .arg(key(receipt.fence, receipt.mark))
            .arg(signal.as_str())
            .arg(by);
        let answer = self.on_one(call)?;
        let read = || -> Result<Taken, Trouble> {
            let mut items = Items::of(answer)?;
            let now = time(&items.next()?)?;
            Ok(match number(&items.next()?)? {
                1 => Taken::Signal {
                    payload: bytes(items.next()?)?,
                    now,
                },
                0 => Taken::Nothing { now },
                _ => Taken::Lost,
            })
        };
        read().map_err(|trouble| self.say(&trouble))
    }

    fn signal(&self, uuid: Uuid, signal: &Signal) -> Result<Signalled, BrokerError> {
        let Some(queue) = self.queue_of(uuid)? else {
            return Ok(Signalled::Unknown);
        };
        let mut call = self.script(&SIGNAL, &queue);
        call.arg(name(uuid))
            .arg(signal.name.as_str())
            .arg(&signal.key)
            .arg(&signal.payload)
            .number(SIGNALS_MOST.into());
        let answer = number(&self.on_one(call)?).map_err(|trouble| self.say(&trouble))?;
        Ok(match answer {
            0 => Signalled::Unknown,
            1 => Signalled::Ended,
            2 => Signalled::Known,
            3 => Signalled::Full,
            _ => Signalled::Kept,
        })
    }

    fn remembering(&self) -> Result<u64, BrokerError> {
        self.count_remembering()
            .map_err(|trouble| self.say(&trouble))
    }

    fn journal(&self, uuid: Uuid) -> Result<Option<Journal>, BrokerError> {
        let Some(queue) = self.queue_of(uuid)? else {
            return Ok(None);
        };
        let keys = ["log:", "sig:"].map(|kind| format!("{}{kind}{}", self.tag(&queue), name(uuid)));
        let calls = keys.map(|key| Call::plain(&[b"HGETALL", key.as_bytes()]));
        let mut answers = self.lines.run_again(&calls)?;
        let (signals, entries) = (answers.swap_remove(1), answers.swap_remove(0));
        let read = || -> Result<Journal, Trouble> {
            let mut entries = pairs(entries)?
                .into_iter()
                .filter(|(field, _)| !is_ours(field))
                .map(|(field, value)| entry(Value::BulkString(field), Value::BulkString(value)))
                .collect::<Result<Vec<_>, _>>()?;
            entries.sort_by_key(|entry| entry.number);
            let signals = pairs(signals)?.into_iter().map(kept_signal);
            let mut signals = signals.collect::<Result<Vec<_>, Trouble>>()?;
            signals.sort_by_key(|(number, _)| *number);
            let signals = signals.into_iter().map(|(_, signal)| signal).collect();
            Ok(Journal { entries, signals })
        };
        read().map(Some).map_err(|trouble| self.say(&trouble))
    }
}

impl Store {
    fn count_remembering(&self) -> Result<u64, Trouble> {
        let pattern = format!("{{{}|*", self.namespace);
        // By the beginning of its keys and its name: one with entries and signals counts once.
        let mut jobs = BTreeSet::new();
        for node in self.masters()? {
            let mut line = Line::open(&node)?;
            let mut cursor = b"0".to_vec();
            loop {
                let (next, keys) = scan(&mut line, &cursor, &pattern)?;
                for key in keys {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    let job = key.split_once('}').and_then(|(tag, name)| {
                        let job = name
                            .strip_prefix("logk:")
                            .or_else(|| name.strip_prefix("sig:"))?;
                        Some((format!("{tag}}}"), job.to_owned()))
                    });
                    jobs.extend(job);
                }
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        let state = |(tag, job): &(String, String)| {
            let key = format!("{tag}s:{job}");
            Call::plain(&[b"GETRANGE", key.as_bytes(), b"0", b"0"])
        };
        let calls: Vec<Call> = jobs.iter().map(state).collect();
        let states = self.lines.attempt(&calls)?;
        let states: Vec<Vec<u8>> = states.into_iter().map(bytes).collect::<Result<_, _>>()?;
        let lives = |state: &&Vec<u8>| {
            let state = state.first();
            state.is_some_and(|state| b"RLrw".contains(state))
        };
        Ok(states.iter().filter(lives).count() as u64)
    }
}

/// Fields that scripts keep beside the entries.
fn is_ours(field: &[u8]) -> bool {
    field == b"#" || field == b"~"
}

/// A field of a hash and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The fields and values of a hash.
fn pairs(answer: Value) -> Result<Vec<Pair>, Trouble> {
    let flat = match answer {
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        other => list(other)?,
    };
    let mut flat = flat.into_iter();
    let mut pairs = Vec::new();
    while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((bytes(field)?, bytes(value)?));
    }
    Ok(pairs)
}

fn became(answer: i64, now: Timestamp) -> Recorded {
    match u64::try_from(answer) {
        Ok(at) => Recorded::Written {
            at: Timestamp::from_millis(at),
            now,
        },
        Err(_) if answer == -2 => Recorded::Behind,
        Err(_) if answer == -3 => Recorded::Full,
        Err(_) => Recorded::Lost,
    }
}

fn time(value: &Value) -> Result<Timestamp, Trouble> {
    count(value).map(Timestamp::from_millis)
}

fn text(bytes: Vec<u8>) -> Result<String, Trouble> {
    String::from_utf8(bytes).map_err(|_| nonsense())
}

/// When it was written, and its number.
fn head(value: &[u8]) -> Result<(Timestamp, u32), Trouble> {
    let part = |from, to| value.get(from..to).and_then(hex).ok_or_else(nonsense);
    let number = u32::try_from(part(12, HEAD)?).map_err(|_| nonsense())?;
    Ok((Timestamp::from_millis(part(0, 12)?), number))
}

fn entry(key: Value, value: Value) -> Result<Entry, Trouble> {
    let value = bytes(value)?;
    let (at, number) = head(&value)?;
    Ok(Entry {
        key: text(bytes(key)?)?,
        at,
        number,
        body: value[HEAD..].to_vec(),
    })
}

fn kept_signal((field, value): Pair) -> Result<(u32, KeptSignal), Trouble> {
    let (at, number) = head(&value)?;
    let field = text(field)?;
    let (name, key) = field.split_once('\n').ok_or_else(nonsense)?;
    let taken = value.get(HEAD..HEAD + 4).and_then(hex);
    let taken = taken.and_then(|len| usize::try_from(len).ok());
    let rest = &value[HEAD + 4..];
    let (by, payload) = taken
        .and_then(|len| rest.split_at_checked(len))
        .ok_or_else(nonsense)?;
    let by = text(by.to_vec())?;
    let signal = KeptSignal {
        name: name.into(),
        key: key.into(),
        at,
        taken_by: (!by.is_empty()).then_some(by),
        payload: payload.to_vec(),
    };
    Ok((number, signal))
}
