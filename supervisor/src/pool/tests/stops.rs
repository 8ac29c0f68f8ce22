//! How the pool ends.

use super::*;

const FIRST: Seat = Seat {
    slot: 0,
    generation: 1,
};
const TERM: Action = Action::Signal(FIRST, Force::Term);
const KILL: Action = Action::Signal(FIRST, Force::Kill);

#[test]
fn a_drain_asks_idle_processes_to_quit() {
    let mut desk = Desk::ready(1, 1);
    assert_eq!(desk.step(Input::Stop(How::Drain)), [Action::Quit(FIRST)]);
    assert!(desk.pool.is_draining());
    assert_eq!(desk.exit(FIRST), []);
    assert!(desk.pool.is_gone());
    assert_eq!(desk.pool.wake_at(), None);
}

#[test]
fn a_drain_gives_back_who_waits() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::Offered(vec![ticket(1), ticket(2)]));
    let released = desk.step(Input::Stop(How::Drain));
    assert_eq!(released, [TicketId(1), TicketId(2)].map(Action::Release));
}

#[test]
fn after_a_drain_every_offer_is_given_back() {
    let mut desk = Desk::ready(1, 1);
    let _ = desk.step(Input::Stop(How::Drain));
    assert_eq!(desk.pool.room(desk.now), 0);
    let offered = desk.step(Input::Offered(vec![ticket(1)]));
    assert_eq!(offered, [Action::Release(TicketId(1))]);
}

#[test]
fn a_running_job_may_finish_while_draining() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.step(Input::Stop(How::Drain)), []);
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(desk.exit(FIRST), [finish(1, FIRST, End::Returned)]);
    assert!(desk.pool.is_gone());
}

#[test]
fn a_reused_process_is_asked_to_quit_after_its_last_job() {
    let mut desk = Desk::running(0, ticket(1));
    let _ = desk.step(Input::Stop(How::Drain));
    let end = finish(1, FIRST, End::Returned);
    assert_eq!(desk.link(FIRST, RETURNED), [end, Action::Quit(FIRST)]);
}

#[test]
fn when_the_grace_is_over_running_jobs_are_stopped_and_released() {
    let long = Ticket {
        timeout: ms(60_000),
        ..ticket(1)
    };
    let mut desk = Desk::running(1, long);
    let _ = desk.step(Input::Stop(How::Drain));
    assert_eq!(desk.wake(ms(2_000)), [TERM]);
    assert_eq!(desk.wake(ms(200)), [KILL]);
    assert_eq!(desk.exit(FIRST), [finish(1, FIRST, End::Released)]);
    assert!(desk.pool.is_gone());
}

#[test]
fn a_second_stop_stops_now() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.step(Input::Stop(How::Drain)), []);
    assert_eq!(desk.step(Input::Stop(How::Drain)), [TERM]);
    assert_eq!(desk.step(Input::Stop(How::Now)), []);
}

#[test]
fn a_result_counts_while_stopping_and_an_error_does_not() {
    let ends = [(RETURNED, End::Returned), (FAILED, End::Released)];
    for (answer, end) in ends {
        let mut desk = Desk::running(1, ticket(1));
        assert_eq!(desk.step(Input::Stop(How::Now)), [TERM]);
        assert_eq!(desk.link(FIRST, answer), [Action::Quit(FIRST)]);
        assert_eq!(desk.exit(FIRST), [finish(1, FIRST, end)]);
    }
}

#[test]
fn a_process_that_is_still_being_forked_is_asked_to_quit_when_it_is_there() {
    let mut desk = Desk::new(1, 1);
    assert_eq!(desk.step(Input::Stop(How::Drain)), []);
    assert!(!desk.pool.is_gone());
    assert_eq!(desk.step(Input::Spawned(FIRST)), [Action::Quit(FIRST)]);
    assert_eq!(
        desk.link(FIRST, LinkEvent::Ready),
        [],
        "it had not read the end yet"
    );
    assert_eq!(desk.wake(ms(500)), [KILL]);
    assert_eq!(desk.exit(FIRST), []);
    assert!(desk.pool.is_gone());
}

#[test]
fn a_fork_that_never_comes_does_not_keep_the_pool() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::Stop(How::Now));
    assert_eq!(desk.pass(ms(5_000)), []);
    assert!(desk.pool.is_gone());
}

#[test]
fn a_resting_slot_is_gone_at_once() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::SpawnFailed(FIRST));
    assert_eq!(desk.step(Input::Stop(How::Drain)), []);
    assert!(desk.pool.is_gone());
}
