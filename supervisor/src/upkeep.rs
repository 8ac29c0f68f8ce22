//! The periodic duties of every supervisor: say that it lives, take over what is overdue, forget
//! what is past its time. Runs on a thread of its own; every duty is bounded per turn.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bulkhead_shared::broker::{Broker, BrokerError, Claimed, Overdue, Presence, Selection};
use bulkhead_shared::catalog::Catalog;
use bulkhead_shared::control::Control;
use bulkhead_shared::journal::Journals;
use bulkhead_shared::outcome::{Cause, Ended, ErrorDetails, Outcome};
use bulkhead_shared::reconnect;
use bulkhead_shared::time::Now;
use bulkhead_shared::{QueueName, TaskName};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{debug, info, warn};

use crate::job::{Job, Rules};
use crate::notice::{Notice, Notices};
use crate::pool::TicketId;
use crate::process::dead;
use crate::process::limits::Controllers;
use crate::process::text;
use crate::schedule;
use crate::source::groups;
use crate::source::queue::{Order, Queue, ended_unrun};

/// Overdue jobs taken over in one move.
const BATCH: usize = 256;

/// Batches of errands that others have left, done in one turn.
const DELIVERIES: usize = 64;

/// Between looks for overdue jobs: a dead supervisor's work starts again within this, or a few
/// times as long where the store says so; in burst mode always within this.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Between looks in burst mode, whose end people wait for.
const BURST_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Between signs of life; others believe in the lock on the start-file, not in these.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);

/// Between rounds of forgetting, and rows forgotten in one; a full one is soon followed by another.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
const PRUNE: usize = 1000;

/// Between looks for jobs whose records somebody else took a part of away, and how many are mended
/// in one; spread, so that supervisors that started together do not all look at once.
const MEND_EVERY: Duration = Duration::from_secs(3600);
const MENDED: usize = 100_000;

/// Between looks for what dead supervisors have left on this machine.
const CLEAR_EVERY: Duration = Duration::from_secs(10);

/// What serving needs has run by then: the start is over.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// Between lines that say what a burst waits for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What the reactor tells upkeep.
#[derive(Debug)]
pub(crate) enum Word {
    /// The child's tasks are known: announce them, then claim.
    Serve(Selection, Rules),
    /// Tasks that this supervisor runs for itself alone, named as its own.
    Each(Vec<TaskName>),
    /// When ready jobs of unknown tasks end from now on.
    UnknownAfter(Option<Duration>),
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub broker: Arc<dyn Broker>,
    pub catalog: Arc<dyn Catalog>,
    pub control: Arc<dyn Control>,
    pub journals: Arc<dyn Journals>,
    pub presence: Presence,
    pub rules: Rules,
    pub lease: Duration,
    pub unknown_after: Option<Duration>,
    pub burst: bool,
    /// Where supervisors of this machine make their cgroups.
    pub below: Option<PathBuf>,
    /// Where they make those of limits.
    pub controllers: Option<Controllers>,
    pub queue: Queue,
    pub notices: Notices,
    /// The thread that fires schedules; `None` if this supervisor fires none.
    pub schedules: Option<Sender<schedule::Word>>,
    /// What [`Word::Each`] said last.
    pub each: Vec<TaskName>,
    /// The child has said what it can do, also if nothing of that is served.
    pub is_told: bool,
    /// Ends the thread when its other side is dropped.
    pub words: Receiver<Word>,
}

/// When each duty is due next.
struct Due {
    announce: Instant,
    prune: Instant,
    mend: Instant,
    clear: Instant,
    /// The look that goes on; whether the dead have left what cannot be removed yet.
    clearing: Option<JoinHandle<bool>>,
    say: Instant,
    /// Once after each start of serving.
    settle_down: Option<Instant>,
}

impl Upkeep {
    pub(crate) fn run(mut self) {
        let (every, take_every) = if self.burst {
            (BURST_LOOK_EVERY, LOOK_EVERY)
        } else {
            let every = reconnect::spread(LOOK_EVERY * self.broker.ease());
            (every, every)
        };
        let now = Now::read().mono;
        let mut due = Due {
            announce: now,
            prune: now + PRUNE_EVERY,
            mend: now + reconnect::spread(MEND_EVERY),
            clear: now + LOOK_EVERY,
            clearing: None,
            say: now + SAY_EVERY,
            settle_down: None,
        };
        let mut next_take = now;
        loop {
            let now = Now::read().mono;
            if now >= next_take {
                next_take = now + take_every;
                self.duties(now, &mut due);
            }
            if self.burst && self.is_told {
                self.look_for_the_end(now, &mut due);
            }
            match self.words.recv_timeout(every) {
                Ok(Word::Serve(selection, rules)) => {
                    self.serve(selection, rules);
                    let now = Now::read().mono;
                    due.announce = now + ANNOUNCE_EVERY;
                    due.settle_down = Some(now + SETTLED_AFTER);
                    next_take = now;
                }
                Ok(Word::Each(tasks)) => {
                    self.each = tasks;
                    self.select(self.presence.selection.clone(), self.rules.clone());
                }
                Ok(Word::UnknownAfter(after)) => self.unknown_after = after,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(look) = due.clearing {
            // Nobody may follow who would go on with it.
            let _ = look.join();
        }
    }

    fn serve(&mut self, selection: Selection, rules: Rules) {
        let specs: Vec<_> = rules.specs.values().cloned().collect();
        let served = schedule::Word::Serve(selection.clone(), specs.clone());
        self.presence.tasks = specs;
        self.is_told = true;
        self.select(selection, rules);
        if let Some(schedules) = &self.schedules {
            // That thread may have stopped already.
            let _ = schedules.send(served);
        }
    }

    /// Announces and claims what is selected, and what this supervisor runs for itself.
    fn select(&mut self, mut selection: Selection, rules: Rules) {
        selection
            .tasks
            .retain(|task| rules.specs.contains_key(task));
        selection.tasks.extend(self.each.iter().cloned());
        self.presence.selection = selection.clone();
        self.rules = rules.clone();
        self.announce();
        self.queue.send(Order::Serve(selection, rules));
    }

    fn announce(&self) {
        match self.broker.announce(&self.presence) {
            Ok(()) => {}
            // The queue thread says it when the store is away; this is done again soon.
            Err(error @ BrokerError::Away { .. }) => {
                debug!(%error, "this supervisor could not announce itself");
            }
            Err(error) => warn!(%error, "this supervisor could not announce itself"),
        }
        if self.broker.has_forgotten() {
            warn!(
                "the store has lost what it held: it was emptied, or came back without it \
                 (a server with `appendonly yes` keeps its jobs)"
            );
        }
    }

    fn duties(&self, now: Instant, due: &mut Due) {
        if now >= due.announce {
            due.announce = now + ANNOUNCE_EVERY;
            self.announce();
        }
        if self.take_over("lost", &Overdue::Lease, || Outcome::LeaseLost) > 0 {
            // Not at once: the dead may not have let go of everything yet.
            due.clear = due.clear.min(now + LOOK_EVERY);
        }
        self.take_over("expired", &Overdue::Expired, expired);
        self.help_flows();
        let queues: &[QueueName] = &self.presence.selection.queues;
        // Also where nothing is served: the end of a burst waits for these jobs.
        if let (Some(after), true) = (self.unknown_after, self.is_told) {
            self.take_over(
                "unknown-task",
                &Overdue::UnknownTask { queues, after },
                unknown,
            );
        }
        self.clear_up(now, due);
        if now >= due.mend {
            due.mend = now + MEND_EVERY;
            self.mend();
        }
        if due.settle_down.is_some_and(|at| now >= at) {
            due.settle_down = None;
            if let Err(error) = text::let_go() {
                debug!(%error, "the code that only the start needed stays mapped");
            }
        }
        if now >= due.prune {
            due.prune = now + PRUNE_EVERY;
            match self.broker.prune(PRUNE) {
                Ok(forgotten) => {
                    due.prune = now + until_prune(forgotten);
                    debug!(forgotten, "pruned");
                }
                Err(error) => warn!(%error, "the store was not pruned"),
            }
        }
    }

    /// On a thread of its own, one at a time: what a task has left may take minutes to remove.
    fn clear_up(&self, now: Instant, due: &mut Due) {
        if let Some(over) = due.clearing.take_if(|look| look.is_finished())
            && over.join().is_ok_and(|is_left| is_left)
        {
            due.clear = now;
        }
        if now < due.clear || due.clearing.is_some() {
            return;
        }
        due.clear = now + CLEAR_EVERY;
        let (below, controllers) = (self.below.clone(), self.controllers.clone());
        let look = move || match dead::clear_up(below.as_deref(), controllers.as_ref()) {
            Ok(left) => left > 0,
            Err(error) => {
                warn!(%error, "what dead supervisors left was not cleared away");
                false
            }
        };
        match thread::Builder::new().name("clear-up".into()).spawn(look) {
            Ok(look) => due.clearing = Some(look),
            Err(error) => warn!(%error, "what dead supervisors left was not cleared away"),
        }
    }

    /// On a thread of its own: it takes its time, and nothing waits for it.
    fn mend(&self) {
        let control = Arc::clone(&self.control);
        let look = move || match control.mend(MENDED) {
            Ok(0) => debug!("the store is whole"),
            Ok(mended) => warn!(
                mended,
                "somebody else took parts of the store away (a policy that evicts? ask \
                 `supervisor doctor`); a job without its message is unknown now"
            ),
            Err(error) => warn!(%error, "the store was not looked through"),
        };
        if let Err(error) = thread::Builder::new().name("mend".into()).spawn(look) {
            warn!(%error, "the store was not looked through");
        }
    }

    /// Does what others have left undone; returns how much.
    fn help_flows(&self) -> usize {
        let mut delivered = self.broker.deliver(BATCH);
        for _ in 1..DELIVERIES {
            match delivered {
                Ok(some) if some >= BATCH => delivered = self.broker.deliver(BATCH),
                _ => break,
            }
        }
        let closed = groups::close(&*self.broker, Now::read().wall);
        let mut done = 0;
        for one in [delivered, closed] {
            match one {
                Ok(some) => done += some,
                // The queue thread says it when the store is away; this is asked again soon.
                Err(BrokerError::Away { .. }) => {}
                Err(error) => warn!(%error, "flows were not helped on"),
            }
        }
        done
    }

    /// Whether what is to follow has begun to wait by now. Nobody runs, so nothing new can end.
    fn has_flows_left(&self) -> Result<bool, BrokerError> {
        let queues = &self.presence.selection.queues;
        Ok(self.help_flows() > 0
            || self.catalog.flows()?.errands > 0
            || self.catalog.unfinished(queues)? > 0)
    }

    fn take_over(
        &self,
        cause: &'static str,
        what: &Overdue<'_>,
        outcome: fn() -> Outcome,
    ) -> usize {
        let taken = self
            .broker
            .take_over(what, self.presence.id, BATCH, self.lease);
        let jobs = match taken {
            Ok(jobs) => jobs,
            // The queue thread says it when the store is away; this is asked again soon.
            Err(BrokerError::Away { .. }) => return 0,
            Err(error) => {
                warn!(%error, cause, "overdue jobs were not taken over");
                return 0;
            }
        };
        let taken = jobs.len();
        if taken > 0 {
            info!(jobs = taken, cause, "overdue jobs taken over");
        }
        let at = Now::read().wall;
        for claimed in jobs {
            self.settle(claimed, outcome(), at);
        }
        taken
    }

    fn settle(&self, claimed: Claimed, outcome: Outcome, at: bulkhead_shared::Timestamp) {
        // It never enters the pool, so it needs no ticket of its own.
        let (mut job, trouble) = self.rules.resolve(TicketId(u64::MAX), claimed);
        let has_progressed = outcome == Outcome::LeaseLost && self.has_progressed(&mut job);
        let ended = ended_unrun(
            trouble
                .filter(|_| outcome == Outcome::LeaseLost)
                .unwrap_or(outcome),
            at,
        );
        let ended = Ended {
            has_progressed,
            ..ended
        };
        self.queue.send(Order::Settle(job, ended));
    }

    /// Whether a lost attempt has written into its job's journal.
    fn has_progressed(&self, job: &mut Job) -> bool {
        let known = job.history.remembered;
        // If the store does not say, it has not.
        let page = self.journals.recall(&job.receipt, known).ok().flatten();
        let grown = page.map_or(0, |page| page.entries.len());
        job.history.remembered = known.saturating_add(u32::try_from(grown).unwrap_or(u32::MAX));
        grown > 0
    }

    fn look_for_the_end(&self, now: Instant, due: &mut Due) {
        match self.catalog.unfinished(&self.presence.selection.queues) {
            Ok(0) if self.has_flows_left().unwrap_or(true) => {}
            Ok(0) => self.notices.send(Notice::AllDone),
            Ok(unfinished) if now >= due.say => {
                due.say = now + SAY_EVERY;
                let states = self.counts();
                info!(unfinished, ?states, "burst: waiting for jobs to end");
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn counts(&self) -> HashMap<String, String> {
        let queues = self.catalog.queues().unwrap_or_default();
        let watched = queues
            .into_iter()
            .filter(|q| self.presence.selection.queues.contains(&q.queue));
        watched
            .map(|q| {
                let counts = format!(
                    "ready {}, delayed {}, running {}",
                    q.ready, q.delayed, q.leased
                );
                (q.queue.to_string(), counts)
            })
            .collect()
    }
}

/// When to forget again after a round that forgot so many.
const fn until_prune(forgotten: usize) -> Duration {
    if forgotten >= PRUNE {
        LOOK_EVERY
    } else {
        PRUNE_EVERY
    }
}

fn expired() -> Outcome {
    let text = "the job waited longer than its `ttl`, or lived longer than its `expires`";
    let error = ErrorDetails::new("expired", text);
    Outcome::Failed {
        cause: Cause::Expired,
        error,
        is_final: true,
    }
}

fn unknown() -> Outcome {
    let text = "no live supervisor of the queue knows the task (check its name, or start a \
                supervisor whose --child has it)";
    let error = ErrorDetails::new("unknown-task", text);
    Outcome::Failed {
        cause: Cause::UnknownTask,
        error,
        is_final: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_round_of_forgetting_is_soon_followed_by_another() {
        assert_eq!(until_prune(PRUNE), LOOK_EVERY);
        assert_eq!(until_prune(PRUNE - 1), PRUNE_EVERY);
    }
}
