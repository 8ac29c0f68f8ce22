//! What jobs remember, as users see it, and signals that they send.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::journal::{Entry, Journal, KeptSignal, SIGNAL_LIMIT, Signal, Signalled};
use crate::name::Key;
use crate::time::Timestamp;

/// What a job remembers from one run to the next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalView {
    /// Its durable calls, in the order in which they were first made.
    pub entries: Vec<JournalEntry>,
    /// What was sent to it, in the order in which it came.
    pub signals: Vec<JournalSignal>,
}

/// One durable call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalEntry {
    /// Its place in the task's sequence, or its name.
    pub place: String,
    /// `now`, `sleep`, `step`, `wait`, `random`, `uuid`; `null` if a later release wrote it.
    pub kind: Option<String>,
    /// The name of a step, or of the signal that is waited for.
    pub name: Option<String>,
    /// When it was first made.
    #[serde(serialize_with = "text")]
    pub at: Timestamp,
    /// Until when it sleeps or waits.
    #[serde(serialize_with = "maybe_text")]
    pub until: Option<Timestamp>,
    /// How often a step was begun.
    pub tries: Option<u64>,
    /// A step that has not returned, or a wait for something that has not come.
    pub is_open: bool,
    /// What was recorded.
    pub value: Option<Value>,
}

/// Something that was sent to a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalSignal {
    /// What it says.
    pub name: String,
    /// Under which key it was sent.
    pub key: String,
    /// When it came.
    #[serde(serialize_with = "text")]
    pub at: Timestamp,
    /// The place of the call that took it, if one has.
    pub taken_by: Option<String>,
    /// What came with it.
    pub payload: Option<Value>,
}

fn text<S: serde::Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(time)
}

fn maybe_text<S: serde::Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => s.collect_str(time),
        None => s.serialize_none(),
    }
}

impl From<Entry> for JournalEntry {
    fn from(entry: Entry) -> Self {
        let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
        let word = |key: &str| body[key].as_str().map(str::to_owned);
        let kind = word("kind");
        let waits = body.get("value").is_none() && !body["late"].as_bool().unwrap_or(false);
        let length = body["ms"].as_u64().map(std::time::Duration::from_millis);
        let value = match kind.as_deref() {
            Some("now") => Some(Value::String(entry.at.to_string())),
            _ => body.get("value").cloned(),
        };
        Self {
            is_open: waits && matches!(kind.as_deref(), Some("step" | "wait")),
            name: word("name"),
            tries: body["tries"].as_u64(),
            until: length.map(|length| entry.at.plus(length)),
            place: entry.key,
            at: entry.at,
            kind,
            value,
        }
    }
}

impl From<KeptSignal> for JournalSignal {
    fn from(signal: KeptSignal) -> Self {
        Self {
            name: signal.name,
            key: signal.key,
            at: signal.at,
            taken_by: signal.taken_by,
            payload: serde_json::from_slice(&signal.payload).ok(),
        }
    }
}

impl From<Journal> for JournalView {
    fn from(journal: Journal) -> Self {
        Self {
            entries: journal.entries.into_iter().map(Into::into).collect(),
            signals: journal.signals.into_iter().map(Into::into).collect(),
        }
    }
}

impl Client {
    /// What a job remembers; `None` if nobody knows it.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn journal(&self, uuid: Uuid) -> Result<Option<JournalView>, ClientError> {
        let journal = self.backend.journals.journal(uuid)?;
        Ok(journal.map(Into::into))
    }

    /// Sends a signal to a job: the one that waits for it, now or later, is given `payload`.
    ///
    /// A signal that is sent again under the same `key` is one: give a key to what may be sent
    /// twice. Without one, each is a signal of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bulkhead_shared::Message;
    /// use bulkhead_shared::client::Client;
    /// use bulkhead_shared::journal::Signalled;
    ///
    /// let client = Client::open("sqlite::memory:")?;
    /// let job = client.submit(Message::new("order").arg(7))?;
    /// let sent = client.signal(job, "approved", &serde_json::json!({"by": "eve"}), Some("mail-1"))?;
    /// assert_eq!(sent, Signalled::Kept);
    /// let again = client.signal(job, "approved", &true, Some("mail-1"))?;
    /// assert_eq!(again, Signalled::Known);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Signal`] for a name, a key or a payload that cannot be sent,
    /// [`ClientError::Store`].
    pub fn signal(
        &self,
        uuid: Uuid,
        name: &str,
        payload: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Signalled, ClientError> {
        let refuse = |reason: String| ClientError::Signal { reason };
        let payload = serde_json::to_vec(payload).map_err(|error| refuse(error.to_string()))?;
        if payload.len() > SIGNAL_LIMIT {
            let len = payload.len();
            let reason = format!(
                "its payload has {len} bytes, more than {SIGNAL_LIMIT} (send where it lies, not what it is)"
            );
            return Err(refuse(reason));
        }
        let name = Key::new(name).map_err(|error| refuse(error.to_string()))?;
        let key = match key {
            Some(key) => Key::new(key).map_err(|error| refuse(error.to_string()))?,
            None => Key::new(&Uuid::now_v7().to_string()).expect("digits and dashes"),
        };
        let signal = Signal {
            name,
            key: key.as_str().into(),
            payload,
        };
        Ok(self.backend.journals.signal(uuid, &signal)?)
    }
}
