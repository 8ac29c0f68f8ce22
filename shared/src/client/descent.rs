use std::time::Duration;

use uuid::Uuid;

use super::flow::FlowState;
use super::results::JobResult;
use super::wait::Watcher;
use super::{Client, ClientError, Wait};
use crate::catalog::JobRow;
use crate::status::Status;

/// A message and all that follows it. See [`Client::descent`].
#[derive(Debug, Clone)]
pub struct Descent<'a> {
    client: &'a Client,
    uuids: Vec<Uuid>,
}

impl Client {
    /// A job and all that its message says is to follow it: callbacks, members of groups, joins.
    ///
    /// ```
    /// # fn main() -> Result<(), bulkhead_shared::client::ClientError> {
    /// use bulkhead_shared::Message;
    /// use bulkhead_shared::client::Client;
    /// let client = Client::open("sqlite::memory:")?;
    /// let add = || Message::new("add").arg(2).arg(3);
    /// let job = client.submit(add().callback((add(), add())))?;
    /// assert_eq!(client.descent(job)?.uuids().len(), 3);
    /// assert!(!client.descent(job)?.has_results()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`], [`ClientError::Flow`].
    pub fn descent(&self, uuid: Uuid) -> Result<Descent<'_>, ClientError> {
        let mut uuids = vec![uuid];
        uuids.extend(self.message(uuid)?.descendants()?);
        Ok(Descent {
            client: self,
            uuids,
        })
    }
}

impl Descent<'_> {
    /// Its ids: the job's own, then callbacks in their order, members of groups before their joins.
    #[must_use]
    pub fn uuids(&self) -> &[Uuid] {
        &self.uuids
    }

    /// What all of them returned, in the order in which it was written. Waits at most `within` for
    /// the last. Members that failed in a group that goes on without them are left out.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the job that keeps the last one from running,
    /// [`ClientError::TimedOut`], also if a task has declined its callbacks,
    /// [`ClientError::NoResult`] of one that succeeded and whose result is gone,
    /// [`ClientError::Store`].
    pub fn results(&self, within: Duration) -> Result<Vec<JobResult>, ClientError> {
        let first = self.uuids[0];
        let wait = Wait {
            within: Some(within),
            interrupt: None,
        };
        let mut watcher = Watcher::new(self.client, &self.uuids, wait)?;
        let all: Vec<usize> = (0..self.uuids.len()).collect();
        loop {
            watcher.look(&all)?;
            match self.client.state_from(first)? {
                FlowState::Running => {}
                FlowState::Failed => {
                    let jobs = self.client.statuses(&self.uuids)?;
                    // What follows another failure has failed for it, or has not begun.
                    let bad = jobs.into_iter().rfind(|job| job.status == Status::Failed);
                    let bad = bad.ok_or(ClientError::NotFound { uuid: first })?;
                    return Err(ClientError::Failed(Box::new(bad)));
                }
                FlowState::Succeeded => return self.kept(),
            }
        }
    }

    fn kept(&self) -> Result<Vec<JobResult>, ClientError> {
        let jobs = self.client.statuses(&self.uuids)?;
        let good = jobs.iter().filter(|job| job.status == Status::Succeeded);
        let results = good.map(|job| self.client.result_with_metadata(job.uuid, None));
        let mut results = results.collect::<Result<Vec<_>, _>>()?;
        // Those of the same millisecond stay in the order of the flow.
        results.sort_by_key(|result| result.timestamp);
        Ok(results)
    }

    /// Whether a result of each of them is kept.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn has_results(&self) -> Result<bool, ClientError> {
        let rows = self.client.backend.catalog.jobs_by_id(&self.uuids)?;
        let is_kept = |row: &Option<JobRow>| row.as_ref().is_some_and(|r| r.result_bytes.is_some());
        Ok(rows.iter().all(is_kept))
    }

    /// Forgets their kept results; their statuses stay. Returns how many there were.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn delete_results(&self) -> Result<usize, ClientError> {
        self.client.delete_results(&self.uuids)
    }
}
