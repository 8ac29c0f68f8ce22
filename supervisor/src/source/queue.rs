//! Claims jobs and settles their attempts, in one transaction where it can. Runs on a thread of
//! its own; under load a batch grows by itself while the last one is being written.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_shared::broker::{
    Bell, Broker, BrokerError, Claim, Heed, Interrupt, Listen, Selection, Settlement, SupervisorId,
    Turned, Wake,
};
use bulkhead_shared::fault;
use bulkhead_shared::outcome::{Ended, Outcome, Usage};
use bulkhead_shared::reconnect;
use bulkhead_shared::time::{Now, Timestamp};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use tracing::{debug, error, info, warn};

use super::decide::{Place, Story, Told, decide};
use super::lanes::Lanes;
use super::room::{Offer, Rooms};
use super::{Held, Room, groups};
use crate::job::{Job, Rules};
use crate::notice::{Notice, Notices};
use crate::observe::log;
use crate::pool::TicketId;

/// Settlements written in one transaction: more would keep others waiting for the store.
const BATCH: usize = 256;

/// Under load, turns begin this far apart, so that each does more: a commit costs as much as some
/// twenty jobs.
const TURN_EVERY: Duration = Duration::from_millis(4);

/// Load is when this many jobs are held that have not ended: with fewer, processes are soon without
/// work, ...
const LOAD: usize = 16;

/// ... and when this many can be settled or claimed there is no point in waiting for more.
const ENOUGH: usize = 64;

/// A look at the store without being called: a lost wake-up costs this at the most, and where the
/// store says so a few times as long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the queue thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// An attempt has ended.
    Settle(Box<Job>, Ended),
    /// Somebody else has the job, or will: hold its lease no longer.
    Forget(TicketId),
    /// From now on, claim these.
    Serve(Selection, Rules),
    /// Nobody takes jobs any more: claim nothing more, give back what was not taken, settle what
    /// there is, end.
    Stop,
}

/// The reactor's and upkeep's hold on the queue thread.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    orders: Sender<Order>,
    interrupt: Arc<Interrupt>,
    is_waiting: Arc<AtomicBool>,
    room: Arc<Room>,
}

impl Queue {
    pub(crate) fn send(&self, order: Order) {
        // The thread ends only after Stop; what comes later has nobody left to care.
        let _ = self.orders.send(order);
        self.wake();
    }

    /// Says how much room there is.
    pub(crate) fn publish(&self, epoch: u32, rooms: Rooms) {
        let before = self.room.look().rooms;
        self.room.publish(Offer { epoch, rooms });
        let is_new = |(before, now): (&u16, &u16)| *before == 0 && *now > 0;
        if before.iter().zip(&rooms).any(is_new) {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.is_waiting.swap(false, Ordering::SeqCst) {
            self.interrupt.raise();
        }
    }
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub broker: Arc<dyn Broker>,
    pub owner: SupervisorId,
    pub lease: Duration,
    pub place: Place,
    pub held: Arc<Held>,
    pub notices: Notices,
    /// Where they go: what its reader has left there is given back.
    pub delivered: Receiver<Notice>,
}

impl Setting {
    fn claim<'a>(&self, selection: &'a Selection, room: usize) -> Claim<'a> {
        Claim {
            owner: self.owner,
            selection,
            room,
            lease: self.lease,
        }
    }
}

/// Makes the thread's hold and its body.
pub(crate) fn queue(setting: Setting) -> Result<(Queue, impl FnOnce() + Send), nix::Error> {
    // Bounded by the jobs this supervisor holds: each is settled once.
    let (orders, inbox) = crossbeam::channel::unbounded();
    let interrupt = Arc::new(Interrupt::new()?);
    let is_waiting = Arc::new(AtomicBool::new(false));
    let room = Arc::new(Room::default());
    let queue = Queue {
        orders,
        interrupt: Arc::clone(&interrupt),
        is_waiting: Arc::clone(&is_waiting),
        room: Arc::clone(&room),
    };
    let thread = Thread {
        setting,
        inbox,
        interrupt,
        is_waiting,
        room,
        serving: None,
        lanes: Lanes::default(),
        serves_anew: false,
        pending: VecDeque::new(),
        next_ticket: 0,
        must_hear: false,
        last_turn: None,
        is_stopping: false,
        failures: 0,
        random: RandomState::new(),
    };
    Ok((queue, move || thread.run()))
}

#[derive(Debug)]
struct Pending {
    settlement: Settlement,
    story: Story,
    since: Instant,
}

struct Thread {
    setting: Setting,
    inbox: Receiver<Order>,
    interrupt: Arc<Interrupt>,
    is_waiting: Arc<AtomicBool>,
    room: Arc<Room>,
    serving: Option<(Selection, Rules)>,
    lanes: Lanes,
    /// The bell listens for something else.
    serves_anew: bool,
    pending: VecDeque<Pending>,
    next_ticket: u64,
    /// Somebody may have revoked a job of ours: asked also while there is no room for another.
    must_hear: bool,
    /// When the last turn began.
    last_turn: Option<Instant>,
    is_stopping: bool,
    /// Turns in a row that the store was away for.
    failures: usize,
    random: RandomState,
}

impl Thread {
    fn run(mut self) {
        let mut bell = None;
        let look_every = reconnect::spread(LOOK_EVERY * self.setting.broker.ease());
        let mut due = look_every;
        loop {
            self.interrupt.clear();
            self.hear();
            if self.is_stopping && self.pending.is_empty() {
                return;
            }
            let is_asked = self.must_hear || self.lanes.room_to_fill(self.rooms()) > 0;
            if self.pending.is_empty() && !is_asked {
                self.wait(&mut bell, due);
                continue;
            }
            self.gather();
            match self.turn() {
                Ok(next_due) => due = next_due.map_or(look_every, |due| due.min(look_every)),
                Err(error) => self.cope(&error, &mut bell),
            }
        }
    }

    /// Lets a turn grow if the last one was just now and there is no hurry.
    fn gather(&mut self) {
        let mut now = Now::read().mono;
        let due = self.last_turn.map_or(now, |last| last + TURN_EVERY);
        while now < due
            && !self.is_stopping
            && self
                .pending
                .len()
                .max(self.lanes.room_for_more(self.rooms()))
                < ENOUGH
            && self.setting.held.len() >= LOAD + self.pending.len()
        {
            // In short pieces: nobody wakes this thread while it is not waiting for a wake-up.
            std::thread::park_timeout((due - now).min(Duration::from_millis(1)));
            self.hear();
            now = Now::read().mono;
        }
        self.last_turn = Some(now);
    }

    fn hear(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Settle(job, ended)) => self.queue_settlement(*job, ended),
                Ok(Order::Forget(ticket)) => self.setting.held.remove(ticket),
                Ok(Order::Serve(selection, rules)) => {
                    self.lanes = Lanes::new(&selection, &rules.specs);
                    self.serving = Some((selection, rules));
                    self.serves_anew = true;
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return self.take_back();
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// What was claimed when the reactor was about to end lies where nobody looks any more.
    fn take_back(&mut self) {
        while let Ok(notice) = self.setting.delivered.try_recv() {
            if let Notice::Claimed { jobs, .. } = notice {
                for job in jobs {
                    self.queue_settlement(*job, ended_unrun(Outcome::Released, Timestamp::now()));
                }
            }
        }
    }

    fn queue_settlement(&mut self, job: Job, ended: Ended) {
        let (settlement, story) = decide(job, ended, &self.setting.place, &self.random);
        let since = Now::read().mono;
        self.pending.push_back(Pending {
            settlement,
            story,
            since,
        });
    }

    /// How many jobs there is room for, lane by lane.
    fn rooms(&self) -> Rooms {
        match self.is_stopping || self.serving.is_none() {
            true => Rooms::default(),
            false => self.room.look().rooms,
        }
    }

    fn wait(&mut self, bell: &mut Option<Box<dyn Bell>>, at_most: Duration) {
        self.is_waiting.store(true, Ordering::SeqCst);
        if !self.inbox.is_empty() || self.lanes.room_to_fill(self.rooms()) > 0 {
            self.is_waiting.store(false, Ordering::SeqCst);
            return;
        }
        let heed = if self.lanes.room(self.rooms()) > 0 {
            Heed::Everything
        } else {
            Heed::Revocations
        };
        let woken = match self.bell(bell) {
            Ok(bell) => bell.wait(heed, Some(&self.interrupt), at_most),
            Err(error) => Err(error),
        };
        self.is_waiting.store(false, Ordering::SeqCst);
        match woken {
            Ok(Wake::Bell | Wake::TimedOut) => {
                self.lanes.look();
                self.must_hear = self.serving.is_some();
            }
            Ok(Wake::Interrupted) => {}
            Err(error) => self.cope(&error, bell),
        }
    }

    fn bell<'a>(
        &mut self,
        bell: &'a mut Option<Box<dyn Bell>>,
    ) -> Result<&'a mut Box<dyn Bell>, BrokerError> {
        if bell.is_none() || self.serves_anew {
            let nothing = Selection {
                queues: Vec::new(),
                tasks: Vec::new(),
            };
            let listen = Listen::Work {
                owner: self.setting.owner,
                selection: self
                    .serving
                    .as_ref()
                    .map_or(&nothing, |(selection, _)| selection),
            };
            *bell = Some(self.setting.broker.bell(listen)?);
            self.serves_anew = false;
        }
        Ok(bell.as_mut().expect("made one line above"))
    }

    /// Settles and claims. Returns the time until the next delayed job is due.
    fn turn(&mut self) -> Result<Option<Duration>, BrokerError> {
        let batch = self.pending.len().min(BATCH);
        let pending = self.pending.iter().take(batch);
        let settlements: Vec<_> = pending.map(|each| each.settlement.clone()).collect();
        let rooms = self.rooms();
        let is_asked = self.must_hear || self.lanes.room(rooms) > 0;
        let setting = &self.setting;
        let has_more = |turned: &Turned, room| turned.more || turned.claimed.len() >= room;
        let asked = Now::read().mono;
        let mut lanes = self.lanes.with_room(rooms);
        let mut turned = match lanes.next() {
            Some((served, room)) => {
                let claim = setting.claim(&served.selection, room);
                let turned = setting.broker.turn(settlements, Some(claim))?;
                served.claimed(has_more(&turned, room));
                turned
            }
            None => {
                let serving = self.serving.as_ref().filter(|_| self.must_hear);
                let claim = serving.map(|(selection, _)| setting.claim(selection, 0));
                setting.broker.turn(settlements, claim)?
            }
        };
        for (served, room) in lanes {
            let claim = setting.claim(&served.selection, room);
            // What the first brought must not be lost with an error of a later one.
            match setting.broker.turn(Vec::new(), Some(claim)) {
                Ok(next) => {
                    served.claimed(has_more(&next, room));
                    turned.claimed.extend(next.claimed);
                    turned.revoked.extend(next.revoked);
                    turned.next_due = earlier(turned.next_due, next.next_due);
                }
                Err(_) => served.failed(),
            }
        }
        if self.failures > 0 {
            self.failures = 0;
            info!("the store is back");
        }
        let told: Vec<_> = self.pending.drain(..batch).collect();
        for pending in &told {
            self.setting.held.remove(pending.story.ticket);
        }
        if turned.has_completed
            && let Err(error) = groups::close(&*self.setting.broker, Now::read().wall)
        {
            debug!(%error, "groups that are complete are left to upkeep");
        }
        let next_due = turned.next_due;
        if is_asked {
            self.must_hear = false;
        }
        let settled = std::mem::take(&mut turned.settled);
        self.hand_over(turned, asked);
        let _lines = log::gather();
        for (pending, settled) in told.into_iter().zip(settled) {
            let Pending {
                settlement, story, ..
            } = pending;
            story.tell(&Told::from(&settlement), settled);
        }
        Ok(next_due)
    }

    fn hand_over(&mut self, turned: Turned, asked: Instant) {
        for receipt in &turned.revoked {
            if let Some(ticket) = self.setting.held.ticket_of(receipt) {
                self.setting.notices.send(Notice::Revoked(ticket));
            }
        }
        if turned.claimed.is_empty() {
            return;
        }
        fault::point("hand-over");
        let Some((_, rules)) = &self.serving else {
            return;
        };
        let mut jobs = Vec::with_capacity(turned.claimed.len());
        let mut told = Vec::new();
        // An answer that was long on its way: what is left of the lease is too short to begin with.
        let is_late = Now::read().mono.duration_since(asked) >= self.setting.lease / 3;
        for claimed in turned.claimed {
            let ticket = TicketId(self.next_ticket);
            self.next_ticket += 1;
            self.setting
                .held
                .add(ticket, claimed.receipt.clone(), asked);
            match rules.resolve(ticket, claimed) {
                (job, None) if is_late => told.push((job, Outcome::Released)),
                (job, None) => jobs.push(job),
                (job, Some(outcome)) => told.push((job, outcome)),
            }
        }
        for (job, outcome) in told {
            self.queue_settlement(*job, ended_unrun(outcome, Timestamp::now()));
        }
        let epoch = self.room.begin_epoch();
        self.setting.notices.send(Notice::Claimed { epoch, jobs });
    }

    fn cope(&mut self, error: &BrokerError, bell: &mut Option<Box<dyn Bell>>) {
        *bell = None;
        if self.failures == 0 {
            if error.is_transient() {
                warn!(%error, "the store is away; trying again");
            } else {
                error!(%error, "the store cannot be used; trying again");
            }
        }
        let pause = reconnect::pause(self.failures);
        self.failures += 1;
        self.lanes.look();
        self.drop_what_is_too_late();
        let after = crossbeam::channel::after(pause);
        // An order may come meanwhile; it waits as well, since the store is away.
        let _ = after.recv();
    }

    /// Settlements whose lease has ended belong to whoever rescues the jobs.
    fn drop_what_is_too_late(&mut self) {
        let now = Now::read().mono;
        let lease = self.setting.lease;
        let held = &self.setting.held;
        self.pending.retain(|pending| {
            let keep = now.duration_since(pending.since) < lease;
            if !keep {
                held.remove(pending.story.ticket);
                warn!(job = %pending.settlement.receipt.uuid, "settlement dropped: its lease has ended; the job is rescued");
            }
            keep
        });
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// The end of an attempt that was never started.
pub(crate) fn ended_unrun(outcome: Outcome, finished_at: Timestamp) -> Ended {
    Ended {
        outcome,
        usage: Usage::default(),
        output: None,
        started_at: None,
        finished_at,
        pid: None,
        wants_callback: true,
        wants_retry: true,
        has_progressed: false,
    }
}
