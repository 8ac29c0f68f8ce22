//! Messages that somebody has written who is not trusted.

use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use super::builder::within;
use super::{HEADER_VERSION, Header, METADATA_LIMIT, MessageBuilder, MessageError};
use crate::flow::{FlowError, JobStep};

/// Longest name of a profile in a message that a task submits, in bytes.
const PROFILE_MOST: usize = 256;

impl MessageBuilder {
    /// The step as a builder makes it of what it says. What only stores and supervisors say of
    /// messages is refused.
    pub(crate) fn again(step: JobStep) -> Result<JobStep, FlowError> {
        let header = step.header;
        if let Some(field) = others(&header) {
            return Err(MessageError::NotYours { field }.into());
        }
        let payload = step.payload;
        let shape: Shape<'_> = serde_json::from_slice(&payload).map_err(FlowError::NoFlow)?;
        shape.check().map_err(FlowError::NoFlow)?;
        let metadata = header.metadata.as_deref();
        within(
            "metadata",
            metadata.map_or(0, |json| json.get().len()),
            METADATA_LIMIT,
        )?;
        let metadata = metadata.map(|json| serde_json::from_str(json.get()));
        let metadata = metadata.transpose().map_err(FlowError::NoFlow)?;
        let mut builder = Self::new(step.task.as_str());
        builder.uuid = Some(step.uuid);
        builder.queue = step.queue.map(|queue| queue.as_str().into());
        builder.priority = step.priority.into();
        builder.at = step.at;
        builder.delay = step.delay_ms.map(Duration::from_millis);
        builder.metadata = metadata;
        builder.header = header.clone();
        let step = builder.ruled(&header, step.expires_ms).into_step().0?;
        Ok(JobStep { payload, ..step })
    }

    /// Sets the rules of a header as its author would have.
    fn ruled(mut self, header: &Header, expires_ms: Option<u64>) -> Self {
        let length = Duration::from_millis;
        if let Some(ms) = header.timeout_ms {
            self = self.timeout(length(ms));
        }
        if let Some(ms) = header.patience_ms {
            self = self.patience(length(ms));
        }
        if let Some(ms) = header.ttl_ms {
            self = self.ttl(length(ms));
        }
        if let Some(ms) = expires_ms {
            self = self.expires(length(ms));
        }
        if let Some(backoff) = header.backoff {
            self = self.backoff(backoff);
        }
        if let Some(bytes) = header.memory {
            self = self.memory(bytes);
        }
        self = self.limits(header.limits);
        if let Some(limit) = &header.concurrency {
            self = self.concurrency(limit.key.as_str(), limit.most);
        }
        if let Some(ms) = header.unique.as_ref().and_then(|unique| unique.for_ms) {
            let _: Option<u64> = self.positive("unique period", length(ms));
        }
        if let Some(len) = header.profile.as_ref().map(String::len)
            && len > PROFILE_MOST
        {
            self.refuse(MessageError::TooLarge {
                what: "profile",
                len,
                limit: PROFILE_MOST,
            });
        }
        self
    }
}

/// [`super::Arguments`] whose values nobody looks into: as values in memory they are many times larger
/// than as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape<'a> {
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kwargs: Option<&'a RawValue>,
}

impl Shape<'_> {
    fn check(&self) -> Result<(), serde_json::Error> {
        let begins =
            |json: Option<&RawValue>, with| json.is_none_or(|json| json.get().starts_with(with));
        match begins(self.args, '[') && begins(self.kwargs, '{') {
            true => Ok(()),
            false => Err(serde_json::Error::custom(
                "`args` is a list, `kwargs` an object",
            )),
        }
    }
}

/// What is not its author's to say, if he says it.
fn others(header: &Header) -> Option<&'static str> {
    let said = [
        ("v", header.v != HEADER_VERSION),
        ("encoding", header.encoding.is_some()),
        ("expires_at", header.expires_at.is_some()),
        ("progenitor_uuid", header.progenitor_uuid.is_some()),
        (
            "previous_message_uuid",
            header.previous_message_uuid.is_some(),
        ),
        ("submitted_by", header.submitted_by.is_some()),
        ("previous_bytes", header.previous_bytes.is_some()),
        ("then", header.then.is_some()),
        ("member", header.member.is_some()),
        ("refusal", header.refusal.is_some()),
        ("hook", header.hook.is_some()),
    ];
    said.into_iter()
        .find_map(|(field, is_said)| is_said.then_some(field))
}
