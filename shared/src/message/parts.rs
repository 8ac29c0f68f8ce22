//! What follows a message, and what came before it.

use uuid::Uuid;

use super::{HEADER_VERSION, Header, Message};
use crate::flow::{FlowError, plan, read_plan, write_plan};
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
            timeout_ms: None,
            patience_ms: None,
            max_retries: None,
            backoff: None,
            result_ttl: None,
            memory: None,
            profile: None,
            ttl_ms: None,
            expires_at: None,
            metadata: None,
            progenitor_uuid: None,
            previous_message_uuid: None,
            previous_bytes: None,
            then: None,
            member: None,
            refusal: None,
            hook: None,
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
