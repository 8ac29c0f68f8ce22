use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::wait::Watcher;
use super::{Client, ClientError, Wait, kept};
use crate::status::Status;
use crate::time::Timestamp;

/// What a job returned, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The job.
    pub uuid: Uuid,
    /// When it was written.
    pub timestamp: Timestamp,
    /// The bytes that the task returned.
    pub bytes: Vec<u8>,
}

impl JobResult {
    /// Reads it from JSON.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let uuid = self.uuid;
        serde_json::from_slice(&self.bytes).map_err(|source| ClientError::Decode { uuid, source })
    }
}

impl Client {
    /// What a job returned, with its time. Waits at most `within` for its end; `None` does not wait.
    ///
    /// # Errors
    /// As [`Client::result`].
    pub fn result_with_metadata(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<JobResult, ClientError> {
        self.expect_success(uuid, within)?;
        self.kept_result(uuid)
    }

    fn kept_result(&self, uuid: Uuid) -> Result<JobResult, ClientError> {
        let result = self.backend.catalog.result(uuid)?;
        let timestamp = result.as_ref().map(|kept| kept.at).unwrap_or_default();
        Ok(JobResult {
            uuid,
            timestamp,
            bytes: kept(uuid, result)?,
        })
    }

    /// Whether a result of the job is kept.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn result_exists(&self, uuid: Uuid) -> Result<bool, ClientError> {
        let rows = self.backend.catalog.jobs_by_id(&[uuid])?;
        let mut rows = rows.iter().flatten();
        Ok(rows.any(|row| row.result_bytes.is_some()))
    }

    /// Forgets the kept results of jobs; their statuses stay. Returns how many there were.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn delete_results(&self, uuids: &[Uuid]) -> Result<usize, ClientError> {
        let mut deleted = 0;
        for uuid in uuids {
            deleted += usize::from(self.backend.catalog.take_result(*uuid)?.is_some());
        }
        Ok(deleted)
    }

    /// The results of several jobs, to be iterated over. All of it ends `within` this time.
    ///
    /// ```no_run
    /// # use bulkhead_shared::client::{Client, ClientError};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), ClientError> {
    /// # let client = Client::open("sqlite:bulkhead.db")?;
    /// # let jobs: Vec<bulkhead_shared::Uuid> = Vec::new();
    /// let pool = client.results(&jobs, Duration::from_secs(60))?;
    /// for (uuid, result) in pool.istream()? {
    ///     match result {
    ///         Ok(result) => println!("{uuid}: {}", result.json::<i64>()?),
    ///         Err(error) => println!("{uuid}: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Twice`].
    pub fn results<'a>(
        &'a self,
        uuids: &'a [Uuid],
        within: Duration,
    ) -> Result<ResultPool<'a>, ClientError> {
        let mut seen = HashSet::with_capacity(uuids.len());
        match uuids.iter().find(|uuid| !seen.insert(**uuid)) {
            Some(&uuid) => Err(ClientError::Twice { uuid }),
            None => Ok(ResultPool {
                client: self,
                uuids,
                within,
            }),
        }
    }
}

/// The results of several jobs. See [`Client::results`].
#[derive(Debug, Clone, Copy)]
pub struct ResultPool<'a> {
    client: &'a Client,
    uuids: &'a [Uuid],
    within: Duration,
}

impl<'a> ResultPool<'a> {
    /// One item for each job, in the order in which they were named. A job that failed, is not
    /// known or does not end in time gives its error.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn stream(
        self,
    ) -> Result<impl Iterator<Item = (Uuid, Result<JobResult, ClientError>)>, ClientError> {
        Arrivals::new(self, Order::Named)
    }

    /// One item for each job, in the order in which they end.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn istream(
        self,
    ) -> Result<impl Iterator<Item = (Uuid, Result<JobResult, ClientError>)>, ClientError> {
        Arrivals::new(self, Order::Ended)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Named,
    Ended,
}

struct Arrivals<'a> {
    pool: ResultPool<'a>,
    order: Order,
    watcher: Watcher<'a>,
    /// Those that have not been given, in the order in which they were named.
    left: VecDeque<usize>,
    /// Those of them that have ended.
    ended: HashSet<usize>,
}

impl<'a> Arrivals<'a> {
    fn new(pool: ResultPool<'a>, order: Order) -> Result<Self, ClientError> {
        let wait = Wait {
            within: Some(pool.within),
            interrupt: None,
        };
        Ok(Self {
            pool,
            order,
            watcher: Watcher::new(pool.client, pool.uuids, wait)?,
            left: (0..pool.uuids.len()).collect(),
            ended: HashSet::new(),
        })
    }

    /// The next one that may be given, taken out of those that are left.
    fn take(&mut self) -> Option<usize> {
        let is_ended = |place: &usize| self.ended.contains(place);
        let at = match self.order {
            Order::Named => self.left.front().filter(|place| is_ended(place)).map(|_| 0),
            Order::Ended if self.ended.is_empty() => None,
            Order::Ended => self.left.iter().position(is_ended),
        }?;
        let place = self.left.remove(at)?;
        self.ended.remove(&place);
        Some(place)
    }

    fn look(&mut self) -> Result<(), ClientError> {
        let open: Vec<usize> = self
            .left
            .iter()
            .copied()
            .filter(|place| !self.ended.contains(place))
            .collect();
        let mut ended: Vec<_> = self.watcher.look(&open)?;
        ended.retain(|(_, job)| job.status.is_last());
        self.ended.extend(ended.iter().map(|(place, _)| *place));
        if self.order == Order::Ended {
            // Those that this look has found come in the order of their ends.
            ended.sort_by_key(|(_, job)| job.finished_at);
            self.left.retain(|place| !self.ended.contains(place));
            for (place, _) in ended.iter().rev() {
                self.left.push_front(*place);
            }
        }
        Ok(())
    }

    fn give(&self, place: usize) -> (Uuid, Result<JobResult, ClientError>) {
        let uuid = self.pool.uuids[place];
        (uuid, self.pool.client.result_with_metadata(uuid, None))
    }
}

impl Iterator for Arrivals<'_> {
    type Item = (Uuid, Result<JobResult, ClientError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(place) = self.take() {
                return Some(self.give(place));
            }
            let first = *self.left.front()?;
            if let Err(error) = self.look() {
                // The others are asked for as well: some may have ended meanwhile.
                self.left.pop_front();
                return Some((self.pool.uuids[first], Err(error)));
            }
        }
    }
}

impl Status {
    /// Nothing comes after it that is worth waiting for.
    pub(super) fn is_last(self) -> bool {
        self.has_ended() || self == Self::Unknown
    }
}
