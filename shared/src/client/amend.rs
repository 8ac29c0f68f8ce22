use uuid::Uuid;

use super::{Client, ClientError};
use crate::broker::{Amended, Amendment};
use crate::message::{MessageBuilder, amended};

/// Times that an amendment is made anew because somebody else changed the job meanwhile.
const ATTEMPTS: usize = 16;

impl Client {
    /// Changes a job that waits, for its first attempt or for another: its priority, its metadata,
    /// and the rules of its attempts (timeout, patience, retries, backoff, memory, profile,
    /// mechanism, `result_ttl`). One move: the job is changed as a whole while it waits, or not at
    /// all. `change` gets a message that is as the stored one; it is called again if somebody else
    /// has changed the job in between.
    ///
    /// ```
    /// # fn main() -> Result<(), bulkhead_shared::client::ClientError> {
    /// use bulkhead_shared::Message;
    /// use bulkhead_shared::client::Client;
    /// use std::time::Duration;
    /// let client = Client::open("sqlite::memory:")?;
    /// let job = client.submit(Message::new("add").arg(2).arg(3).priority(5))?;
    /// client.amend(job, |message| message.priority(1).timeout(Duration::from_secs(60)))?;
    /// assert_eq!(client.message(job)?.priority, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotWaiting`] if it runs or has ended, [`ClientError::NotFound`],
    /// [`ClientError::Message`] if the change is refused or changes something else,
    /// [`ClientError::Contended`], [`ClientError::Store`].
    pub fn amend(
        &self,
        uuid: Uuid,
        change: impl Fn(MessageBuilder) -> MessageBuilder,
    ) -> Result<(), ClientError> {
        for _ in 0..ATTEMPTS {
            let rows = self.backend.catalog.jobs_by_id(&[uuid])?;
            let Some(row) = rows.into_iter().flatten().next() else {
                return Err(ClientError::NotFound { uuid });
            };
            let after = amended(&row.task, row.priority, &row.header, &change)?;
            let amendment = Amendment {
                uuid,
                queue: row.queue.clone(),
                before: (row.priority, row.header.clone()),
                after,
            };
            match self.backend.broker.amend(&amendment)? {
                Amended::Done => return Ok(()),
                Amended::Changed => {}
                Amended::NotWaiting => return Err(ClientError::NotWaiting(Box::new(row.into()))),
                Amended::Unknown => return Err(ClientError::NotFound { uuid }),
            }
        }
        Err(ClientError::Contended { uuid })
    }
}
