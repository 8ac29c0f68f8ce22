use super::*;
use std::time::Duration;

fn refused(builder: MessageBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn every_wrong_field_is_refused_with_a_way_out() {
    let add = || Message::new("add");
    let secs = Duration::from_secs;
    assert!(refused(Message::new("")).contains("empty"));
    assert!(refused(Message::new(&"x".repeat(500))).contains("shorten"));
    assert!(refused(add().queue("a b")).contains("' '"));
    assert!(refused(add().priority(-1)).contains("lower runs first"));
    assert!(refused(add().timeout(Duration::ZERO)).contains("timeout is zero"));
    assert!(refused(add().timeout(Duration::MAX)).contains("ten years"));
    assert!(refused(add().delay(Duration::MAX)).contains("ten years"));
    assert!(refused(add().expires(secs(1)).delay(secs(2))).contains("expires"));
    assert!(refused(add().memory(1)).contains("16MiB"));
    assert!(refused(add().processes(0)).contains("`processes` is 0"));
    assert!(refused(add().cpu_time(Duration::from_millis(999))).contains("whole seconds"));
    assert!(refused(add().cpu_time(Duration::MAX)).contains("ten years"));
    assert!(refused(add().file_size(0)).contains("`file-size`"));
    assert!(refused(add().open_files(3)).contains("less than 16"));
    assert!(refused(add().arg(vec![0u8; 64]).payload_limit(64)).contains("elsewhere"));
    let upside_down = Backoff {
        floor_ms: Some(2),
        ceiling_ms: Some(1),
        ..Backoff::default()
    };
    assert!(refused(add().backoff(upside_down)).contains("swap"));
    let map: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    assert!(refused(add().kwarg("m", map)).contains("`m`"));
}

#[test]
fn a_header_with_keys_of_a_later_version_is_still_read() {
    let json = r#"{"v":1,"created_at":5,"max_retries":"unlimited","colour":"red"}"#;
    let header: Header = serde_json::from_str(json).unwrap();
    assert_eq!(header.max_retries, Some(Retries::Unlimited));
}

#[test]
fn a_duplicate_differs_in_its_uuid_alone() {
    let message = Message::new("add").arg(1).build().unwrap();
    let other = message.duplicate().unwrap();
    assert_ne!(message.uuid, other.uuid);
    assert_eq!(message.payload, other.payload);
}

#[test]
fn a_previous_result_travels_behind_the_arguments() {
    let before = Uuid::now_v7();
    let message = Message::new("add").arg(1).previous(before, Value::from(5));
    let message = message.build().unwrap();
    assert_eq!(message.header.previous_message_uuid, Some(before));
    let (arguments, previous) = message.parts();
    assert_eq!(arguments, br#"{"args":[1],"kwargs":{}}"#);
    assert_eq!(previous, Some(&b"5"[..]));
}

#[test]
fn a_message_tells_when_it_may_start() {
    let now = Timestamp::from_millis(1_000_000);
    let message = Message::new("add").delay(Duration::from_secs(5));
    let message = message.build_at(now).unwrap();
    assert!(!message.is_ready(now));
    assert_eq!(message.time_to_ready(now), Duration::from_secs(5));
    let later = now.plus(Duration::from_secs(6));
    assert!(message.is_ready(later) && message.time_to_ready(later).is_zero());
    assert!(message.summary().starts_with("add "));
}

#[test]
fn metadata_grow_key_by_key() {
    let message = Message::new("add")
        .add_metadata("a", 1)
        .add_metadata("b", "x");
    let message = message.add_metadata("a", 2).build().unwrap();
    let data = message.header.metadata.unwrap();
    assert_eq!(data.get(), r#"{"a":2,"b":"x"}"#);
}
