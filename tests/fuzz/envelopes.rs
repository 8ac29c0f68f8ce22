//! What stores keep: headers, histories, registrations, arguments.

use bulkhead_shared::Message;
use bulkhead_shared::history::History;
use bulkhead_shared::message::Header;
use bulkhead_shared::task::TaskSpec;
use proptest::prelude::*;

fn headers() -> Vec<Vec<u8>> {
    let message = |message: bulkhead_shared::MessageBuilder| {
        let message = message.build().unwrap();
        serde_json::to_vec(&message.header).unwrap()
    };
    vec![
        message(Message::new("add").arg(1)),
        message(
            Message::new("add")
                .priority(3)
                .callback(Message::new("mul").arg(2)),
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

proptest! {
    #[test]
    fn any_header_is_read_or_refused(bytes in crate::hostile(headers()), payload in any::<Vec<u8>>()) {
        if let Ok(header) = serde_json::from_slice::<Header>(&bytes) {
            let again = serde_json::to_vec(&header).unwrap();
            let again: Header = serde_json::from_slice(&again).unwrap();
            prop_assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&header).unwrap());
            let (arguments, previous) = header.split(&payload);
            prop_assert_eq!(arguments.len() + previous.map_or(0, <[u8]>::len), payload.len());
            let _ = header.encoding.unwrap_or_default().to_json(arguments);
        }
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
