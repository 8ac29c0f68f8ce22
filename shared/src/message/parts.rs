//! What follows a message, and what came before it.

use std::time::Duration;

use uuid::Uuid;

use super::{HEADER_VERSION, Header, Message};
use crate::flow::{FlowError, plan, read_plan, write_plan};
use crate::limits::Limits;
use crate::time::Timestamp;

impl Message {
    /// The same message under another uuid; what follows it gets other ones, too.
    ///
    /// # Errors
    /// [`FlowError::Unreadable`].
    pub fn duplicate(&self) -> Result<Self, FlowError> {
        let mut copy = self.clone();
        copy.uuid = Uuid::now_v7();
        if copy.header.then.is_some() {
            let mut then = read_plan(copy.header.then.as_deref())?;
            plan::renew(&mut then);
            copy.header.then = write_plan(then.iter())?;
        }
        Ok(copy)
    }

    /// The ids of all messages that follow this one: callbacks in their order, members of groups
    /// before their joins.
    ///
    /// # Errors
    /// [`FlowError::Unreadable`].
    pub fn descendants(&self) -> Result<Vec<Uuid>, FlowError> {
        let mut uuids = Vec::new();
        let mut then = read_plan(self.header.then.as_deref())?;
        plan::each(&mut then, &mut |step| uuids.push(step.uuid));
        Ok(uuids)
    }

    /// One line that tells it from others: its task, its id and its queue, if it names one.
    ///
    /// ```
    /// # use bulkhead_shared::Message;
    /// let message = Message::new("add").queue("math").build().unwrap();
    /// assert_eq!(message.summary(), format!("add {} in math", message.uuid));
    /// ```
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.queue {
            Some(queue) => format!("{} {} in {queue}", self.task, self.uuid),
            None => format!("{} {}", self.task, self.uuid),
        }
    }

    /// How long it is until it may start; zero if it may at `now`.
    #[must_use]
    pub fn time_to_ready(&self, now: Timestamp) -> Duration {
        self.ready_at.map_or(Duration::ZERO, |at| at.since(now))
    }

    /// Whether it may start at `now`.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.time_to_ready(now).is_zero()
    }

    /// Its arguments and the previous result, each as JSON.
    #[must_use]
    pub fn parts(&self) -> (&[u8], Option<&[u8]>) {
        self.header.split(&self.payload)
    }
}

impl Header {
    /// One that says nothing.
    pub(crate) const fn new() -> Self {
        Self {
            v: HEADER_VERSION,
            created_at: Timestamp::from_millis(0),
            encoding: None,
            timeout_ms: None,
            patience_ms: None,
            max_retries: None,
            backoff: None,
            result_ttl: None,
            memory: None,
            limits: Limits::NONE,
            profile: None,
            mechanism: None,
            ttl_ms: None,
            expires_at: None,
            metadata: None,
            progenitor_uuid: None,
            previous_message_uuid: None,
            submitted_by: None,
            previous_bytes: None,
            then: None,
            member: None,
            refusal: None,
            hook: None,
            unique: None,
            concurrency: None,
            lock: None,
        }
    }

    /// A payload's arguments, and the previous result behind them.
    #[must_use]
    pub fn split<'a>(&self, payload: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let tail = self
            .previous_bytes
            .and_then(|len| usize::try_from(len).ok());
        let start = tail.and_then(|tail| payload.len().checked_sub(tail));
        match start.and_then(|start| payload.split_at_checked(start)) {
            Some((arguments, previous)) => (arguments, Some(previous)),
            None => (payload, None),
        }
    }
}
