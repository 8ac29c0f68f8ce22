//! Two pools, and processes that are started when there is something for them.

use super::*;
use crate::pool::Pools;

/// Two slots for jobs, two for partitions.
struct Pair {
    pools: Pools,
    now: Instant,
}

/// The first seat for a partition: behind the jobs and the group for those who ride alone.
const FIRST: u16 = 3;

impl Pair {
    fn new() -> Self {
        let limits = Limits {
            slots: 2,
            ..Desk::limits()
        };
        Self {
            pools: Pools::new(limits, 2, 0),
            now: Now::read().mono,
        }
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Actions::new();
        self.pools.step(self.now, input, &mut actions);
        actions.drain().collect()
    }

    /// Offers a partition; its process is started and sent it.
    fn begin(&mut self, id: TicketId) -> Seat {
        let ticket = Ticket { id, ..ticket(0) };
        let spawned = self.step(Input::Offered(vec![ticket]));
        let [Action::Spawn(seat, 0)] = spawned[..] else {
            panic!("{spawned:?}");
        };
        assert!(seat.slot >= FIRST);
        assert_eq!(self.step(Input::Spawned(seat)), []);
        let sent = self.step(Input::Link(seat, LinkEvent::Ready));
        assert_eq!(sent, [Action::Send(seat, id)]);
        seat
    }
}

#[test]
fn processes_for_jobs_wait_and_those_for_partitions_come_when_they_are_wanted() {
    let mut pair = Pair::new();
    let first = pair.step(Input::Tick);
    assert_eq!(first.len(), 2, "{first:?}");
    let (one, other) = (TicketId::of_stream(0), TicketId::of_stream(1));
    let seat = pair.begin(one);
    let next = pair.begin(other);
    assert_ne!(seat.slot, next.slot);
    // Each serves one call, and nobody follows before there is another.
    let _ = pair.step(Input::Link(seat, RETURNED));
    assert_eq!(
        pair.step(Input::Link(seat, LinkEvent::Exited)),
        [Action::Sweep(seat)]
    );
    let end = End::Returned;
    let ticket = one;
    assert_eq!(
        pair.step(Input::Swept(seat, Sweep::Clean)),
        [Action::Finish { ticket, seat, end }]
    );
    assert_eq!(pair.pools.snapshot().busy, 1);
}

#[test]
fn a_job_that_waits_has_no_deadline_and_has_its_time_again_when_it_is_given_something() {
    let mut pair = Pair::new();
    let id = TicketId::of_stream(0);
    let _ = pair.step(Input::Tick);
    let seat = pair.begin(id);
    assert_eq!(pair.step(Input::Timed(id, None)), []);
    pair.now += ms(3_600_000);
    let ticked = pair.step(Input::Tick);
    let is_signal = |action: &&Action| matches!(action, Action::Signal(one, _) if *one == seat);
    assert_eq!(ticked.iter().find(is_signal), None);
    assert_eq!(pair.step(Input::Timed(id, Some(ms(1_000)))), []);
    pair.now += ms(999);
    assert_eq!(pair.step(Input::Tick), []);
    pair.now += ms(1);
    assert_eq!(pair.step(Input::Tick), [Action::Signal(seat, Force::Term)]);
    // What is being stopped gets no more time.
    assert_eq!(pair.step(Input::Timed(id, Some(ms(1_000)))), []);
    pair.now += ms(200);
    assert_eq!(pair.step(Input::Tick), [Action::Signal(seat, Force::Kill)]);
}

#[test]
fn both_drain_and_the_end_of_one_is_not_the_end() {
    let mut pair = Pair::new();
    let spawned = pair.step(Input::Tick);
    let id = TicketId::of_stream(0);
    let seat = pair.begin(id);
    let _ = pair.step(Input::Stop(How::Drain));
    for action in spawned {
        let Action::Spawn(seat, _) = action else {
            panic!("{action:?}");
        };
        assert_eq!(pair.step(Input::SpawnFailed(seat)), []);
    }
    assert!(!pair.pools.is_gone());
    let _ = pair.step(Input::Link(seat, LinkEvent::Exited));
    let _ = pair.step(Input::Swept(seat, Sweep::Clean));
    assert!(pair.pools.is_gone());
}
