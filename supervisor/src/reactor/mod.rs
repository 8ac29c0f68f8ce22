//! The loop: waits for pipes, pidfds, the zygote, time, signals and notices; tells the pool;
//! performs what the pool decides. Runs on the main thread, which lives to the end: the kernel
//! takes the death of the thread that started a zygote for the death of the supervisor.

mod ahead;
mod asks;
mod events;
mod hear;
mod kinds;
mod memory;
mod notes;
mod nursery;
mod perform;
mod place;
mod sweep;
mod verdict;
mod wardens;
mod zygotes;

use std::collections::HashMap;
use std::hash::RandomState;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_shared::broker::{Interrupt, Note};
use bulkhead_shared::frame::Group;
use bulkhead_shared::time::Now;
use crossbeam::channel::{Receiver, Sender};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tracing::{error, info};

use crate::config::{RunConfig, TaskOutput};
use crate::engine::exit_within;
use crate::job::Job;
use crate::notice::{Notice, Notices};
use crate::pool::{Actions, How, Input, Lane, Pools, TicketId};
use crate::process::cgroup::Cgroups;
use crate::process::home::{Cleaner, RunDirectory};
use crate::process::limits::Cages;
use crate::process::link::READ;
use crate::process::users::Users;
use crate::process::zygote::Recipe;
use crate::registrar::Registrar;
use crate::sandbox::menu::Menu;
use crate::sandbox::profile::PROFILES;
use crate::services::Services;
use crate::source::queue::Queue;
use crate::streams::{self, Streams};
use crate::watch::Watch;
use kinds::Kinds;
use nursery::Nursery;
use place::{Place, earlier, untoken};
use wardens::Wardens;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// Tokens that belong to no slot: the top bit is theirs.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const SIGNALS: u64 = u64::MAX - 2;
/// Below this, two for each profile.
const ZYGOTES: u64 = u64::MAX - 3;

/// The token of a zygote's socket, or of its output.
const fn zygote_token(profile: u16, is_output: bool) -> u64 {
    ZYGOTES - 2 * profile as u64 - is_output as u64
}

/// The profile of a zygote's token, and whether it is of its output.
fn zygote_untoken(token: u64) -> Option<(u16, bool)> {
    let number = ZYGOTES.checked_sub(token)?;
    let profile = u16::try_from(number / 2).ok()?;
    (usize::from(profile) < PROFILES).then_some((profile, number % 2 == 1))
}

/// A job must have run this long to be worth a note: most end before.
const NOTE_AFTER: Duration = Duration::from_millis(100);

/// Between looks at a cgroup that does not empty, should the kernel not tell.
const SWEEP_AGAIN: Duration = Duration::from_millis(20);

/// Between looks for adopted orphans to reap.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// What the reactor is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub pool: Pools,
    pub menu: Menu,
    pub slots: u16,
    pub groups: u16,
    pub group: Group,
    pub tasks_per_process: u32,
    pub memory: Option<u64>,
    pub output: TaskOutput,
    /// One for each profile of the menu.
    pub recipes: Vec<Recipe>,
    pub cgroups: Option<Cgroups>,
    pub cages: Option<Cages>,
    pub users: Option<Users>,
    pub run_directory: Option<Arc<RunDirectory>>,
    pub queue: Queue,
    pub notes: Sender<Vec<Note>>,
    pub notices: Notices,
    pub inbox: Receiver<Notice>,
    pub wake: Arc<Interrupt>,
    /// Readable when SIGTERM or SIGINT has come.
    pub signals: UnixStream,
    /// Set when the first signal has come, for those who start work.
    pub is_draining: Arc<AtomicBool>,
    pub registrar: Registrar,
    pub services: Services,
    /// Slots for partitions of streams, behind those of the groups.
    pub stream_slots: u16,
    pub streams: Streams,
    /// There if a profile needs it.
    pub watch: Option<Watch>,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It was told to, and everything that ran has ended.
    Drained,
    /// It was told to, and jobs were given back unfinished.
    Released,
    /// Every slot was retired after something that could not be killed or removed.
    AllRetired,
}

/// The loop's state.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Instant>,
    pool: Pools,
    actions: Actions,
    places: Vec<Place>,
    jobs: HashMap<TicketId, Box<Job>>,
    kinds: Kinds,
    /// One for each profile of the menu.
    nurseries: Vec<Nursery>,
    menu: Menu,
    slots: u16,
    /// The slots from here on are for partitions of streams.
    first_of_streams: u16,
    group: Group,
    tasks_per_process: u32,
    /// The most memory that any job may have: what processes are started with.
    memory: Option<u64>,
    output: TaskOutput,
    cgroups: Option<Cgroups>,
    cages: Option<Cages>,
    users: Option<Users>,
    run_directory: Option<Arc<RunDirectory>>,
    cleaner: Cleaner,
    queue: Queue,
    epoch: u32,
    notes: Sender<Vec<Note>>,
    notes_due: Option<Instant>,
    inbox: Receiver<Notice>,
    wake: Arc<Interrupt>,
    signals: UnixStream,
    is_draining: Arc<AtomicBool>,
    registrar: Registrar,
    services: Services,
    streams: Streams,
    watch: Option<Watch>,
    buffer: Vec<u8>,
    nonces: RandomState,
    wardens: Wardens,
    sweeping: Vec<u16>,
    sweep_due: Option<Instant>,
    reap_due: Instant,
    has_released: bool,
    is_stopping: bool,
}

fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, flags: EpollFlags, token: u64) -> nix::Result<()> {
    epoll.add(fd, EpollEvent::new(flags, token))
}

impl Reactor {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        use std::os::fd::AsFd;
        watch(&epoll, timer.as_fd(), EpollFlags::EPOLLIN, TIMER)?;
        watch(&epoll, parts.wake.as_fd(), EpollFlags::EPOLLIN, WAKE)?;
        watch(&epoll, parts.signals.as_fd(), EpollFlags::EPOLLIN, SIGNALS)?;
        let first_of_streams = parts.slots + parts.groups;
        let mut places: Vec<Place> = (0..first_of_streams + parts.stream_slots)
            .map(|_| Place::default())
            .collect();
        if let Some(cgroups) = &parts.cgroups {
            for (place, slot) in places.iter_mut().zip(0..) {
                place.leaf = Some(cgroups.leaf(slot, 0)?);
            }
        }
        let done = parts.notices.clone();
        let cleaner = Cleaner::start(move |generation, removed| {
            done.send(Notice::Cleaned(generation, removed));
        })?;
        Ok(Self {
            epoll,
            timer,
            armed: None,
            pool: parts.pool,
            actions: Actions::new(),
            places,
            jobs: HashMap::new(),
            kinds: Kinds::default(),
            nurseries: parts.recipes.into_iter().map(Nursery::new).collect(),
            menu: parts.menu,
            slots: parts.slots,
            first_of_streams,
            group: parts.group,
            tasks_per_process: parts.tasks_per_process,
            memory: parts.memory,
            output: parts.output,
            cgroups: parts.cgroups,
            cages: parts.cages,
            users: parts.users,
            run_directory: parts.run_directory,
            cleaner,
            queue: parts.queue,
            epoch: 0,
            notes: parts.notes,
            notes_due: None,
            inbox: parts.inbox,
            wake: parts.wake,
            signals: parts.signals,
            is_draining: parts.is_draining,
            registrar: parts.registrar,
            services: parts.services,
            streams: parts.streams,
            watch: parts.watch,
            buffer: vec![0; READ],
            nonces: RandomState::new(),
            wardens: Wardens::default(),
            sweeping: Vec::new(),
            sweep_due: None,
            reap_due: Now::read().mono + REAP_EVERY,
            has_released: false,
            is_stopping: false,
        })
    }

    /// Runs until every slot is gone.
    pub(crate) fn run(mut self) -> io::Result<Finished> {
        let start = Now::read();
        self.start_zygote(self.menu.usual(), start);
        self.tell(start, Input::Tick);
        let mut events = vec![EpollEvent::empty(); EVENTS];
        while !self.pool.is_gone() {
            // Of this very moment: an older one takes long ago for just now, and claims far ahead.
            self.publish_room(Now::read().mono);
            self.arm()?;
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let now = Now::read();
            for event in &events[..count] {
                // Closed at the other end, and nothing left to read.
                let is_over = event.events() == EpollFlags::EPOLLHUP;
                self.handle(event.data(), is_over, now);
            }
            self.keep_time(Now::read());
        }
        self.close_down();
        if !self.is_stopping {
            return Ok(Finished::AllRetired);
        }
        Ok(if self.has_released {
            Finished::Released
        } else {
            Finished::Drained
        })
    }

    fn handle(&mut self, token: u64, is_over: bool, now: Now) {
        match token {
            WAKE => self.hear_notices(now),
            TIMER => {
                self.armed = None;
                // Not yet due after all is as good as read.
                let _ = self.timer.wait();
            }
            SIGNALS => self.hear_signals(now),
            token => {
                if let Some((profile, is_output)) = zygote_untoken(token) {
                    match is_output {
                        true => self.hear_zygote_output(profile),
                        false => self.hear_zygote(profile, now),
                    }
                } else if let Some((slot, generation, kind)) = untoken(token) {
                    self.hear_process(slot, generation, (kind, is_over), now);
                }
            }
        }
    }

    /// Tells the pool, and performs what it decides, and so on until it is content.
    fn tell(&mut self, now: Now, input: Input) {
        let mut actions = std::mem::take(&mut self.actions);
        self.pool.step(now.mono, input, &mut actions);
        let todo: Vec<_> = actions.drain().collect();
        self.actions = actions;
        for action in todo {
            self.perform(action, now);
        }
    }

    fn keep_time(&mut self, now: Now) {
        if self.pool.wake_at().is_some_and(|at| at <= now.mono) {
            self.tell(now, Input::Tick);
        }
        if self.sweep_due.is_some_and(|at| at <= now.mono) {
            self.sweep_due = None;
            for slot in std::mem::take(&mut self.sweeping) {
                self.look_at_sweep(slot, now);
            }
        }
        if self.notes_due.is_some_and(|at| at <= now.mono) {
            self.write_notes(now);
        }
        for profile in 0..self.nurseries.len() {
            let wake_at = self.nurseries[profile].wake_at();
            if wake_at.is_some_and(|at| at <= now.mono) {
                self.tend_zygote(u16::try_from(profile).unwrap_or(0), now);
            }
        }
        self.tend_wardens(now.mono);
        if self.reap_due <= now.mono {
            self.reap_due = now.mono + REAP_EVERY;
            self.let_idle_zygotes_go(now);
            self.let_idle_wardens_go();
            self.reap_strangers(now);
        }
    }

    /// Sets the timer to the earliest thing due; a timer that is early already is left alone.
    fn arm(&mut self) -> io::Result<()> {
        let wardens = self.wardens.wake_at();
        let due = [self.pool.wake_at(), self.sweep_due, self.notes_due, wardens];
        let zygotes = self.nurseries.iter().map(Nursery::wake_at);
        let due = due
            .into_iter()
            .chain(zygotes)
            .fold(Some(self.reap_due), earlier)
            .unwrap_or(self.reap_due);
        if self.armed.is_some_and(|armed| armed <= due) {
            return Ok(());
        }
        let left = due
            .saturating_duration_since(Now::read().mono)
            .max(Duration::from_micros(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        self.timer.set(once, TimerSetTimeFlags::empty())?;
        self.armed = Some(due);
        Ok(())
    }

    fn publish_room(&mut self, now: Instant) {
        let room = |lane| match lane {
            _ if self.is_stopping => 0,
            Lane::Process => self.pool.room(now),
            Lane::Thread | Lane::Async | Lane::Main => self.pool.room_in_groups(lane, now),
        };
        let rooms = Lane::ALL.map(|lane| u16::try_from(room(lane)).unwrap_or(u16::MAX));
        self.queue.publish(self.epoch, rooms);
    }

    fn hear_signals(&mut self, now: Now) {
        let mut bytes = [0; 16];
        let count = self.signals.read(&mut bytes).unwrap_or(0);
        for _ in 0..count {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Now) {
        let how = if self.is_stopping {
            How::Now
        } else {
            How::Drain
        };
        let now_running = self.pool.snapshot();
        let running = now_running.busy + now_running.riding;
        match how {
            How::Drain => info!(
                running,
                "draining: running tasks may finish (a second signal stops them)"
            ),
            How::Now => info!("stopping: running tasks are ended, their jobs given back"),
        }
        self.is_stopping = true;
        self.is_draining.store(true, Ordering::Relaxed);
        self.publish_room(now.mono);
        self.streams.send(streams::Word::Drain);
        self.tell(now, Input::Stop(how));
    }

    fn hear_notices(&mut self, now: Now) {
        self.wake.clear();
        while let Ok(notice) = self.inbox.try_recv() {
            match notice {
                Notice::Claimed { epoch, jobs } => {
                    self.epoch = epoch;
                    self.offer(jobs, now);
                }
                Notice::Revoked(ticket) => self.tell(now, Input::Revoked(ticket)),
                Notice::Lost(ticket) => self.tell(now, Input::LeaseLost(ticket)),
                Notice::Cleaned(generation, removed) => self.cleaned(generation, removed, now),
                Notice::Processing(jobs) => self.offer(jobs, now),
                Notice::Events(asker, events) => self.give_events(asker, events, now),
                Notice::Answer(asker, reply) => self.tell_asker(asker, reply, now),
                Notice::Exceeded(seat, exceeded) => self.take_back_memory(seat, exceeded, now),
                Notice::AllDone if !self.is_stopping => {
                    info!("burst: nothing is left to do");
                    self.stop(now);
                }
                Notice::AllDone => {}
                Notice::Configured(config) => self.configure(*config),
            }
        }
    }

    /// Takes what can change while tasks run.
    fn configure(&mut self, config: RunConfig) {
        let RunConfig {
            grace, patience, ..
        } = config;
        self.pool.adjust(grace, exit_within(patience));
        self.output = config.task_output;
        if let Some(memory) = self.registrar.configure(config) {
            self.memory = memory;
        }
    }

    /// The directory of the host that a process of this profile has for itself in this slot.
    fn home(&self, slot: u16, profile: u16) -> Option<PathBuf> {
        let has_home = self.menu.entry(profile).plan.homes;
        let run = self.run_directory.as_ref().filter(|_| has_home)?;
        Some(run.home(slot))
    }

    fn close_down(&mut self) {
        self.end_wardens();
        self.nurseries.iter_mut().for_each(Nursery::close);
        for place in &mut self.places {
            place.leaf = None;
            place.cage = None;
        }
        if let Some(cages) = self.cages.take() {
            cages.remove();
        }
        if let Some(cgroups) = self.cgroups.take() {
            cgroups.remove();
        }
        for (ticket, job) in self.jobs.drain() {
            error!(?ticket, job = %job.receipt.uuid, "job left behind: its lease will run out");
        }
    }
}
