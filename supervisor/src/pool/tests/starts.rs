//! How processes come to be, and what becomes of those that die without a job.

use super::*;

const FIRST: Seat = Seat {
    slot: 0,
    generation: 1,
};
const KILL: Action = Action::Signal(FIRST, Force::Kill);

#[test]
fn all_slots_are_filled_before_any_job_is_there() {
    let mut pool = Desk::new(2, 1).pool;
    let mut actions = Actions::new();
    assert_eq!(pool.snapshot().starting, 2);
    pool.step(Now::read().mono, Input::Tick, &mut actions);
    assert_eq!(actions.drain().count(), 0, "once is enough");
}

#[test]
fn a_process_that_is_never_ready_is_killed_and_the_slot_rests() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::Spawned(FIRST));
    assert_eq!(desk.wake(ms(3_000)), [KILL]);
    assert_eq!(desk.exit(FIRST), []);
    assert_eq!(desk.wake(ms(100)), [Action::Spawn(seat(0, 2), 0)]);
}

#[test]
fn a_late_fork_is_killed_only_when_it_is_there() {
    let mut desk = Desk::new(1, 1);
    assert_eq!(desk.wake(ms(3_000)), []);
    assert_eq!(desk.pool.wake_at(), None);
    assert_eq!(desk.step(Input::Spawned(FIRST)), [KILL]);
    assert_eq!(desk.exit(FIRST), []);
    assert_eq!(desk.pool.snapshot().resting, 1);
}

#[test]
fn ready_may_be_heard_before_the_fork_is_confirmed_but_nothing_is_sent_until_then() {
    let mut desk = Desk::new(1, 1);
    assert_eq!(desk.link(FIRST, LinkEvent::Ready), []);
    assert_eq!(desk.step(Input::Offered(vec![ticket(1)])), []);
    let sent = [Action::Send(FIRST, TicketId(1))];
    assert_eq!(desk.step(Input::Spawned(FIRST)), sent);
}

#[test]
fn rests_double_up_to_the_longest_and_start_anew_after_a_job() {
    let mut desk = Desk::new(1, 1);
    let mut generation = 1;
    let rests = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
    for rest in rests {
        assert_eq!(desk.step(Input::SpawnFailed(seat(0, generation))), []);
        generation += 1;
        let spawned = desk.wake(ms(rest));
        assert_eq!(spawned, [Action::Spawn(seat(0, generation), 0)]);
    }
    let good = seat(0, generation);
    desk.make_ready(good);
    let _ = desk.step(Input::Offered(vec![ticket(1)]));
    let _ = desk.link(good, RETURNED);
    let _ = desk.exit(good);
    let _ = desk.step(Input::SpawnFailed(seat(0, generation + 1)));
    assert_eq!(desk.wake(ms(100)).len(), 1);
}

#[test]
fn an_idle_process_that_dies_makes_the_slot_rest() {
    let mut desk = Desk::ready(1, 1);
    assert_eq!(desk.link(FIRST, LinkEvent::Hangup), []);
    assert_eq!(desk.exit(FIRST), []);
    assert_eq!(desk.pool.snapshot().resting, 1);
}

#[test]
fn an_idle_process_that_speaks_is_killed() {
    for event in [LinkEvent::Ready, RETURNED, LinkEvent::Violation] {
        let mut desk = Desk::ready(1, 1);
        assert_eq!(desk.link(FIRST, event), [KILL]);
        assert_eq!(desk.exit(FIRST), []);
        assert_eq!(desk.pool.snapshot().resting, 1);
    }
}

#[test]
fn an_idle_process_that_hangs_up_and_stays_is_killed() {
    let mut desk = Desk::ready(1, 1);
    let _ = desk.link(FIRST, LinkEvent::Hangup);
    assert_eq!(desk.wake(ms(500)), [KILL]);
}

#[test]
fn a_crashed_job_costs_no_rest() {
    let mut desk = Desk::running(1, ticket(1));
    let after = desk.exit(FIRST);
    assert_eq!(after[1], Action::Spawn(seat(0, 2), 0));
}

#[test]
fn a_slot_in_trouble_takes_no_job_before_its_process_is_ready() {
    let mut desk = Desk::new(1, 1);
    assert_eq!(desk.pool.room(desk.now), 1);
    let _ = desk.step(Input::SpawnFailed(FIRST));
    assert_eq!(desk.pool.room(desk.now), 0);
    let _ = desk.wake(ms(100));
    assert_eq!(desk.pool.room(desk.now), 0);
    desk.make_ready(seat(0, 2));
    assert_eq!(desk.pool.room(desk.now), 1);
}
