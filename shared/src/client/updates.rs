use std::time::Duration;

use uuid::Uuid;

use super::wait::Watcher;
use super::{Client, ClientError, Wait};
use crate::status::JobStatus;

/// How a job stands, again after each change, until it has ended. Ends with an error when it was
/// waited for too long.
#[derive(Debug)]
pub struct Updates<'a> {
    watcher: Watcher<'a>,
    last: Option<JobStatus>,
    is_over: bool,
}

impl Client {
    /// Listens to what becomes of a job: an item now and after each change of its status or
    /// progress, the last one its end. Changes that follow each other quickly come as one.
    ///
    /// ```no_run
    /// # use bulkhead_shared::client::{Client, ClientError};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), ClientError> {
    /// # let client = Client::open("sqlite:bulkhead.db")?;
    /// # let job = [bulkhead_shared::Uuid::now_v7()];
    /// for update in client.updates(&job, Duration::from_secs(60))? {
    ///     let job = update?;
    ///     println!("{} {:?}", job.status, job.progress);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Store`]. Items may be [`ClientError::TimedOut`] or [`ClientError::Store`].
    pub fn updates<'a>(
        &'a self,
        job: &'a [Uuid; 1],
        within: Duration,
    ) -> Result<Updates<'a>, ClientError> {
        let wait = Wait {
            within: Some(within),
            interrupt: None,
        };
        Ok(Updates {
            watcher: Watcher::new(self, job, wait)?,
            last: None,
            is_over: false,
        })
    }
}

impl Iterator for Updates<'_> {
    type Item = Result<JobStatus, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            let job = match self.watcher.look(&[0]) {
                Ok(mut seen) => seen.remove(0).1,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            };
            self.is_over = job.status.is_last();
            if self.last.as_ref() != Some(&job) {
                self.last = Some(job.clone());
                return Some(Ok(job));
            }
        }
        None
    }
}
