//! What stores keep: headers, histories, registrations, arguments.

use std::time::Duration;

use bulkhead_shared::flow::Group;
use bulkhead_shared::flow::follow::{About, Thread};
use bulkhead_shared::history::History;
use bulkhead_shared::message::Header;
use bulkhead_shared::retry::Move;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Message, QueueName, Timestamp, Uuid};
use proptest::prelude::*;

fn headers() -> Vec<Vec<u8>> {
    let message = |message: bulkhead_shared::MessageBuilder| {
        let message = message.build().unwrap();
        serde_json::to_vec(&message.header).unwrap()
    };
    vec![
        message(Message::new("add").arg(1)),
        message(Message::new("add").processes(4).file_size(1 << 40)),
        message(
            Message::new("add")
                .priority(3)
                .callback(Message::new("mul").arg(2)),
        ),
        message(
            Message::new("add").callback(
                Group::new()
                    .member(Message::new("mul").arg(2))
                    .member(Message::new("mul").arg(3).ttl(Duration::from_secs(5)))
                    .join(Message::new("sum")),
            ),
        ),
        br#"{"v":1,"created_at":5,"timeout_ms":100,"max_retries":"unlimited","previous_bytes":3}"#
            .to_vec(),
        br#"{"v":1,"created_at":-5,"encoding":"messagepack","unknown":{"a":[1.5e300,null]}}"#
            .to_vec(),
    ]
}

fn records() -> Vec<Vec<u8>> {
    vec![
        b"{}".to_vec(),
        br#"{"errors":3,"crashes":1,"lost":2,"displaced":1}"#.to_vec(),
        br#"{"name":"add","queue":"math","timeout_ms":5,"max_retries":3,"params":["a"],"mechanism":"thread"}"#.to_vec(),
    ]
}

/// Reads a header, writes it and reads it again, and follows it to what a success brings.
fn looked_at(bytes: &[u8], payload: &[u8]) {
    let Ok(header) = serde_json::from_slice::<Header>(bytes) else {
        return;
    };
    // As text: metadata, and what follows, are kept as they are, though no number may be so large.
    let again = serde_json::to_vec(&header).unwrap();
    let header_again: Header = serde_json::from_slice(&again).unwrap();
    assert_eq!(serde_json::to_vec(&header_again).unwrap(), again);
    let (arguments, previous) = header.split(payload);
    let length = arguments.len() + previous.map_or(0, <[u8]>::len);
    assert_eq!(length, payload.len());
    let _ = header.encoding.unwrap_or_default().to_json(arguments);
    let Some(thread) = Thread::of(Uuid::nil(), &header) else {
        return;
    };
    let about = About {
        wants_callback: true,
        now: Timestamp::from_millis(5),
        queue_of: &|_| QueueName::default(),
    };
    let succeed = Move::Succeed {
        result: None,
        result_until: None,
        purge_at: None,
    };
    let _ = thread.follow(&succeed, payload, None, &about);
    let _ = thread.removed();
}

#[test]
fn numbers_that_nobody_can_hold_are_kept_in_what_follows_or_refused() {
    let step = r#"{"job":{"uuid":"01a203cc-1672-70b9-ad6d-4c4b45c5c15e","task":"mul","header":{"v":1,"created_at":1e953600364466},"payload":{}}}"#;
    let header = format!(r#"{{"v":1,"created_at":5,"metadata":[1e999],"then":[{step}]}}"#);
    assert!(serde_json::from_str::<Header>(&header).is_ok());
    looked_at(header.as_bytes(), b"5");
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(bytes in crate::hostile(headers()), payload in any::<Vec<u8>>()) {
        looked_at(&bytes, &payload);
    }

    #[test]
    fn any_record_is_read_or_refused(bytes in crate::hostile(records())) {
        let _ = History::from_json(&bytes);
        if let Ok(spec) = serde_json::from_slice::<TaskSpec>(&bytes) {
            let again = serde_json::to_vec(&spec).unwrap();
            prop_assert_eq!(serde_json::from_slice::<TaskSpec>(&again).unwrap(), spec);
        }
    }
}
