//! What a message shares with others: a key of which one is enough, a number of jobs that may run at
//! once, a lock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Header, MessageBuilder, MessageError};
use crate::name::{Key, LockName, NameError};

/// While a queue knows a job with this key, it takes no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// The key.
    pub key: Key,
    /// For how long after the submission, in milliseconds; absent: until the job has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// How many jobs of one queue with this key may run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// The key.
    pub key: Key,
    /// This job runs when fewer than so many of the key do.
    pub most: u32,
}

/// A lock that a job holds while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedLock {
    /// The lock.
    pub name: LockName,
    /// Present if the producer held it when he submitted: it is the job's until its final end, under
    /// this fence. Absent: each attempt takes it anew and frees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}

/// What to do with a lock that a message is linked to already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linked {
    /// Refuse to build it.
    #[default]
    Refuse,
    /// Forget that one.
    Replace,
}

/// What a job waits at before it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Fewer than so many jobs with its key run.
    Key(Key, u32),
    /// Nobody else holds its lock.
    Lock(LockName),
}

impl Header {
    /// What its job waits at, if anything.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        match (&self.concurrency, &self.lock) {
            (Some(limit), _) => Some(Gate::Key(limit.key.clone(), limit.most)),
            (None, Some(lock)) => Some(Gate::Lock(lock.name.clone())),
            (None, None) => None,
        }
    }
}

impl MessageBuilder {
    /// Refuses it while its queue knows another job with this key that was submitted within the
    /// last `period`, whether that one has ended or not.
    pub fn unique(mut self, key: &str, period: Duration) -> Self {
        if let Some(for_ms) = self.positive("unique period", period) {
            self.set_unique(key, Some(for_ms));
        }
        self
    }

    /// Refuses it while its queue knows another job with this key that has not ended.
    pub fn unique_until_end(mut self, key: &str) -> Self {
        self.set_unique(key, None);
        self
    }

    /// Runs it only while fewer than `most` jobs of its queue with this key run. Until then it
    /// waits without being in the way of others.
    pub fn concurrency(mut self, key: &str, most: u32) -> Self {
        if most == 0 {
            self.refuse(MessageError::Zero {
                field: "concurrency",
            });
        }
        if let Some(key) = self.checked(Key::new(key)) {
            self.header.concurrency = Some(Concurrency { key, most });
        }
        self
    }

    /// Runs it only while it holds this lock: each attempt takes it before it starts, and frees it
    /// when it has ended.
    pub fn lock(self, name: &str) -> Self {
        self.link(name, None, Linked::Refuse)
    }

    /// Hands it a lock that the producer holds under `fence`: it is the job's until its final end.
    /// `Client::submit_with_lock` does both.
    pub fn link_lock(self, name: &str, fence: u64, linked: Linked) -> Self {
        self.link(name, Some(fence), linked)
    }

    fn link(mut self, name: &str, fence: Option<u64>, linked: Linked) -> Self {
        if linked == Linked::Refuse
            && let Some(lock) = &self.header.lock
        {
            let lock = lock.name.clone();
            self.refuse(MessageError::LinkedAlready { lock });
        } else if let Some(name) = self.checked(LockName::new(name)) {
            self.header.lock = Some(LinkedLock { name, fence });
        }
        self
    }

    fn set_unique(&mut self, key: &str, for_ms: Option<u64>) {
        if let Some(key) = self.checked(Key::new(key)) {
            self.header.unique = Some(Unique { key, for_ms });
        }
    }

    fn checked<T>(&mut self, name: Result<T, NameError>) -> Option<T> {
        name.map_err(|error| self.refuse(error.into())).ok()
    }
}

/// Refuses what cannot be waited for at once.
pub(super) fn check(header: &Header) -> Result<(), MessageError> {
    match (&header.concurrency, &header.lock) {
        (Some(_), Some(lock)) => Err(MessageError::TwoGates {
            lock: lock.name.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn what_a_message_shares_survives_json() {
        let message = Message::new("add").unique("a", Duration::from_secs(60));
        let header = message.concurrency("user:7", 2).build().unwrap().header;
        let json = serde_json::to_vec(&header).unwrap();
        let read: Header = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            (&read.unique, &read.concurrency),
            (&header.unique, &header.concurrency)
        );
        assert_eq!(read.unique.unwrap().for_ms, Some(60_000));
        let header = Message::new("add")
            .unique_until_end("a")
            .lock("l")
            .build()
            .unwrap()
            .header;
        assert_eq!(header.gate(), Some(Gate::Lock(LockName::new("l").unwrap())));
        let plain = serde_json::to_string(&Message::new("add").build().unwrap().header).unwrap();
        for key in ["unique", "concurrency", "lock"] {
            assert!(!plain.contains(key), "{plain}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_way_out() {
        let says = |builder: MessageBuilder, words: &[&str]| {
            let error = builder.build().unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{word}: {error}");
            }
        };
        let add = || Message::new("add");
        says(
            add().unique("a", Duration::ZERO),
            &["unique period", "zero"],
        );
        says(
            add().unique("a b", Duration::from_secs(1)),
            &["`a b`", "letters"],
        );
        says(add().concurrency("", 1), &["key name is empty"]);
        says(add().concurrency("a", 0), &["concurrency", "zero"]);
        says(
            add().lock("a").concurrency("b", 1),
            &["`a`", "leave one out"],
        );
        says(add().lock("a").lock("b"), &["`a`", "replace"]);
        let replaced = add()
            .lock("a")
            .link_lock("b", 3, Linked::Replace)
            .build()
            .unwrap();
        assert_eq!(replaced.header.lock.unwrap().fence, Some(3));
    }
}
