//! Processes streams: holds partitions, reads their events, gives them to processors, and writes down
//! what is passed. A thread between the store and the reactor.
//!
//! A partition that has events is a ticket of the pool, and its process runs as every task does: under
//! a deadline, held by a pidfd, swept before its end is told. So the partition is given back only when
//! nothing of its process is left. What the process has passed is written in batches, together with the
//! next reading.

mod duty;
mod judge;
mod partition;
mod share;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_shared::broker::{
    Bell, Broker, BrokerError, Claimed, Heed, Interrupt, Listen, Receipt, SupervisorId, Wake,
};
use bulkhead_shared::outcome::Ended;
use bulkhead_shared::stream::keep::Streams as Store;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::time::Now;
use bulkhead_shared::{QueueName, StreamName, Timestamp, Uuid, reconnect};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use tracing::{debug, error, info, warn};

use crate::job::{Job, Rules};
use crate::notice::{Notice, Notices};
use crate::pool::TicketId;
use crate::source::Held;
use duty::Duty;
pub(crate) use partition::Want;
use partition::{Deed, Partition};

/// A look at the store without being called.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after calls of the bell are at least so far apart: in SQLite every commit rings it.
const LOOK_APART: Duration = Duration::from_millis(1);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Word {
    /// From now on, serve the processors among these.
    Serve(Vec<TaskSpec>, Rules),
    /// A call asks for events.
    Wants(TicketId, Want),
    /// A call has passed what it was given up to this position.
    Passed(TicketId, u64),
    /// A call makes two of what it was given as one, behind this position.
    Parted(TicketId, u64),
    /// A call has ended.
    Ended(TicketId, Box<Ended>),
    /// A call was killed, since its lease was lost or not sure.
    Forgotten(TicketId),
    /// The supervisor is to end: give everything back.
    Drain,
    /// The reactor has ended: nothing runs any more.
    Stop,
}

/// The hold of others on the thread.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    words: Sender<Word>,
    interrupt: Arc<Interrupt>,
    is_waiting: Arc<AtomicBool>,
}

impl Streams {
    pub(crate) fn send(&self, word: Word) {
        // The thread ends only after Stop; what comes later has nobody left to care.
        let _ = self.words.send(word);
        if self.is_waiting.swap(false, Ordering::SeqCst) {
            self.interrupt.raise();
        }
    }
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub me: SupervisorId,
    /// Of a partition, where its processor says nothing.
    pub lease: Duration,
    /// Processes at once.
    pub slots: u16,
    pub held: Arc<Held>,
    pub notices: Notices,
}

/// Makes the thread's hold and its body.
pub(crate) fn streams(setting: Setting) -> Result<(Streams, impl FnOnce() + Send), nix::Error> {
    // Bounded by what processes were given: each says of an event at most that it is passed, and that a
    // part ends there.
    let (words, inbox) = crossbeam::channel::unbounded();
    let interrupt = Arc::new(Interrupt::new()?);
    let is_waiting = Arc::new(AtomicBool::new(false));
    let streams = Streams {
        words,
        interrupt: Arc::clone(&interrupt),
        is_waiting: Arc::clone(&is_waiting),
    };
    let thread = Thread {
        setting,
        inbox,
        interrupt,
        is_waiting,
        rules: None,
        duties: Vec::new(),
        tickets: HashMap::new(),
        next_ticket: 0,
        is_draining: false,
        is_stopping: false,
        serves_anew: false,
        failures: 0,
        try_at: None,
        looked: None,
        rung: false,
    };
    Ok((streams, move || thread.run()))
}

struct Thread {
    setting: Setting,
    inbox: Receiver<Word>,
    interrupt: Arc<Interrupt>,
    is_waiting: Arc<AtomicBool>,
    rules: Option<Rules>,
    duties: Vec<Duty>,
    /// The processor and the partition of each call.
    tickets: HashMap<TicketId, (StreamName, bulkhead_shared::TaskName, u16)>,
    next_ticket: u64,
    is_draining: bool,
    is_stopping: bool,
    /// The bell listens for something else.
    serves_anew: bool,
    /// Calls of the store in a row that failed.
    failures: usize,
    /// Until then the store is left alone.
    try_at: Option<Instant>,
    /// When the bell was last answered.
    looked: Option<Instant>,
    /// The bell has rung since.
    rung: bool,
}

impl Thread {
    fn run(mut self) {
        let mut bell = None;
        loop {
            self.interrupt.clear();
            self.hear();
            if self.is_stopping {
                return self.end();
            }
            let now = Now::read().mono;
            let is_left_alone = self.try_at.is_some_and(|at| at > now);
            let was_busy = !is_left_alone
                && match self.ask(now) {
                    Ok(was_busy) => {
                        self.recovered();
                        was_busy
                    }
                    Err(error) => {
                        self.cope(&error, &mut bell, now);
                        false
                    }
                };
            self.advance(Now::read().mono);
            if !was_busy || is_left_alone {
                self.wait(&mut bell);
            }
        }
    }

    fn hear(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(Word::Serve(specs, rules)) => self.serve(&specs, rules),
                Ok(Word::Wants(ticket, want)) => {
                    let now = Now::read().mono;
                    self.of(ticket, |duty, partition| duty.wants(partition, want, now));
                }
                Ok(Word::Passed(ticket, position)) => {
                    self.of(ticket, |duty, partition| duty.pass(partition, position));
                }
                Ok(Word::Parted(ticket, position)) => {
                    self.of(ticket, |duty, partition| duty.part(partition, position));
                }
                Ok(Word::Ended(ticket, ended)) => self.ended(ticket, Some(*ended)),
                Ok(Word::Forgotten(ticket)) => self.ended(ticket, None),
                Ok(Word::Drain) => {
                    self.is_draining = true;
                    let now = Now::read().mono;
                    self.duties.iter_mut().for_each(|duty| duty.end(now));
                }
                Ok(Word::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn serve(&mut self, specs: &[TaskSpec], rules: Rules) {
        if self.is_draining || self.setting.slots == 0 {
            return;
        }
        let now = Now::read().mono;
        let wanted: Vec<_> = (specs.iter())
            .filter_map(|spec| Some((spec, spec.processor.as_ref()?)))
            .collect();
        for duty in &mut self.duties {
            let is_same = wanted
                .iter()
                .any(|(spec, processor)| spec.name == duty.task && duty.is_as(processor));
            if !is_same && !duty.is_ending {
                duty.end(now);
            }
        }
        for (spec, processor) in wanted {
            let is_known = |duty: &&mut Duty| duty.task == spec.name && !duty.is_ending;
            if let Some(known) = self.duties.iter_mut().find(is_known) {
                known.rules = judge::Rules::of(spec, processor);
                continue;
            }
            info!(stream = %processor.stream.name, processor = %spec.name, "processing");
            let duty = Duty::new(spec, processor, self.setting.lease, now);
            self.duties.push(duty);
        }
        self.rules = Some(rules);
        self.serves_anew = true;
    }

    /// Does something to what a call belongs to.
    fn of(&mut self, ticket: TicketId, what: impl FnOnce(&mut Duty, u16)) {
        let Some((stream, task, partition)) = self.tickets.get(&ticket) else {
            return;
        };
        let holds = |duty: &&mut Duty| {
            let runs = |one: &Partition| one.ticket() == Some(ticket);
            let is_it = duty.name.stream == *stream && duty.task == *task;
            is_it && duty.partitions.get(partition).is_some_and(runs)
        };
        if let Some(duty) = self.duties.iter_mut().find(holds) {
            what(duty, *partition);
        }
    }

    fn ended(&mut self, ticket: TicketId, ended: Option<Ended>) {
        let now = Now::read().mono;
        self.of(ticket, |duty, partition| duty.ended(partition, ended, now));
        self.tickets.remove(&ticket);
        self.setting.held.remove(ticket);
    }

    /// Tells and asks the store whatever is due. Returns whether there was anything.
    fn ask(&mut self, now: Instant) -> Result<bool, BrokerError> {
        if self.rung && self.looked.is_none_or(|at| at + LOOK_APART <= now) {
            self.rung = false;
            self.looked = Some(now);
            let duties = self.duties.iter_mut();
            duties.for_each(|duty| duty.look_again(now));
        }
        let (store, me) = (&*self.setting.store, self.setting.me);
        let mut was_busy = false;
        for duty in &mut self.duties {
            let (is_renewed, was) = duty.ask(store, me, now)?;
            was_busy |= was;
            if is_renewed {
                for ticket in duty.tickets() {
                    self.setting.held.renewed(ticket, now);
                }
            }
        }
        let is_over = |duty: &Duty| duty.is_ending && duty.partitions.is_empty();
        while let Some(index) = self.duties.iter().position(is_over) {
            let over = &self.duties[index];
            // The store tells only processors and members apart: what its successor holds would go too.
            let succeeds = |(at, one): (usize, &Duty)| {
                at != index && one.name == over.name && one.has_joined()
            };
            if !self.duties.iter().enumerate().any(succeeds) {
                over.depart(store, me)?;
            }
            self.duties.swap_remove(index);
            self.serves_anew = true;
        }
        Ok(was_busy)
    }

    /// Starts, feeds and stops calls.
    fn advance(&mut self, now: Instant) {
        let slots = usize::from(self.setting.slots);
        let hungry = self.duties.iter().any(Duty::is_hungry);
        let mut offered = Vec::new();
        let mut deeds = Vec::new();
        let mut last = None;
        for (index, duty) in self.duties.iter_mut().enumerate() {
            let room = slots.saturating_sub(self.tickets.len() + offered.len());
            let crowded = hungry && room == 0;
            let (lease, asked) = (duty.lease, duty.renewed.unwrap_or(now));
            let (stream, task) = (duty.name.stream.clone(), duty.task.clone());
            duty.advance(now, room, crowded, |partition, deed| match deed {
                Deed::Offer => {
                    let ticket = TicketId::of_stream(self.next_ticket);
                    self.next_ticket += 1;
                    partition.began(ticket, now);
                    offered.push((ticket, stream.clone(), task.clone(), partition.hold));
                    last = Some(index);
                    let receipt = receipt(&stream, partition.hold.fence);
                    self.setting.held.add_for(ticket, receipt, asked, lease);
                }
                Deed::Give(asker, events) => deeds.push(Notice::Events(asker, events)),
                Deed::Stop(ticket) => deeds.push(Notice::Revoked(ticket)),
                Deed::Kill(ticket) => deeds.push(Notice::Lost(ticket)),
            });
        }
        // Who comes first when there is room again: the one behind who had it last.
        self.duties.rotate_left(last.map_or(0, |last| last + 1));
        let Some(rules) = self.rules.as_ref() else {
            return;
        };
        let mut jobs = Vec::new();
        let mut refused = Vec::new();
        for (ticket, stream, task, hold) in offered {
            let partition = hold.partition;
            self.tickets
                .insert(ticket, (stream.clone(), task.clone(), partition));
            match job(rules, ticket, &stream, &task, hold) {
                Ok(job) => jobs.push(job),
                Err(ended) => refused.push((ticket, *ended)),
            }
        }
        for (ticket, ended) in refused {
            self.ended(ticket, Some(ended));
        }
        for deed in deeds {
            self.setting.notices.send(deed);
        }
        if !jobs.is_empty() {
            self.setting.notices.send(Notice::Processing(jobs));
        }
    }

    fn wait(&mut self, bell: &mut Option<Box<dyn Bell>>) {
        let now = Now::read().mono;
        let due = self.duties.iter().map(Duty::due).min();
        let mut due = due.unwrap_or(now + LOOK_EVERY).min(now + LOOK_EVERY);
        if let Some(at) = self.try_at.filter(|at| *at > now) {
            due = at;
        } else if self.rung {
            due = due.min(self.looked.map_or(now, |at| at + LOOK_APART));
        }
        self.is_waiting.store(true, Ordering::SeqCst);
        if !self.inbox.is_empty() {
            self.is_waiting.store(false, Ordering::SeqCst);
            return;
        }
        let at_most = due.saturating_duration_since(now);
        let woken = match self.bell(bell) {
            Ok(bell) => bell.wait(Heed::Everything, Some(&self.interrupt), at_most),
            Err(error) => Err(error),
        };
        self.is_waiting.store(false, Ordering::SeqCst);
        match woken {
            Ok(Wake::Bell) => self.rung = true,
            Ok(Wake::TimedOut | Wake::Interrupted) => {}
            Err(error) => {
                self.cope(&error, bell, now);
                // Also without a bell nobody is in a hurry.
                std::thread::park_timeout(at_most.min(LOOK_EVERY));
            }
        }
    }

    fn bell<'a>(
        &mut self,
        bell: &'a mut Option<Box<dyn Bell>>,
    ) -> Result<&'a mut Box<dyn Bell>, BrokerError> {
        if bell.is_none() || self.serves_anew {
            let mut names: Vec<_> = (self.duties.iter())
                .map(|duty| duty.name.stream.clone())
                .collect();
            names.sort_unstable();
            names.dedup();
            *bell = Some(self.setting.broker.bell(Listen::Streams(&names))?);
            self.serves_anew = false;
            // What came before it was heard.
            self.rung = true;
        }
        Ok(bell.as_mut().expect("made one line above"))
    }

    fn recovered(&mut self) {
        self.try_at = None;
        if self.failures > 0 {
            self.failures = 0;
            info!("streams: the store is back");
        }
    }

    fn cope(&mut self, error: &BrokerError, bell: &mut Option<Box<dyn Bell>>, now: Instant) {
        *bell = None;
        if self.failures == 0 {
            match error.is_transient() {
                true => warn!(%error, "streams: the store is away; trying again"),
                false => error!(%error, "streams cannot be processed; trying again"),
            }
        }
        self.try_at = Some(now + reconnect::pause(self.failures));
        self.failures += 1;
    }

    /// Nothing runs any more: says what is left to be said, once.
    fn end(&mut self) {
        let now = Now::read().mono;
        for duty in &mut self.duties {
            duty.end(now);
        }
        let tickets: Vec<_> = self.tickets.keys().copied().collect();
        for ticket in tickets {
            self.ended(ticket, None);
        }
        let (store, me) = (&*self.setting.store, self.setting.me);
        let steps = self.duties.iter_mut().map(|duty| duty.step(store, now));
        // All have said how far they are before one departs: what another of its name holds is freed too.
        let said: Vec<_> = steps.collect();
        for (duty, said) in self.duties.iter().zip(said) {
            if let Err(error) = said.and_then(|_| duty.depart(store, me)) {
                debug!(%error, "partitions are left to their leases");
            }
        }
    }
}

/// What a partition is held by, for those who watch over leases.
fn receipt(stream: &StreamName, fence: u64) -> Receipt {
    Receipt {
        uuid: Uuid::now_v7(),
        fence,
        mark: 0,
        queue: QueueName::new(stream.as_str()).unwrap_or_default(),
    }
}

/// The call of a processor for one partition, as a job; how it ended, if it can be told already.
fn job(
    rules: &Rules,
    ticket: TicketId,
    stream: &StreamName,
    task: &bulkhead_shared::TaskName,
    hold: bulkhead_shared::stream::keep::Hold,
) -> Result<Box<Job>, Box<Ended>> {
    let payload = serde_json::json!({"stream": stream, "partition": hold.partition});
    let now = Timestamp::now();
    let header = serde_json::json!({"v": 1, "created_at": now.as_millis()});
    let claimed = Claimed {
        receipt: receipt(stream, hold.fence),
        task: task.clone(),
        header: header.to_string().into_bytes(),
        payload: payload.to_string().into_bytes(),
        history: Vec::new(),
    };
    match rules.resolve(ticket, claimed) {
        (job, None) => Ok(job),
        (_, Some(outcome)) => Err(Box::new(crate::source::queue::ended_unrun(outcome, now))),
    }
}

#[cfg(test)]
mod tests;
