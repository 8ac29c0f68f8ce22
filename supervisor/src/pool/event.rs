//! What the pool is told and what it asks for. Plain data: nothing here decides anything.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// The numbers the pool lives by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many processes at once.
    pub slots: u16,
    /// How many groups at once, apart from the one for those who ride alone.
    pub groups: u16,
    /// Groups that are kept when there is nothing to do.
    pub group_floor: u16,
    /// Jobs on threads of one group at once.
    pub threads: u16,
    /// Futures of one group at once.
    pub async_tasks: u16,
    /// How many jobs a process runs before it is replaced; 0 = no limit.
    pub tasks_per_process: u32,
    /// Profiles whose processes run one job each, as bits.
    pub single_use: u64,
    /// From the order to spawn until the process must have said Ready.
    pub ready_within: Duration,
    /// How long a process that answered, hung up or was asked to quit may take to exit.
    pub exit_within: Duration,
    /// From SIGKILL (or the exit) until the process and all it started must be gone.
    pub kill_within: Duration,
    /// How long the removal of its files may take once all processes are gone.
    pub clear_within: Duration,
    /// How long running jobs may go on after a drain began.
    pub grace: Duration,
    /// The rest after the first unasked death; doubles with each further one.
    pub rest_first: Duration,
    /// The longest rest.
    pub rest_longest: Duration,
    /// Jobs shorter than this, ended within this, allow as many to be claimed ahead.
    pub prefetch_window: Duration,
    /// A ticket that no slot will soon be free for is given back after this.
    pub prefetch_hold: Duration,
}

impl Limits {
    /// How many jobs a process of this profile runs; 0 = no limit.
    pub(super) const fn jobs_of(&self, profile: u16) -> u32 {
        match self.single_use >> (profile % 64) & 1 {
            1 => 1,
            _ => self.tasks_per_process,
        }
    }
}

/// One claimed job, as the pool knows it. Unique among the tickets inside the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TicketId(pub u64);

/// One process: the slot it sits in, and a generation no other process of this pool ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seat {
    /// Index of the slot, from 0.
    pub slot: u16,
    /// Unique over the pool's whole life, never reused.
    pub generation: u64,
}

/// What kind of place a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A process of its own.
    Process,
    /// A thread of a group.
    Thread,
    /// A group's runtime.
    Async,
    /// A group's main thread.
    Main,
}

impl Lane {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Process, Self::Thread, Self::Async, Self::Main];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Process => 0,
            Self::Thread => 1,
            Self::Async => 2,
            Self::Main => 3,
        }
    }

    /// How many such jobs ride in one group.
    pub(super) const fn most(self, limits: &Limits) -> u16 {
        match self {
            Self::Process => 0,
            Self::Thread => limits.threads,
            Self::Async => limits.async_tasks,
            Self::Main => 1,
        }
    }
}

/// A claimed job that wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Its name in every later input and action.
    pub id: TicketId,
    /// What kind of place it needs.
    pub lane: Lane,
    /// In a group it rides alone.
    pub is_alone: bool,
    /// Task and memory class: a reused process serves one kind only. A ticket without a kind has
    /// its process for itself, which serves nobody before or after.
    pub kind: Option<u32>,
    /// The profile its process must have.
    pub profile: u16,
    /// The longest the attempt may run.
    pub timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub patience: Duration,
    /// End of the job's whole life.
    pub expires: Option<Instant>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Claimed jobs; at most [`room`](super::Pool::room) of them, but more are kept as well.
    Offered(Vec<Ticket>),
    /// The process is there and can be signalled.
    Spawned(Seat),
    /// There is no process and there will be none for this seat.
    SpawnFailed(Seat),
    /// The process said or did something.
    Link(Seat, LinkEvent),
    /// A job of a group was answered.
    Answered(Seat, TicketId, Answer),
    /// The sweep of a process that exited is over.
    Swept(Seat, Sweep),
    /// A user no longer wants the job.
    Revoked(TicketId),
    /// The right to the job is gone.
    LeaseLost(TicketId),
    /// A job that is given one thing after another has from now on so long for the next; `None` while
    /// it waits to be given it.
    Timed(TicketId, Option<Duration>),
    /// The supervisor is to end. A second one is stronger than the first.
    Stop(How),
    /// `wake_at` has come.
    Tick,
}

/// What a process says or does, in this order: `Ready Done* Hangup Exited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// It waits for a job.
    Ready,
    /// It answered the job it was sent.
    Done(Answer),
    /// It broke the wire's rules, or took more than it may.
    Violation,
    /// It closed its end of the link.
    Hangup,
    /// It is dead, and everything it wrote has been reported.
    Exited,
}

/// How a job was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With a result.
    Returned,
    /// With an error.
    Failed,
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// No process and no private file is left.
    Clean,
    /// No process is left; its files are being removed, and that will be said.
    Files,
    /// Something is left that cannot be removed.
    Unkillable,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Finish what runs, take nothing new; after the grace as `Now`.
    Drain,
    /// Stop what runs: SIGTERM, patience, SIGKILL.
    Now,
}

/// Something to do. Nothing else comes out of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process of this profile; answer with `Spawned` or `SpawnFailed`.
    Spawn(Seat, u16),
    /// Write the job to the process: the attempt begins.
    Send(Seat, TicketId),
    /// Ask one job of a group to stop.
    Halt(Seat, TicketId),
    /// Signal the process; `Term` is SIGTERM and SIGCONT.
    Signal(Seat, Force),
    /// Close the job pipe: an idle process then exits by itself.
    Quit(Seat),
    /// The process is dead: remove all it left, then answer with `Swept`.
    Sweep(Seat),
    /// The attempt is over; the ticket has left the pool.
    Finish {
        ticket: TicketId,
        seat: Seat,
        end: End,
    },
    /// Give the unsent job back, uncounted; the ticket has left the pool.
    Release(TicketId),
    /// The unsent job is not ours any more: write nothing; the ticket has left the pool.
    Forget(TicketId),
}

/// How hard to signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// SIGTERM, then SIGCONT.
    Term,
    /// SIGKILL.
    Kill,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a result.
    Returned,
    /// With an error.
    Failed,
    /// Stopped at its deadline.
    TimedOut,
    /// The process exited unasked and without an answer.
    Crashed,
    /// Stopped because a user revoked the job; any answer is void.
    Revoked,
    /// Stopped at the end of the job's whole life.
    Expired,
    /// The process broke the wire's rules.
    Protocol,
    /// Another job took down the process they shared: give the job back, uncounted.
    Displaced,
    /// Stopped because the supervisor ends: give the job back, uncounted.
    Released,
    /// The lease was lost: write nothing.
    Forgotten,
    /// Something of the attempt is left; the slot is retired.
    Unkillable,
}

/// What a step asks for, in the order to do it. Reused from step to step.
#[derive(Debug, Default)]
#[must_use = "actions are the only effect of a step"]
pub(crate) struct Actions(Vec<Action>);

impl Actions {
    /// No actions yet.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Takes all actions out, keeping the room they took.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.0.drain(..)
    }
}

/// The pool at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Snapshot {
    /// Slots whose process is on its way.
    pub starting: usize,
    /// Slots whose process waits for a job.
    pub idle: usize,
    /// Slots with a job, from its sending until its ending.
    pub busy: usize,
    /// Slots whose process leaves without a job.
    pub leaving: usize,
    /// Slots that rest after a process that died unasked.
    pub resting: usize,
    /// Slots that will never have a process again.
    pub gone: usize,
    /// Jobs in groups.
    pub riding: usize,
    /// Tickets that wait for a process.
    pub waiting: usize,
}
