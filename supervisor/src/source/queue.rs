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
use bulkhead_shared::outcome::{Ended, Outcome, Usage};
use bulkhead_shared::reconnect;
use bulkhead_shared::time::{Now, Timestamp};
use bulkhead_shared::{TaskName, fault};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use tracing::{debug, error, info, warn};

use super::decide::{Place, Story, Told, decide};
use super::room::{Offer, Rooms};
use super::{Held, Room, groups};
use crate::job::{Job, Rules, usual_lane};
use crate::notice::{Notice, Notices};
use crate::pool::{Lane, TicketId};

/// Settlements written in one transaction: more would keep others waiting for the store.
const BATCH: usize = 256;

/// Jobs claimed at once: bounds the memory of a burst, and the wait of others for the store.
const CLAIM: usize = 256;

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
    /// Claim nothing more, settle what there is, end.
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
        by_lane: Vec::new(),
        serves_anew: false,
        pending: VecDeque::new(),
        next_ticket: 0,
        must_look: true,
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
    /// The same by lane: each is claimed for as much room as it has, so that none holds up another.
    by_lane: Vec<(Lane, Selection)>,
    /// The bell listens for something else.
    serves_anew: bool,
    pending: VecDeque<Pending>,
    next_ticket: u64,
    /// The store may hold something for us.
    must_look: bool,
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
            let room = self.room_to_claim();
            let is_asked = self.must_hear || (self.must_look && room > 0);
            if self.pending.is_empty() && !is_asked {
                self.wait(&mut bell, due);
                continue;
            }
            let room = self.gather(room);
            match self.turn(room) {
                Ok(next_due) => due = next_due.map_or(look_every, |due| due.min(look_every)),
                Err(error) => self.cope(&error, &mut bell),
            }
        }
    }

    /// Lets a turn grow if the last one was just now and there is no hurry; the room there is then.
    fn gather(&mut self, mut room: usize) -> usize {
        let mut now = Now::read().mono;
        let due = self.last_turn.map_or(now, |last| last + TURN_EVERY);
        while now < due
            && !self.is_stopping
            && self.pending.len().max(room) < ENOUGH
            && self.setting.held.len() >= LOAD + self.pending.len()
        {
            // In short pieces: nobody wakes this thread while it is not waiting for a wake-up.
            std::thread::park_timeout((due - now).min(Duration::from_millis(1)));
            self.hear();
            room = self.room_to_claim();
            now = Now::read().mono;
        }
        self.last_turn = Some(now);
        room
    }

    fn hear(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Settle(job, ended)) => self.queue_settlement(*job, ended),
                Ok(Order::Forget(ticket)) => self.setting.held.remove(ticket),
                Ok(Order::Serve(selection, rules)) => {
                    self.by_lane = by_lane(&selection, &rules);
                    self.serving = Some((selection, rules));
                    self.serves_anew = true;
                    self.must_look = true;
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return;
                }
                Err(TryRecvError::Empty) => return,
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

    fn room_to_claim(&self) -> usize {
        if self.is_stopping || self.serving.is_none() {
            return 0;
        }
        let rooms = self.room.look().rooms;
        let lanes = self.by_lane.iter();
        lanes.map(|(lane, _)| room_of(rooms, *lane)).sum()
    }

    fn wait(&mut self, bell: &mut Option<Box<dyn Bell>>, at_most: Duration) {
        self.is_waiting.store(true, Ordering::SeqCst);
        let has_room = self.must_look && self.room_to_claim() > 0;
        if !self.inbox.is_empty() || has_room {
            self.is_waiting.store(false, Ordering::SeqCst);
            return;
        }
        let heed = if self.room_to_claim() > 0 {
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
                self.must_look = true;
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
    fn turn(&mut self, room: usize) -> Result<Option<Duration>, BrokerError> {
        let batch = self.pending.len().min(BATCH);
        let settlements: Vec<_> = self
            .pending
            .iter()
            .take(batch)
            .map(|pending| pending.settlement.clone())
            .collect();
        let is_asked = self.must_hear || room > 0;
        let rooms = match room {
            0 => Rooms::default(),
            _ => self.room.look().rooms,
        };
        let mut claims: Vec<Claim<'_>> = Vec::with_capacity(Lane::COUNT);
        let mut add = |selection, room| {
            claims.push(Claim {
                owner: self.setting.owner,
                selection,
                room,
                lease: self.setting.lease,
            });
        };
        for (lane, selection) in &self.by_lane {
            match room_of(rooms, *lane) {
                0 => {}
                room => add(selection, room),
            }
        }
        if let Some((selection, _)) = self
            .serving
            .as_ref()
            .filter(|_| self.must_hear && room == 0)
        {
            add(selection, 0);
        }
        let mut claims = claims.into_iter();
        let asked = Now::read().mono;
        let first = claims.next();
        let mut is_more = false;
        let mut turned = self.setting.broker.turn(settlements, first)?;
        if let Some(claim) = first {
            is_more |= turned.more || turned.claimed.len() >= claim.room;
        }
        for claim in claims {
            // What the first brought must not be lost with an error of a later one.
            match self.setting.broker.turn(Vec::new(), Some(claim)) {
                Ok(next) => {
                    is_more |= next.more || next.claimed.len() >= claim.room;
                    turned.claimed.extend(next.claimed);
                    turned.revoked.extend(next.revoked);
                    turned.next_due = earlier(turned.next_due, next.next_due);
                }
                Err(_) => is_more = true,
            }
        }
        if self.failures > 0 {
            self.failures = 0;
            info!("the store is back");
        }
        for (pending, settled) in self.pending.drain(..batch).zip(&turned.settled) {
            self.setting.held.remove(pending.story.ticket);
            pending
                .story
                .tell(&Told::from(&pending.settlement), *settled);
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
        if room > 0 {
            self.must_look = is_more;
        }
        self.hand_over(turned, asked);
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
        self.must_look = true;
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

fn room_of(rooms: Rooms, lane: Lane) -> usize {
    usize::from(rooms[lane.index()]).min(CLAIM)
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// What is claimed for each lane that has tasks.
fn by_lane(selection: &Selection, rules: &Rules) -> Vec<(Lane, Selection)> {
    let of = |lane: Lane| {
        let is_in = |task: &&TaskName| {
            let spec = rules.specs.get(*task);
            spec.map_or(Lane::Process, usual_lane) == lane
        };
        let tasks: Vec<_> = selection.tasks.iter().filter(is_in).cloned().collect();
        let queues = selection.queues.clone();
        (lane, Selection { queues, tasks })
    };
    let mut lanes: Vec<_> = Lane::ALL.into_iter().map(of).collect();
    lanes.retain(|(_, selection)| !selection.tasks.is_empty());
    lanes
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
