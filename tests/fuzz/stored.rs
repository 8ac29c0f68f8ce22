//! What stores keep besides jobs: schedules, records of events.

use std::collections::BTreeMap;

use bulkhead_shared::schedule::{Body, Origin, Row};
use bulkhead_shared::stream::{self, Compression, Fields, Serializer, Stream};
use bulkhead_shared::trigger::{Misfire, On, Overlap, TriggerSpec};
use bulkhead_shared::{Namespace, QueueName, ScheduleName, TaskName, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most jobs of one look at a schedule.
const FIRED_MOST: usize = 1000;

fn bodies() -> Vec<Vec<u8>> {
    let every = TriggerSpec {
        every_ms: Some(30_000),
        overlap: Overlap::Skip,
        jitter_ms: 5000,
        ..TriggerSpec::default()
    };
    let cron = |text: &str, tz: Option<&str>| TriggerSpec {
        cron: Some(text.into()),
        tz: tz.map(Into::into),
        misfire: Misfire::All(100),
        ..TriggerSpec::default()
    };
    let triggers = [
        every,
        cron("0 3 * * mon-fri", Some("Europe/Berlin")),
        cron("*/10 0-59/7 1,2 29 feb *", Some("America/St_Johns")),
        cron("@daily", None),
        TriggerSpec {
            at: Some("2027-03-28T02:30".into()),
            tz: Some("Europe/Berlin".into()),
            ..TriggerSpec::default()
        },
        TriggerSpec {
            at_start: true,
            on: On::Each,
            ..TriggerSpec::default()
        },
    ];
    let body = |trigger| {
        let task = TaskName::new("add").unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        serde_json::to_vec(&Body::new(task, trigger, Origin::Added, now)).unwrap()
    };
    triggers.map(body).to_vec()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    size: i64,
    is_new: bool,
}

/// Fields of one record, in each way in which it can be written.
fn records() -> Vec<Fields> {
    let record = Record {
        name: "x".repeat(40),
        size: -7,
        is_new: true,
    };
    let mut all = vec![Stream::new("s").primitive().encode(&record).unwrap()];
    for serializer in [Serializer::Json, Serializer::MessagePack] {
        for compression in [Compression::None, Compression::Lz4, Compression::Gzip] {
            let stream = Stream::new("s")
                .serializer(serializer)
                .compression(compression);
            all.push(stream.encode(&record).unwrap());
        }
    }
    all
}

proptest! {
    #[test]
    fn any_schedule_is_fired_in_bounds_or_refused(
        body in crate::hostile(bodies()),
        now in prop_oneof![0..1_u64 << 42, any::<u64>()],
    ) {
        let row = Row {
            name: ScheduleName::new("nightly").unwrap(),
            queue: QueueName::default(),
            version: 1,
            due: None,
            body,
        };
        if let Ok(fire) = Body::fire(&row, &Namespace::default(), Timestamp::from_millis(now)) {
            prop_assert!(fire.messages.len() <= FIRED_MOST, "{}", fire.messages.len());
        }
    }

    #[test]
    fn any_record_of_an_event_is_read_or_refused(
        (fields, changed) in select(records()).prop_flat_map(|fields| {
            let values = fields.iter().map(|(_, value)| crate::hostile(vec![value.to_vec()]));
            let values: Vec<_> = values.collect();
            (Just(fields), values)
        }),
        only in any::<prop::sample::Index>(),
    ) {
        // One field at a time: two wrong ones seldom get far.
        let only = only.index(fields.len());
        let value = |(at, (name, value)): (usize, (_, _))| {
            (name, if at == only { &changed[at][..] } else { value })
        };
        let fields: Fields = fields.iter().enumerate().map(value).collect();
        let _ = stream::decode::<Record>(&fields);
        let _ = stream::decode::<Value>(&fields);
        let _ = stream::decode::<BTreeMap<String, Value>>(&fields);
    }
}
