//! Behaviours of the pool, one by one. Random worlds are in `simulation`.

mod demand;
mod endings;
mod groups;
mod starts;
mod stops;
mod waiting;

use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;

use super::{
    Action, Actions, Answer, End, Force, How, Input, Lane, Limits, LinkEvent, Pool, Seat, Sweep,
    Ticket, TicketId,
};

const RETURNED: LinkEvent = LinkEvent::Done(Answer::Returned);
const FAILED: LinkEvent = LinkEvent::Done(Answer::Failed);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One job of a second, with 200 ms of patience.
fn ticket(id: u64) -> Ticket {
    Ticket {
        id: TicketId(id),
        lane: Lane::Process,
        is_alone: false,
        kind: Some(0),
        profile: 0,
        timeout: ms(1_000),
        patience: ms(200),
        expires: None,
    }
}

fn seat(slot: u16, generation: u64) -> Seat {
    Seat { slot, generation }
}

fn finish(ticket: u64, seat: Seat, end: End) -> Action {
    let ticket = TicketId(ticket);
    Action::Finish { ticket, seat, end }
}

/// A pool, its clock, and what each step asked for.
struct Desk {
    pool: Pool,
    now: Instant,
    /// What the very first tick asked for.
    first: Vec<Action>,
}

impl Desk {
    /// Slots whose first processes have been ordered.
    fn new(slots: u16, tasks_per_process: u32) -> Self {
        Self::with(|limits| Limits {
            slots,
            tasks_per_process,
            ..limits
        })
    }

    /// One slot whose first process has been ordered, under other limits.
    fn with(change: impl FnOnce(Limits) -> Limits) -> Self {
        let limits = change(Self::limits());
        let mut desk = Self {
            pool: Pool::new(limits, 0),
            now: Now::read().mono,
            first: Vec::new(),
        };
        desk.first = desk.step(Input::Tick);
        desk
    }

    fn limits() -> Limits {
        Limits {
            slots: 1,
            tasks_per_process: 0,
            single_use: 0,
            groups: 0,
            group_floor: 0,
            threads: 0,
            async_tasks: 0,
            ready_within: ms(3_000),
            exit_within: ms(500),
            kill_within: ms(5_000),
            clear_within: ms(60_000),
            grace: ms(2_000),
            rest_first: ms(100),
            rest_longest: ms(10_000),
            prefetch_window: ms(50),
            prefetch_hold: ms(100),
        }
    }

    /// Slots with an idle process each, of the generations 1, 2, ...
    fn ready(slots: u16, tasks_per_process: u32) -> Self {
        let mut desk = Self::new(slots, tasks_per_process);
        for slot in 0..slots {
            desk.make_ready(seat(slot, u64::from(slot) + 1));
        }
        desk
    }

    /// One slot, whose process (generation 1) runs `ticket`.
    fn running(tasks_per_process: u32, ticket: Ticket) -> Self {
        let mut desk = Self::ready(1, tasks_per_process);
        let sent = desk.step(Input::Offered(vec![ticket]));
        assert_eq!(sent, [Action::Send(seat(0, 1), ticket.id)]);
        desk
    }

    fn make_ready(&mut self, seat: Seat) {
        assert_eq!(self.step(Input::Spawned(seat)), []);
        let _ = self.link(seat, LinkEvent::Ready);
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Actions::new();
        self.pool.step(self.now, input, &mut actions);
        actions.drain().collect()
    }

    fn link(&mut self, seat: Seat, event: LinkEvent) -> Vec<Action> {
        self.step(Input::Link(seat, event))
    }

    /// The process exits and is swept; what follows the sweep.
    fn exit(&mut self, seat: Seat) -> Vec<Action> {
        let swept = self.link(seat, LinkEvent::Exited);
        assert_eq!(swept, [Action::Sweep(seat)]);
        self.step(Input::Swept(seat, Sweep::Clean))
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.step(Input::Tick)
    }

    /// Waits for the pool's own alarm, which must come after exactly `time`.
    fn wake(&mut self, time: Duration) -> Vec<Action> {
        assert_eq!(self.pool.wake_at(), Some(self.now + time));
        self.pass(time)
    }
}
