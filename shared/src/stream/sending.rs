//! What all stores do alike with records that come in: checks, batches, ids, room. Pure.

use std::collections::BTreeSet;

use super::keep::{Record, Sent};
use super::{EventId, FIELDS_MOST, Full, Place, RECORD_LIMIT, StreamSpec};
use crate::broker::BrokerError;
use crate::name::StreamName;

/// The field in which a store may keep an event's position; no field of a record is called so.
pub(crate) const POSITION: &str = "#";

/// Both numbers of an id, and positions, are at most this: what scripts can count to.
pub(crate) const NUMBER_MOST: u64 = (1 << 53) - 1;

/// Records in one move of a store, and their bytes, about: others get in between.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Events removed by one move, at most; more than one brings.
pub(crate) const TRIMMED_AT_ONCE: u64 = 4_096;

/// Says that there is no such stream.
pub(crate) fn unknown(stream: &StreamName) -> BrokerError {
    BrokerError::Refused {
        reason: format!("there is no stream `{stream}`"),
        way_out: "declare it first: a processor of it does when its supervisor starts".into(),
    }
}

/// Says that a stream has no such partition.
pub(crate) fn no_partition(stream: &StreamName, partition: u16, count: u16) -> BrokerError {
    BrokerError::Refused {
        reason: format!(
            "stream `{stream}` has no partition {partition}, its partitions are 0 to {}",
            count.saturating_sub(1)
        ),
        way_out: "let all that use the stream name the same number of partitions".into(),
    }
}

/// Says that a stream cannot get another number of partitions.
pub(crate) fn other_count(stream: &StreamName, there: u16, asked: u16) -> BrokerError {
    BrokerError::Refused {
        reason: format!("stream `{stream}` has {there} partitions, not {asked}"),
        way_out: "the number stays as it was made: name it, or use a stream of another name".into(),
    }
}

/// Says that a stream has no such processor.
pub(crate) fn no_processor(stream: &StreamName, processor: &str) -> BrokerError {
    BrokerError::Refused {
        reason: format!("stream `{stream}` has no processor `{processor}`"),
        way_out: "start a supervisor that serves it, or correct the name".into(),
    }
}

/// Says that a processor is served.
pub(crate) fn is_served(stream: &StreamName, processor: &str) -> BrokerError {
    BrokerError::Refused {
        reason: format!("processor `{processor}` of stream `{stream}` is served"),
        way_out: "stop the supervisors that serve it first".into(),
    }
}

/// Refuses a stream that cannot be.
pub(crate) fn check_spec(spec: &StreamSpec) -> Result<(), BrokerError> {
    spec.check().map_err(|error| BrokerError::Refused {
        reason: error.to_string(),
        way_out: "choose another number".into(),
    })
}

fn check(stream: &StreamName, record: &Record) -> Result<usize, BrokerError> {
    let refused = |reason: String, way_out: &str| BrokerError::Refused {
        reason: format!("a record for stream `{stream}` {reason}"),
        way_out: way_out.into(),
    };
    let (bytes, count) = (record.fields.size(), record.fields.len());
    if bytes > RECORD_LIMIT {
        return Err(refused(
            format!("has {bytes} bytes, more than {RECORD_LIMIT}"),
            "keep large values elsewhere and a reference to them in the record",
        ));
    }
    if count > FIELDS_MOST {
        return Err(refused(
            format!("has {count} fields, more than {FIELDS_MOST}"),
            "put several into one field",
        ));
    }
    if record.fields.get(POSITION).is_some() {
        return Err(refused(
            format!("has a field `{POSITION}`"),
            "call it otherwise: stores keep the position there",
        ));
    }
    match record.id {
        Some(id) if id.ms > NUMBER_MOST || id.seq > NUMBER_MOST => Err(refused(
            format!("asks for id {id}"),
            "both its numbers can be up to 9007199254740991",
        )),
        _ => Ok(bytes),
    }
}

/// Sends in batches. What comes after a record for which there was no room has none either.
pub(crate) fn in_batches(
    stream: &StreamName,
    records: &[Record],
    mut send: impl FnMut(&[&Record]) -> Result<Vec<Sent>, BrokerError>,
) -> Result<Vec<Sent>, BrokerError> {
    // All of them before the first: what is refused is not half done.
    let sizes = records.iter().map(|record| check(stream, record));
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let mut full = BTreeSet::new();
    let mut all = vec![Sent::Full; records.len()];
    let mut from = 0;
    while from < records.len() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while from < records.len() && batch.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            if !full.contains(&records[from].partition) {
                batch.push(from);
                bytes += sizes[from];
            }
            from += 1;
        }
        if batch.is_empty() {
            break;
        }
        let some: Vec<_> = batch.iter().map(|&index| &records[index]).collect();
        for (index, sent) in batch.into_iter().zip(send(&some)?) {
            all[index] = sent;
            if sent == Sent::Full {
                full.insert(records[index].partition);
            }
        }
    }
    Ok(all)
}

/// The id of the next event: the one that is wished, else the time, if that is later than the last.
/// `None` if there is none that is.
pub(crate) fn next_id(last: EventId, now_ms: u64, wished: Option<EventId>) -> Option<EventId> {
    let fresh = EventId { ms: now_ms, seq: 0 };
    let next = match wished {
        Some(id) => id,
        None if fresh > last => fresh,
        None if last.seq < NUMBER_MOST => EventId {
            seq: last.seq + 1,
            ..last
        },
        None => EventId {
            ms: last.ms + 1,
            seq: 0,
        },
    };
    (next > last && next.ms <= NUMBER_MOST).then_some(next)
}

/// How full a partition is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// How many events it keeps, about.
    pub(crate) size: u64,
    /// What happens when it is full.
    pub(crate) full: Full,
    /// Up to here all processors have passed; `None` if there is no processor.
    pub(crate) passed: Option<u64>,
    /// The last event that was removed.
    pub(crate) gone: Place,
    /// The last one that was stored.
    pub(crate) last: Place,
}

impl Room {
    fn removable(&self) -> u64 {
        self.passed.unwrap_or(0).max(self.gone.position)
    }

    /// Whether one more finds room.
    pub(crate) fn is_there(&self) -> bool {
        self.full == Full::DropOldest
            || self.last.position.saturating_sub(self.removable()) < self.size
    }

    /// Up to which position events are to be removed now. Not at each send: a partition may be a tenth
    /// longer than its size, by a thousand events at most, and after a great change it takes several.
    pub(crate) fn trim_to(&self) -> Option<u64> {
        let slack = (self.size / 10).min(1_000);
        let kept = self.last.position.saturating_sub(self.gone.position);
        if kept <= self.size.saturating_add(slack) {
            return None;
        }
        let surplus = self.last.position - self.size;
        let to = match self.full {
            Full::DropOldest => surplus,
            Full::Block | Full::Error => surplus.min(self.removable()),
        };
        let to = to.min(self.gone.position + TRIMMED_AT_ONCE);
        (to > self.gone.position).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> EventId {
        EventId { ms, seq }
    }

    #[test]
    fn ids_follow_the_time_and_never_fall() {
        assert_eq!(next_id(id(0, 0), 5, None), Some(id(5, 0)));
        assert_eq!(next_id(id(5, 0), 5, None), Some(id(5, 1)));
        assert_eq!(next_id(id(9, 3), 5, None), Some(id(9, 4)));
        assert_eq!(next_id(id(9, NUMBER_MOST), 5, None), Some(id(10, 0)));
        assert_eq!(next_id(id(NUMBER_MOST, NUMBER_MOST), 5, None), None);
        assert_eq!(next_id(id(5, 1), 9, Some(id(5, 2))), Some(id(5, 2)));
        assert_eq!(next_id(id(5, 1), 9, Some(id(5, 1))), None);
        assert_eq!(next_id(id(0, 0), 9, Some(id(0, 0))), None);
    }

    fn at(position: u64) -> Place {
        Place {
            position,
            id: id(position, 0),
        }
    }

    #[test]
    fn events_go_only_when_all_have_passed_them_or_the_stream_says_so() {
        let room = |full, passed, gone, last| Room {
            size: 100,
            full,
            passed,
            gone: at(gone),
            last: at(last),
        };
        for full in [Full::Block, Full::Error] {
            assert!(room(full, None, 0, 99).is_there());
            assert!(!room(full, None, 0, 100).is_there());
            assert!(room(full, Some(1), 0, 100).is_there());
            assert!(!room(full, Some(1), 1, 101).is_there());
            assert_eq!(room(full, Some(50), 0, 110).trim_to(), None);
            assert_eq!(room(full, Some(50), 0, 111).trim_to(), Some(11));
            assert_eq!(room(full, Some(5), 0, 111).trim_to(), Some(5));
            assert_eq!(room(full, None, 0, 111).trim_to(), None);
        }
        assert!(room(Full::DropOldest, None, 0, 1_000).is_there());
        assert_eq!(room(Full::DropOldest, None, 0, 111).trim_to(), Some(11));
        let much = room(Full::DropOldest, None, 7, 1_000_000).trim_to();
        assert_eq!(much, Some(7 + TRIMMED_AT_ONCE));
    }

    fn record(partition: u16, bytes: usize) -> Record {
        Record {
            partition,
            id: None,
            fields: [("f", vec![0; bytes])].into_iter().collect(),
        }
    }

    #[test]
    fn after_a_record_without_room_there_is_none_for_those_behind_it() {
        let stream = StreamName::new("orders").unwrap();
        let records: Vec<_> = (0..1_100).map(|n| record(n % 2, 1)).collect();
        let mut sizes = Vec::new();
        let sent = in_batches(&stream, &records, |batch| {
            sizes.push(batch.len());
            let sent = |record: &&Record| match record.partition {
                0 => Sent::Full,
                _ => Sent::Stored(at(1)),
            };
            Ok(batch.iter().map(sent).collect())
        });
        assert_eq!(sizes, [500, 300]);
        for (record, sent) in records.iter().zip(sent.unwrap()) {
            assert_eq!(sent == Sent::Full, record.partition == 0);
        }
    }

    #[test]
    fn a_record_that_no_store_could_keep_is_refused_before_any_is_sent() {
        let stream = StreamName::new("orders").unwrap();
        let refusal = |record: Record| {
            let records = [self::record(0, 1), record];
            let sent = in_batches(&stream, &records, |_| panic!("sent"));
            sent.unwrap_err().to_string()
        };
        let error = refusal(record(0, RECORD_LIMIT));
        assert!(
            error.contains("`orders` has 1048577 bytes, more than 1048576"),
            "{error}"
        );
        let mut many = record(0, 1);
        many.fields = vec![("x", ""); FIELDS_MOST + 1].into_iter().collect();
        assert!(refusal(many).contains("257 fields"));
        let mut clash = record(0, 1);
        clash.fields = [(POSITION, "1")].into_iter().collect();
        assert!(refusal(clash).contains("field `#`"));
        let mut far = record(0, 1);
        far.id = Some(id(NUMBER_MOST + 1, 0));
        assert!(refusal(far).contains("9007199254740992-0"));
    }
}
