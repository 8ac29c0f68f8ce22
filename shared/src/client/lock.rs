use uuid::Uuid;

use super::{Client, ClientError};
use crate::lock::{Lock, LockGuard, Tenure};
use crate::message::{Linked, MessageBuilder};

impl Client {
    /// A lock by its name, to be acquired: see [`lock`](crate::lock).
    ///
    /// ```
    /// # use bulkhead_shared::client::Client;
    /// # use std::time::Duration;
    /// # let client = Client::open("sqlite::memory:")?;
    /// let report = client.lock("report").ttl(Duration::from_secs(60));
    /// let held = report.acquire(Duration::from_secs(5))?;
    /// assert!(held.fence() > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock(&self, name: &str) -> Lock<'_> {
        Lock::new(&self.backend, name)
    }

    /// Submits a message together with a lock that is held: it is the job's, under the same fence,
    /// until its final end. If the message is not taken the lock is released.
    ///
    /// # Errors
    /// As [`Client::submit`]; [`ClientError::Message`] too if the message is linked to another
    /// lock, unless that is to be replaced.
    pub fn submit_with_lock(
        &self,
        message: MessageBuilder,
        lock: LockGuard,
        linked: Linked,
    ) -> Result<Uuid, ClientError> {
        let (name, fence) = (lock.name().clone(), lock.fence());
        let uuid = self.submit(message.link_lock(name.as_str(), fence, linked))?;
        lock.keep();
        // If nobody can do it now the job does, when it starts: it knows the fence.
        let passed = (self.backend.locks).pass_on(&name, fence, &Tenure::Job(uuid).owner());
        if let Err(error) = passed {
            tracing::warn!(lock = %name, %error, "a lock is not handed over until its job starts");
        }
        Ok(uuid)
    }
}
