//! Senders before a store that does what it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::broker::SupervisorId;
use crate::stream::keep::{
    Attendance, DeadEvent, Duty, Hold, Overview, Read, Seek, Step, Taken, Turn, View,
};

/// Keeps what it is sent; before that it does what is planned.
#[derive(Debug, Default)]
struct Fake {
    plan: Mutex<VecDeque<Plan>>,
    kept: Mutex<Vec<Record>>,
    declared: Mutex<u32>,
    moves: Mutex<Vec<usize>>,
}

#[derive(Debug, Clone, Copy)]
enum Plan {
    /// Stores the first so many of each partition; the others find it full.
    Room(usize),
    NotNewer,
    Refuse,
    Away,
}

impl Fake {
    fn sender(self) -> (Arc<Self>, StreamSender<(u64, String)>) {
        self.sender_of(orders())
    }

    fn sender_of<T>(self, stream: Stream<T>) -> (Arc<Self>, StreamSender<T>) {
        let fake = Arc::new(self);
        let streams: Arc<dyn Streams> = fake.clone();
        (fake, StreamSender::new(streams, stream).unwrap())
    }

    fn planned(plan: &[Plan]) -> Self {
        Self {
            plan: Mutex::new(plan.iter().copied().collect()),
            ..Self::default()
        }
    }

    fn kept(&self) -> Vec<(u64, String)> {
        let kept = self.kept.lock().unwrap();
        let records = kept.iter();
        records
            .map(|record| crate::stream::decode(&record.fields).unwrap())
            .collect()
    }
}

fn orders() -> Stream<(u64, String)> {
    Stream::new("orders").partition_by(|(key, _): &(u64, String)| *key)
}

fn order(key: u64, number: usize) -> (u64, String) {
    (key, number.to_string())
}

impl Streams for Fake {
    fn declare(&self, spec: &StreamSpec) -> Result<(), BrokerError> {
        assert_eq!(spec.name.as_str(), "orders");
        *self.declared.lock().unwrap() += 1;
        Ok(())
    }

    fn send(&self, _: &StreamName, records: &[Record]) -> Result<Vec<Sent>, BrokerError> {
        self.moves.lock().unwrap().push(records.len());
        let room = match self.plan.lock().unwrap().pop_front() {
            None => usize::MAX,
            Some(Plan::Room(room)) => room,
            Some(Plan::NotNewer) => {
                let last = EventId { ms: 9, seq: 9 };
                return Ok(vec![Sent::NotNewer { last }; records.len()]);
            }
            Some(Plan::Refuse) => {
                return Err(BrokerError::Refused {
                    reason: "there is no stream `orders`".into(),
                    way_out: "declare it".into(),
                });
            }
            Some(Plan::Away) => {
                let reason = "as planned".into();
                return Err(BrokerError::Away { reason });
            }
        };
        let mut kept = self.kept.lock().unwrap();
        let mut taken = std::collections::HashMap::<u16, usize>::new();
        let became = records.iter().map(|record| {
            let taken = taken.entry(record.partition).or_default();
            *taken += 1;
            if *taken > room {
                return Sent::Full;
            }
            kept.push(record.clone());
            let position = kept.len() as u64;
            let id = record.id.unwrap_or(EventId {
                ms: position,
                seq: 0,
            });
            Sent::Stored(Place { position, id })
        });
        Ok(became.collect())
    }

    fn attend(&self, _: Attendance<'_>) -> Result<View, BrokerError> {
        unimplemented!("senders do not")
    }
    fn take(
        &self,
        _: &Duty,
        _: SupervisorId,
        _: &[u16],
        _: Duration,
    ) -> Result<Vec<Taken>, BrokerError> {
        unimplemented!("senders do not")
    }
    fn give_back(&self, _: &Duty, _: &[Hold]) -> Result<(), BrokerError> {
        unimplemented!("senders do not")
    }
    fn depart(&self, _: &Duty, _: SupervisorId) -> Result<(), BrokerError> {
        unimplemented!("senders do not")
    }
    fn step(&self, _: &Duty, _: &[Step], _: &[Read]) -> Result<Turn, BrokerError> {
        unimplemented!("senders do not")
    }
    fn seek(&self, _: &Duty, _: &[u16], _: Seek) -> Result<(), BrokerError> {
        unimplemented!("senders do not")
    }
    fn release(&self, _: &Duty, _: &[u16]) -> Result<Vec<u16>, BrokerError> {
        unimplemented!("senders do not")
    }
    fn pause(
        &self,
        _: &StreamName,
        _: Option<&crate::TaskName>,
        _: Option<&str>,
    ) -> Result<(), BrokerError> {
        unimplemented!("senders do not")
    }
    fn forget(&self, _: &Duty) -> Result<bool, BrokerError> {
        unimplemented!("senders do not")
    }
    fn dead(&self, _: &Duty, _: u16, _: u32) -> Result<Vec<DeadEvent>, BrokerError> {
        unimplemented!("senders do not")
    }
    fn drop_dead(&self, _: &Duty, _: u16, _: Place) -> Result<u64, BrokerError> {
        unimplemented!("senders do not")
    }
    fn streams(&self, _: Option<&StreamName>) -> Result<Vec<Overview>, BrokerError> {
        unimplemented!("senders do not")
    }
}

#[test]
fn a_record_goes_to_the_partition_of_its_key() {
    let (fake, sender) = Fake::default().sender();
    let record = order(42, 1);
    let id = EventId { ms: 7, seq: 1 };
    let stored = sender.send_as(id, &record).unwrap();
    assert_eq!(stored.partition, sender.partition_of(&record).unwrap());
    assert_eq!(stored.place, Place { position: 1, id });
    let stored = sender.clone().send(&record).unwrap();
    assert_eq!(stored.place.position, 2);
    assert_eq!(fake.kept(), [record.clone(), record]);
    assert_eq!(*fake.declared.lock().unwrap(), 1);
}

#[test]
fn a_stream_that_is_gone_is_made_again() {
    let (fake, sender) = Fake::planned(&[Plan::Refuse]).sender();
    sender.send(&order(1, 1)).unwrap();
    assert_eq!((*fake.declared.lock().unwrap(), fake.kept().len()), (2, 1));
    // If that is not what was wrong it is said.
    let (_, sender) = Fake::planned(&[Plan::Refuse, Plan::Refuse]).sender();
    let error = sender.send(&order(1, 1)).unwrap_err();
    assert!(error.to_string().contains("no stream"), "{error}");
}

#[test]
fn a_full_partition_is_waited_for_and_order_is_kept() {
    let (fake, sender) = Fake::planned(&[Plan::Room(1), Plan::Room(0), Plan::Room(2)]).sender();
    let records: Vec<_> = (0..6).map(|number| order(1, number)).collect();
    assert_eq!(sender.send_many(&records).unwrap(), 6);
    assert_eq!(fake.kept(), records);
    assert_eq!(*fake.moves.lock().unwrap(), [6, 5, 5, 3]);
}

#[test]
fn a_wait_for_room_has_an_end_and_says_what_is_stored() {
    let (fake, sender) = Fake::planned(&[Plan::Room(2); 1_000]).sender();
    let sender = sender.patience(Duration::ZERO);
    let records: Vec<_> = (0..5).map(|number| order(1, number)).collect();
    let error = sender.send_many(&records).unwrap_err();
    let SendError::Partly { index: 2, source } = &error else {
        panic!("{error:?}");
    };
    let text = source.to_string();
    assert!(
        text.contains("partition 1 of stream `orders` is full"),
        "{text}"
    );
    assert!(text.contains("supervisor stream lag orders"), "{text}");
    assert_eq!(fake.kept().len(), 2);

    // Nobody waits where the stream says so.
    let (fake, sender) = Fake::planned(&[Plan::Room(0)]).sender_of(orders().full(Full::Error));
    let error = sender.send(&order(1, 1)).unwrap_err();
    assert!(matches!(error, SendError::Full { .. }), "{error:?}");
    assert_eq!(*fake.moves.lock().unwrap(), [1]);
}

#[test]
fn what_cannot_be_stored_is_told_apart() {
    let (_, sender) = Fake::planned(&[Plan::NotNewer]).sender();
    let id = EventId { ms: 7, seq: 0 };
    let text = sender.send_as(id, &order(1, 1)).unwrap_err().to_string();
    assert!(text.contains("id 7-0 is not greater than 9-9"), "{text}");

    let (_, sender) = Fake::planned(&[Plan::Away]).sender();
    let error = sender.send(&order(1, 1)).unwrap_err();
    assert!(matches!(error, SendError::Store(BrokerError::Away { .. })));

    let (_, sender) = Fake::default().sender();
    let large = (1, "x".repeat(crate::stream::RECORD_LIMIT));
    let error = sender.send(&large).unwrap_err();
    assert!(matches!(
        error,
        SendError::Record(RecordError::TooLarge { .. })
    ));

    let nameless = Stream::<u8>::new("").partition_by(|n: &u8| *n);
    let streams: Arc<dyn Streams> = Arc::new(Fake::default());
    let error = StreamSender::new(Arc::clone(&streams), nameless).unwrap_err();
    assert!(
        error.to_string().contains("stream name is empty"),
        "{error}"
    );
    let keyless = Stream::<u8>::new("orders");
    let error = StreamSender::new(streams, keyless).unwrap_err();
    assert!(error.to_string().contains("partition_by"), "{error}");
}

#[test]
fn a_record_that_is_none_ends_a_batch_and_those_before_it_are_stored() {
    let (fake, sender) = Fake::default().sender();
    let large = (1, "x".repeat(crate::stream::RECORD_LIMIT));
    let records = [order(1, 0), order(2, 1), large, order(3, 3)];
    let error = sender.send_many(records.clone()).unwrap_err();
    assert!(
        matches!(error, SendError::Partly { index: 2, .. }),
        "{error:?}"
    );
    assert_eq!(fake.kept(), records[..2]);
    // The first one is simply an error.
    let error = sender.send_many(&records[2..]).unwrap_err();
    assert!(matches!(error, SendError::Record(_)), "{error:?}");
}

#[test]
fn an_error_in_a_later_batch_says_how_far_it_came() {
    let (fake, sender) = Fake::planned(&[Plan::Room(BATCH), Plan::Away]).sender();
    let records = (0..BATCH + 7).map(|number| order(1, number));
    let error = sender.send_many(records).unwrap_err();
    let SendError::Partly { index, source } = error else {
        panic!("{error:?}");
    };
    assert_eq!(index, BATCH as u64);
    assert!(matches!(*source, SendError::Store(_)));
    assert_eq!(*fake.moves.lock().unwrap(), [BATCH, 7]);
}

#[test]
fn a_batch_has_a_bound_of_bytes() {
    let (fake, sender) = Fake::default().sender();
    let half = "x".repeat(crate::stream::RECORD_LIMIT / 2);
    let count = 2 * BATCH_BYTES / half.len() + 1;
    let records = (0..count).map(|number| (number as u64, half.clone()));
    assert_eq!(sender.send_many(records).unwrap(), count as u64);
    let moves = fake.moves.lock().unwrap();
    let most = BATCH_BYTES / half.len() + 1;
    assert!(moves.iter().all(|len| *len <= most), "{moves:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_are_stored_once_and_in_the_order_of_their_keys(
        keys in prop::collection::vec(0..5_u64, 0..60),
        rooms in prop::collection::vec(0..4_usize, 0..3),
    ) {
        let plan: Vec<_> = rooms.into_iter().map(Plan::Room).collect();
        let (fake, sender) = Fake::planned(&plan).sender();
        let records: Vec<_> = keys.iter().zip(0..).map(|(key, n)| order(*key, n)).collect();
        prop_assert_eq!(sender.send_many(&records).unwrap(), records.len() as u64);
        let kept = fake.kept();
        prop_assert_eq!(kept.len(), records.len());
        for key in 0..5 {
            let of = |all: &[(u64, String)]| -> Vec<_> {
                all.iter().filter(|(one, _)| *one == key).cloned().collect()
            };
            prop_assert_eq!(of(&kept), of(&records));
        }
    }
}

#[test]
fn primitive_records_are_sent_as_fields() {
    #[derive(Serialize)]
    struct Reading {
        key: String,
        value: i32,
    }
    let stream = Stream::new("orders").partition_by(|one: &Reading| one.key.clone());
    let (fake, sender) = Fake::default().sender_of(stream.primitive());
    let key = "a".into();
    sender.send(&Reading { key, value: -3 }).unwrap();
    let kept = fake.kept.lock().unwrap();
    let fields = [("key", "a"), ("value", "-3")];
    assert_eq!(kept[0].fields, fields.into_iter().collect());
}
