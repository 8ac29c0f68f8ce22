//! The two pools of a supervisor: one for jobs, whose processes wait for them, and one for partitions
//! of streams, whose processes are started on demand. Each input goes to the one it is about.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Actions, How, Input, Lane, Limits, Pool, Snapshot, TicketId};

/// Tickets for partitions have this bit, tickets for jobs do not.
const STREAM: u64 = 1 << 63;

impl TicketId {
    /// The `n`-th ticket for a partition.
    pub(crate) const fn of_stream(n: u64) -> Self {
        Self(n | STREAM)
    }

    /// Whether it is for a partition.
    pub(crate) const fn is_of_stream(self) -> bool {
        self.0 & STREAM != 0
    }
}

/// Both.
#[derive(Debug)]
pub(crate) struct Pools {
    jobs: Pool,
    streams: Pool,
    /// The first slot of the second.
    first: u16,
}

/// Whom an input is for.
enum Address {
    Jobs,
    Streams,
    Both,
}

impl Pools {
    /// Slots for jobs and their groups come first, then `stream_slots` for partitions.
    pub(crate) fn new(limits: Limits, stream_slots: u16, default_profile: u16) -> Self {
        // One more group, for those who ride alone.
        let first = limits.slots + limits.groups + 1;
        let of_streams = Limits {
            slots: stream_slots,
            tasks_per_process: 1,
            ..limits
        };
        Self {
            jobs: Pool::new(limits, default_profile),
            streams: Pool::on_demand(of_streams, default_profile, first),
            first,
        }
    }

    /// The same, with groups whose processes are of another profile.
    #[must_use]
    pub(crate) const fn with_groups_under(mut self, profile: u16) -> Self {
        self.jobs.groups.profile = profile;
        self
    }

    pub(crate) const fn adjust(&mut self, grace: Duration, exit_within: Duration) {
        self.jobs.adjust(grace, exit_within);
        self.streams.adjust(grace, exit_within);
    }

    pub(crate) fn step(&mut self, now: Instant, input: Input, out: &mut Actions) {
        match self.address(&input) {
            Address::Jobs => self.jobs.step(now, input, out),
            Address::Streams => self.streams.step(now, input, out),
            Address::Both => {
                self.jobs.step(now, input.clone(), out);
                self.streams.step(now, input, out);
            }
        }
        if self.jobs.is_gone() && !self.streams.is_draining() {
            // A supervisor without a slot for jobs is none.
            self.streams.step(now, Input::Stop(How::Drain), out);
        }
    }

    fn address(&self, input: &Input) -> Address {
        let is_of_stream = match input {
            Input::Offered(tickets) => match tickets.first() {
                Some(ticket) => ticket.id.is_of_stream(),
                None => return Address::Both,
            },
            Input::Spawned(seat)
            | Input::SpawnFailed(seat)
            | Input::Link(seat, _)
            | Input::Answered(seat, ..)
            | Input::Swept(seat, _) => seat.slot >= self.first,
            Input::Revoked(id) | Input::LeaseLost(id) | Input::Timed(id, _) => id.is_of_stream(),
            Input::Stop(_) | Input::Tick => return Address::Both,
        };
        match is_of_stream {
            true => Address::Streams,
            false => Address::Jobs,
        }
    }

    pub(crate) fn room(&self, now: Instant) -> usize {
        self.jobs.room(now)
    }

    pub(crate) fn room_in_groups(&self, lane: Lane, now: Instant) -> usize {
        self.jobs.room_in_groups(lane, now)
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let both = [self.jobs.wake_at(), self.streams.wake_at()];
        both.into_iter().flatten().min()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.jobs.is_gone() && self.streams.is_gone()
    }

    /// The jobs at a glance; partitions that are processed count as busy.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let streams = self.streams.snapshot();
        let mut jobs = self.jobs.snapshot();
        jobs.busy += streams.busy;
        jobs
    }
}
