use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Client, ClientError};
use crate::broker::{Bell, Heed, Interrupt, Listen, Wake};
use crate::status::{JobStatus, Status};
use crate::time::Now;

/// Longest wait for the bell: a commit whose ring is lost is seen this much later.
const POLL: Duration = Duration::from_secs(1);

/// Jobs asked for at once: a commit rings for every waiter, and each ring asks again.
const ASKED_AT_ONCE: usize = 500;

/// A look that costs less than this is free: a few jobs, an idle store.
const FREE: Duration = Duration::from_millis(5);

/// Longest pause after a look, however much it cost.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What a look at a job leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Show it again when something has happened.
    Again,
    /// It need not be shown again.
    Enough,
}

/// How long a wait may be, and who may end it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait<'a> {
    /// At most this long; without end if absent.
    pub within: Option<Duration>,
    /// Ends the wait when it is raised.
    pub interrupt: Option<&'a Interrupt>,
}

impl Client {
    /// Waits until each job has one of these statuses, and returns how they stood then.
    ///
    /// ```no_run
    /// # use bulkhead_shared::{Message, status::Status};
    /// # use bulkhead_shared::client::{Client, ClientError};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), ClientError> {
    /// # let client = Client::open("sqlite:bulkhead.db")?;
    /// # let job = client.submit(Message::new("add").arg(2).arg(3))?;
    /// let ended = [Status::Succeeded, Status::Failed];
    /// let jobs = client.wait_for(&[job], &ended, Duration::from_secs(10))?;
    /// println!("{}", jobs[0].status);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] names the jobs that were not there in time,
    /// [`ClientError::EndedOtherwise`] a job that can no longer get there,
    /// [`ClientError::NotFound`] one that nobody knows.
    pub fn wait_for(
        &self,
        uuids: &[Uuid],
        statuses: &[Status],
        within: Duration,
    ) -> Result<Vec<JobStatus>, ClientError> {
        let mut there: Vec<Option<JobStatus>> = vec![None; uuids.len()];
        let wait = Wait {
            within: Some(within),
            interrupt: None,
        };
        self.watch::<ClientError>(uuids, wait, |place, job| {
            if statuses.contains(&job.status) {
                there[place] = Some(job.clone());
                return Ok(Look::Enough);
            }
            match job.status {
                Status::Unknown => Err(ClientError::NotFound { uuid: job.uuid }),
                ended if ended.has_ended() => Err(ClientError::EndedOtherwise(job.clone().into())),
                _ => Ok(Look::Again),
            }
        })?;
        Ok(there.into_iter().flatten().collect())
    }

    /// Shows each job, with its place among `uuids`, now and after whatever may have changed it,
    /// until `look` has had [`Look::Enough`] of all of them.
    ///
    /// # Errors
    /// The first of `look`; [`ClientError::TimedOut`], [`ClientError::Interrupted`],
    /// [`ClientError::Store`].
    pub fn watch<E: From<ClientError>>(
        &self,
        uuids: &[Uuid],
        wait: Wait<'_>,
        mut look: impl FnMut(usize, &JobStatus) -> Result<Look, E>,
    ) -> Result<(), E> {
        let mut watcher = Watcher::new(self, uuids, wait)?;
        let mut places: Vec<usize> = (0..uuids.len()).collect();
        while !places.is_empty() {
            let mut left = Vec::with_capacity(places.len());
            for (place, job) in watcher.look(&places)? {
                if look(place, &job)? == Look::Again {
                    left.push(place);
                }
            }
            places = left;
        }
        Ok(())
    }
}

/// Looks at jobs again and again, each time after something may have changed them.
#[derive(Debug)]
pub(super) struct Watcher<'a> {
    client: &'a Client,
    uuids: &'a [Uuid],
    wait: Wait<'a>,
    until: Option<Instant>,
    bell: Box<dyn Bell>,
    /// When the last look began, and what it took; none was made yet.
    last: Option<(Instant, Duration)>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        client: &'a Client,
        uuids: &'a [Uuid],
        wait: Wait<'a>,
    ) -> Result<Self, ClientError> {
        let until = wait.within.and_then(|within| now().checked_add(within));
        // Before the first look, so that no commit after it goes unheard.
        let bell = client.backend.broker.bell(Listen::Jobs(uuids))?;
        Ok(Self {
            client,
            uuids,
            wait,
            until,
            bell,
            last: None,
        })
    }

    /// How the jobs at `places` stand: at once the first time, then when something has happened,
    /// and once more when the time is up, for whoever comes back that late.
    pub(super) fn look(
        &mut self,
        places: &[usize],
    ) -> Result<Vec<(usize, JobStatus)>, ClientError> {
        if let Some((began, cost)) = self.last {
            self.pause(places, began, cost)?;
        }
        let before = now();
        let mut seen = Vec::with_capacity(places.len());
        for some in places.chunks(ASKED_AT_ONCE) {
            let asked: Vec<_> = some.iter().map(|&place| self.uuids[place]).collect();
            seen.extend(some.iter().copied().zip(self.client.statuses(&asked)?));
        }
        let cost = now().saturating_duration_since(before).min(LONGEST_PAUSE);
        self.last = Some((before, cost));
        Ok(seen)
    }

    fn pause(
        &mut self,
        places: &[usize],
        began: Instant,
        cost: Duration,
    ) -> Result<(), ClientError> {
        let waiting = || places.iter().map(|&place| self.uuids[place]).collect();
        // What ended in time is told, however late it is asked for.
        if self.until.is_some_and(|until| began >= until) {
            return Err(ClientError::TimedOut {
                waiting: waiting(),
                within: self.wait.within.unwrap_or_default(),
            });
        }
        let left = self
            .until
            .map(|until| until.saturating_duration_since(now()));
        let at_most = left.unwrap_or(POLL).min(POLL);
        let woken = self
            .bell
            .wait(Heed::Everything, self.wait.interrupt, at_most)?;
        if woken == Wake::Interrupted {
            return Err(ClientError::Interrupted { waiting: waiting() });
        }
        // Half of the time at the most: a wait for thousands must not starve those who work.
        if cost > FREE {
            crossbeam::channel::after(cost).recv().ok();
        }
        Ok(())
    }
}

fn now() -> Instant {
    Now::read().mono
}
