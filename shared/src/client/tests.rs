use std::time::Duration;

use super::*;
use crate::message::Message;

fn client() -> Client {
    Client::open("sqlite::memory:").unwrap()
}

fn built(task: &str) -> Message {
    Message::new(task).build().unwrap()
}

#[test]
fn a_batch_is_bounded_in_number_and_bytes_and_never_empty() {
    let many = vec![built("add"); BATCH + 1];
    assert_eq!(batch_len(&many), BATCH);
    let heavy = Message {
        payload: vec![0; BATCH_BYTES / 2 + 1],
        ..built("add")
    };
    assert_eq!(batch_len(&[heavy.clone(), heavy.clone()]), 1);
    let too_heavy = Message {
        payload: vec![0; BATCH_BYTES + 1],
        ..heavy
    };
    assert_eq!(batch_len(&[too_heavy]), 1);
    assert_eq!(batch_len(&[]), 0);
}
