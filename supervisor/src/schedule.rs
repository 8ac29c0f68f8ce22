//! Fires schedules. Every supervisor does: whoever is first moves a row on, the others find it
//! moved. Sleeps until the next row is due, and looks now and then for rows that are new.

mod declare;
mod each;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{BrokerError, Selection, SupervisorId};
use bulkhead_shared::schedule::{Body, BodyError, Fire, Fired, Origin, Row};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::time::{self, Now};
use bulkhead_shared::{TaskName, Timestamp, reconnect};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{debug, info, warn};

use crate::upkeep;
use each::Each;

/// Rows fired in one move.
const BATCH: usize = 100;

/// Between looks for rows that are new or changed; several times as long where the store says that
/// a look has its price.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between looks at a clock that a test turns.
const TURNED_LOOK: Duration = Duration::from_millis(100);

/// Between looks at all rows: for those of each supervisor, and those our child declares.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Supervisors that wait for the same row wake within this, one after the other, so that most of
/// them find it moved on.
const SPREAD: Duration = Duration::from_millis(20);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Word {
    /// The child's tasks are known and announced.
    Serve(Selection, Vec<TaskSpec>),
    /// Nothing is to be fired any more.
    Stop,
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub backend: Backend,
    pub me: SupervisorId,
    pub started_at: Timestamp,
    /// Set once this supervisor drains: it fires nothing then.
    pub is_draining: Arc<AtomicBool>,
    pub words: Receiver<Word>,
    pub upkeep: Sender<upkeep::Word>,
}

/// The thread.
pub(crate) struct Scheduler {
    setting: Setting,
    serving: Option<(Selection, Vec<TaskSpec>)>,
    each: Each,
    next_read: Instant,
    /// Tasks that somebody serves, as of then.
    served: Option<(Instant, Vec<TaskName>)>,
    failures: usize,
}

impl Scheduler {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            each: Each::default(),
            serving: None,
            next_read: Now::read().mono,
            served: None,
            failures: 0,
            setting,
        }
    }

    pub(crate) fn run(mut self) {
        let look_every = reconnect::spread(LOOK_EVERY * self.setting.backend.broker.ease());
        let late = SPREAD.mul_f64(f64::from(self.setting.me.0.as_bytes()[15]) / 255.0);
        let mut wait = look_every;
        loop {
            match self.setting.words.recv_timeout(wait) {
                Ok(Word::Serve(selection, specs)) => {
                    self.serving = Some((selection, specs));
                    self.next_read = Now::read().mono;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let longest = if time::turned() == 0 {
                look_every
            } else {
                TURNED_LOOK
            };
            wait = match self.look() {
                Ok(next) => {
                    self.failures = 0;
                    next.map_or(longest, |next| (next + late).min(longest))
                }
                Err(error) => self.cope(&error),
            };
        }
    }

    /// Fires what is due; how long until the next is.
    fn look(&mut self) -> Result<Option<Duration>, BrokerError> {
        if self.serving.is_none() || self.is_draining() {
            return Ok(None);
        }
        let now = Now::read().mono;
        if now >= self.next_read {
            self.read_all()?;
            self.next_read = now + READ_EVERY;
        }
        let of_one = self.fire_due()?;
        let of_each = self.fire_each()?;
        Ok(of_one.into_iter().chain(of_each).min())
    }

    fn is_draining(&self) -> bool {
        self.setting.is_draining.load(Ordering::Relaxed)
    }

    fn fire_due(&mut self) -> Result<Option<Duration>, BrokerError> {
        loop {
            let mut due = self.setting.backend.schedules.due(BATCH)?;
            let now = due.now;
            // In a cluster rows lie on servers whose clocks differ.
            let early = due.rows.iter().filter_map(|row| row.due);
            let early = early
                .filter(|due| *due > now)
                .map(|due| due.since(now))
                .min();
            due.rows.retain(|row| row.due.is_some_and(|due| due <= now));
            if due.rows.is_empty() || self.is_draining() {
                return Ok(due.next.into_iter().chain(early).min());
            }
            let mut fires = Vec::with_capacity(due.rows.len());
            for row in &due.rows {
                match self.fire(row, now) {
                    Ok(fire) => fires.push(fire),
                    Err(error) => self.put_aside(row, &error)?,
                }
            }
            let fired = self.setting.backend.schedules.fire(&fires)?;
            for (fire, fired) in fires.iter().zip(fired) {
                let (schedule, jobs) = (&fire.name, fire.messages.len());
                match fired {
                    Fired::Free if jobs > 0 => info!(%schedule, jobs, "fired"),
                    Fired::Free => debug!(%schedule, "passed over"),
                    Fired::Busy => info!(%schedule, "not fired: the job before has not ended"),
                    Fired::Stale => debug!(%schedule, "fired by somebody else"),
                }
            }
        }
    }

    /// What is to be done about a row. A declared one whose task nobody serves passes its time.
    fn fire(&mut self, row: &Row, now: Timestamp) -> Result<Fire, BodyError> {
        let mut fire = Body::fire(row, &self.setting.backend.namespace, now)?;
        let body = Body::read(row)?;
        if body.origin != Origin::Added && !self.is_served(&body.task) {
            fire.messages.clear();
            fire.unless = None;
        }
        Ok(fire)
    }

    fn is_served(&mut self, task: &TaskName) -> bool {
        let own = self.serving.iter().flat_map(|(_, specs)| specs);
        if own.into_iter().any(|spec| spec.name == *task) {
            return true;
        }
        let now = Now::read().mono;
        let is_old = |(read, _): &(Instant, _)| now.duration_since(*read) >= READ_EVERY;
        if self.served.as_ref().is_none_or(is_old) {
            let fleet = self.setting.backend.catalog.fleet().unwrap_or_default();
            let alive = fleet.into_iter().filter(|member| member.is_alive);
            let tasks = alive.flat_map(|member| member.selection.tasks);
            self.served = Some((now, tasks.collect()));
        }
        let served = self.served.iter().flat_map(|(_, tasks)| tasks);
        served.into_iter().any(|served| served == task)
    }

    /// A row that makes no sense is not due any more; its user sees why in the list.
    fn put_aside(&self, row: &Row, error: &BodyError) -> Result<(), BrokerError> {
        warn!(schedule = %row.name, error = crate::commands::chain(error), "put aside");
        let aside = Row {
            due: None,
            ..row.clone()
        };
        self.setting.backend.schedules.put(&aside).map(drop)
    }

    fn cope(&mut self, error: &BrokerError) -> Duration {
        let pause = reconnect::pause(self.failures);
        self.failures += 1;
        // The queue thread says it when the store is away.
        if error.is_transient() {
            debug!(%error, "schedules wait for the store");
        } else {
            warn!(%error, "schedules were not fired");
        }
        pause
    }
}
