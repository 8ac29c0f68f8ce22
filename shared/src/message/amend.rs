//! Changes to a message that is stored already.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Arguments, Header, MessageBuilder, MessageError};
use crate::name::{QueueName, TaskName};

/// A header's keys that may be changed as long as the job waits: the rules of its attempts, and
/// what belongs to the user.
const OPEN: [&str; 10] = [
    "timeout_ms",
    "patience_ms",
    "max_retries",
    "backoff",
    "result_ttl",
    "memory",
    "limits",
    "profile",
    "mechanism",
    "metadata",
];

/// A change of a job that waits: its priority and its message's header, as they were read and as
/// they are to be.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// The job.
    pub uuid: Uuid,
    /// Its queue.
    pub queue: QueueName,
    /// Nothing is changed if they are others by now.
    pub before: (u32, Vec<u8>),
    /// From now on.
    pub after: (u32, Vec<u8>),
}

/// What became of an amendment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amended {
    /// The job is as it was to be.
    Done,
    /// Somebody else has changed it; it was left so.
    Changed,
    /// It runs, has ended or is on its way between stores; it was left so.
    NotWaiting,
    /// Nobody knows it in this queue.
    Unknown,
}

type Keys = BTreeMap<String, Box<RawValue>>;

/// What `change` makes of a stored message: its priority and its header from now on. Keys of the
/// header that this release does not know stay as they are.
///
/// # Errors
/// [`MessageError::Fixed`], or what a new message could not have either.
pub(crate) fn amended(
    task: &TaskName,
    priority: u32,
    stored: &[u8],
    change: impl FnOnce(MessageBuilder) -> MessageBuilder,
) -> Result<(u32, Vec<u8>), MessageError> {
    let before: Header = serde_json::from_slice(stored).map_err(unreadable)?;
    let mut builder = MessageBuilder::new(task.as_str());
    builder.priority = priority.into();
    let metadata = before.metadata.as_deref();
    let metadata = metadata.map(|json| serde_json::from_str(json.get()));
    builder.metadata = metadata.transpose().map_err(unreadable)?;
    builder.header = before.clone();
    let builder = change(builder);
    let is_same = builder.task == task.as_str()
        && builder.queue.is_none()
        && builder.uuid.is_none()
        && builder.arguments == Arguments::default()
        && builder.delay.is_none()
        && builder.at.is_none()
        && builder.expires.is_none()
        && builder.previous_result.is_none()
        && builder.then.steps.is_empty()
        && builder.then.wrong.is_none()
        && builder.on_submit.is_none();
    let step = builder.into_step().0?;
    let after = Header {
        created_at: before.created_at,
        ..step.header
    };
    let (mut before, mut after) = (keys(&before)?, keys(&after)?);
    let mut header: Keys = serde_json::from_slice(stored).map_err(unreadable)?;
    for key in OPEN {
        before.remove(key);
        header.remove(key);
        if let Some((key, value)) = after.remove_entry(key) {
            header.insert(key, value);
        }
    }
    let text = |keys: &Keys| serde_json::to_vec(keys).map_err(unreadable);
    if !is_same || text(&before)? != text(&after)? {
        return Err(MessageError::Fixed);
    }
    Ok((step.priority, text(&header)?))
}

fn keys(header: &Header) -> Result<Keys, MessageError> {
    let json = serde_json::to_vec(header).map_err(unreadable)?;
    serde_json::from_slice(&json).map_err(unreadable)
}

fn unreadable(source: serde_json::Error) -> MessageError {
    MessageError::Argument {
        parameter: "stored header".into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::message::Message;
    use crate::policy::{Keep, Retries};

    fn message() -> Message {
        let builder = Message::new("add").arg(2).priority(3);
        let builder = builder
            .add_metadata("who", "me")
            .callback(Message::new("b"));
        builder.timeout(Duration::from_secs(5)).build().unwrap()
    }

    fn amend(
        change: impl FnOnce(MessageBuilder) -> MessageBuilder,
    ) -> Result<(Value, u32, Value), MessageError> {
        let message = message();
        let mut before = serde_json::to_value(&message.header).unwrap();
        before["of_a_later_release"] = json!([1]);
        let stored = before.to_string();
        let stored = stored.as_bytes();
        let (priority, header) = amended(&message.task, message.priority, stored, change)?;
        Ok((before, priority, serde_json::from_slice(&header).unwrap()))
    }

    #[test]
    fn priority_metadata_and_rules_change_and_the_rest_stays() {
        let (mut expected, priority, header) = amend(|message| {
            let message = message.priority(1).add_metadata("why", 7);
            let message = message.max_retries(Retries::Times(2));
            let message = message.result_ttl(Keep::Forever);
            let message = message.patience(Duration::from_secs(2));
            message.memory(32 << 20).open_files(64)
        })
        .unwrap();
        assert_eq!(priority, 1);
        expected["metadata"] = json!({"who": "me", "why": 7});
        for key in ["max_retries", "result_ttl"] {
            assert!(expected.get(key).is_none() && !header[key].is_null());
            expected[key] = header[key].clone();
        }
        expected["patience_ms"] = 2000.into();
        expected["memory"] = (32 << 20).into();
        expected["limits"] = json!({"open_files": 64});
        assert_eq!(header, expected);
    }

    #[test]
    fn nothing_else_can_be_changed() {
        let changes: [fn(MessageBuilder) -> MessageBuilder; 11] = [
            |message| message.arg(1),
            |message| message.queue("other"),
            |message| message.uuid(Uuid::now_v7()),
            |message| message.delay(Duration::from_secs(1)),
            |message| message.expires(Duration::from_secs(1)),
            |message| message.ttl(Duration::from_secs(1)),
            |message| message.callback(Message::new("c")),
            |message| message.progenitor_uuid(Uuid::now_v7()),
            |message| message.previous(Uuid::now_v7(), Value::Null),
            |message| message.lock("lock"),
            |_| Message::new("subtract"),
        ];
        for change in changes {
            let refused = amend(change);
            assert!(matches!(refused, Err(MessageError::Fixed)), "{refused:?}");
        }
    }

    #[test]
    fn what_a_new_message_could_not_have_is_refused() {
        let wrong = amend(|message| message.priority(-1));
        assert!(matches!(wrong, Err(MessageError::Priority { .. })));
        let wrong = amend(|message| message.timeout(Duration::ZERO));
        assert!(matches!(wrong, Err(MessageError::Zero { .. })));
    }
}
