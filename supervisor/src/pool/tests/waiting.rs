//! Who goes where, who waits, and who is given back.

use super::*;

const FIRST: Seat = Seat {
    slot: 0,
    generation: 1,
};

fn of(profile: u16, kind: u32, id: u64) -> Ticket {
    Ticket {
        profile,
        kind: Some(kind),
        ..ticket(id)
    }
}

fn send(seat: Seat, id: u64) -> Action {
    Action::Send(seat, TicketId(id))
}

fn release(id: u64) -> Action {
    Action::Release(TicketId(id))
}

#[test]
fn tickets_go_out_in_the_order_they_came() {
    let mut desk = Desk::ready(1, 0);
    let three = vec![ticket(1), ticket(2), ticket(3)];
    assert_eq!(desk.step(Input::Offered(three)), [send(FIRST, 1)]);
    assert_eq!(desk.link(FIRST, RETURNED)[1], send(FIRST, 2));
    assert_eq!(desk.link(FIRST, RETURNED)[1], send(FIRST, 3));
}

#[test]
fn an_idle_process_of_another_profile_is_replaced_without_a_rest() {
    let mut desk = Desk::ready(1, 1);
    let offered = desk.step(Input::Offered(vec![of(7, 0, 1)]));
    assert_eq!(offered, [Action::Quit(FIRST)]);
    let second = seat(0, 2);
    assert_eq!(desk.exit(FIRST), [Action::Spawn(second, 7)]);
    let _ = desk.step(Input::Spawned(second));
    assert_eq!(desk.link(second, LinkEvent::Ready), [send(second, 1)]);
}

#[test]
fn a_process_that_does_not_quit_when_asked_is_killed_without_a_rest() {
    let mut desk = Desk::ready(1, 1);
    let _ = desk.step(Input::Offered(vec![of(7, 0, 1)]));
    assert_eq!(desk.pass(ms(500)), [Action::Signal(FIRST, Force::Kill)]);
    assert_eq!(desk.exit(FIRST), [Action::Spawn(seat(0, 2), 7)]);
}

#[test]
fn only_as_many_processes_are_replaced_as_tickets_need() {
    let mut desk = Desk::ready(3, 1);
    let offered = desk.step(Input::Offered(vec![of(7, 0, 1)]));
    assert_eq!(offered.len(), 1);
    assert_eq!(desk.pass(ms(10)), []);
}

#[test]
fn a_process_that_served_one_kind_takes_no_other() {
    let mut desk = Desk::running(0, of(0, 1, 1));
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(
        desk.step(Input::Offered(vec![of(0, 2, 2)])),
        [Action::Quit(FIRST)]
    );
    let mut same = Desk::running(0, of(0, 1, 1));
    let _ = same.link(FIRST, RETURNED);
    assert_eq!(
        same.step(Input::Offered(vec![of(0, 1, 2)])),
        [send(FIRST, 2)]
    );
}

#[test]
fn a_ticket_without_a_kind_has_a_process_that_serves_nobody_else() {
    let alone = |id| Ticket {
        kind: None,
        ..ticket(id)
    };
    let mut desk = Desk::running(0, alone(1));
    assert_eq!(desk.link(FIRST, RETURNED)[1], Action::Quit(FIRST));
    let mut used = Desk::running(0, of(0, 1, 1));
    let _ = used.link(FIRST, RETURNED);
    let offered = used.step(Input::Offered(vec![alone(2)]));
    assert_eq!(offered, [Action::Quit(FIRST)]);
}

#[test]
fn younger_tickets_that_fit_may_overtake_but_not_for_long() {
    let mut desk = Desk::running(0, of(0, 1, 1));
    let _ = desk.step(Input::Offered(vec![of(0, 2, 2), of(0, 1, 3), of(0, 1, 4)]));
    desk.now += ms(10);
    assert_eq!(desk.link(FIRST, RETURNED)[1], send(FIRST, 3));
    desk.now += ms(50);
    assert_eq!(desk.link(FIRST, RETURNED)[1], Action::Quit(FIRST));
    let second = seat(0, 2);
    assert_eq!(desk.exit(FIRST), [Action::Spawn(second, 0)]);
    let _ = desk.step(Input::Spawned(second));
    assert_eq!(desk.link(second, LinkEvent::Ready), [send(second, 2)]);
}

#[test]
fn a_profile_that_never_works_takes_one_slot_and_not_all() {
    let mut desk = Desk::ready(2, 1);
    let _ = desk.step(Input::Offered(vec![of(7, 0, 1)]));
    let gone = seat(1, 2);
    assert_eq!(desk.exit(gone), [Action::Spawn(seat(1, 3), 7)]);
    assert_eq!(desk.step(Input::SpawnFailed(seat(1, 3))), []);
    assert_eq!(desk.pool.snapshot().idle, 1);
}

#[test]
fn a_profile_that_has_not_worked_yet_is_tried_in_one_slot_at_a_time() {
    let mut desk = Desk::ready(2, 1);
    let offered = desk.step(Input::Offered(vec![of(7, 0, 1), of(7, 0, 2)]));
    assert_eq!(offered, [Action::Quit(seat(1, 2))]);
    assert_eq!(desk.pass(ms(60)), [], "also not when it has waited");
    assert_eq!(desk.exit(seat(1, 2)), [Action::Spawn(seat(1, 3), 7)]);
    assert_eq!(desk.step(Input::SpawnFailed(seat(1, 3))), []);
    assert_eq!(desk.pool.snapshot().idle, 1);
    // The other slot serves whoever it can.
    let honest = desk.step(Input::Offered(vec![ticket(3)]));
    assert_eq!(honest, [send(FIRST, 3)]);
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(desk.exit(FIRST)[1], Action::Spawn(seat(0, 4), 0));
    assert_eq!(desk.wake(ms(40)), [release(1), release(2)]);
}

#[test]
fn a_profile_that_works_has_as_many_slots_as_it_needs() {
    let mut desk = Desk::ready(3, 1);
    let three = vec![of(7, 0, 1), of(7, 0, 2), of(7, 0, 3)];
    let _ = desk.step(Input::Offered(three));
    assert_eq!(desk.exit(seat(2, 3)), [Action::Spawn(seat(2, 4), 7)]);
    let _ = desk.step(Input::Spawned(seat(2, 4)));
    let ready = desk.link(seat(2, 4), LinkEvent::Ready);
    let quit = |slot| Action::Quit(seat(slot, u64::from(slot) + 1));
    assert_eq!(ready, [send(seat(2, 4), 1), quit(1), quit(0)]);
}

#[test]
fn a_profile_whose_process_died_after_a_job_still_has_the_other_slots() {
    let mut desk = Desk::ready(2, 0);
    let _ = desk.step(Input::Offered(vec![of(7, 0, 1)]));
    let second = seat(1, 3);
    assert_eq!(desk.exit(seat(1, 2)), [Action::Spawn(second, 7)]);
    let _ = desk.step(Input::Spawned(second));
    assert_eq!(desk.link(second, LinkEvent::Ready), [send(second, 1)]);
    let _ = desk.link(second, RETURNED);
    assert_eq!(desk.exit(second), []);
    assert_eq!(desk.pool.snapshot().resting, 1);
    let offered = desk.step(Input::Offered(vec![of(7, 0, 2)]));
    assert_eq!(offered, [Action::Quit(FIRST)]);
}

#[test]
fn a_ticket_without_hope_is_given_back_after_the_hold() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.step(Input::Offered(vec![ticket(2)])), []);
    assert_eq!(desk.wake(ms(100)), [release(2)]);
}

#[test]
fn a_ticket_is_kept_while_a_slow_process_starts_for_it() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::Spawned(FIRST));
    let _ = desk.step(Input::Offered(vec![ticket(1), ticket(2)]));
    assert_eq!(desk.pass(ms(100)), [release(2)], "one process, one ticket");
    assert_eq!(desk.pass(ms(2_000)), []);
    assert_eq!(desk.pool.room(desk.now), 0);
    assert_eq!(desk.link(FIRST, LinkEvent::Ready), [send(FIRST, 1)]);
}

#[test]
fn a_process_that_answered_but_stays_is_no_room_for_long() {
    let mut desk = Desk::running(1, ticket(1));
    desk.now += ms(60);
    assert_eq!(desk.pool.room(desk.now), 0);
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(desk.pool.room(desk.now), 1);
    let _ = desk.step(Input::Offered(vec![ticket(2)]));
    assert_eq!(desk.wake(ms(100)), [release(2)]);
    assert_eq!(desk.pool.room(desk.now), 0);
}

#[test]
fn a_ticket_that_expired_while_it_waited_is_given_back_and_not_sent() {
    let mut desk = Desk::new(1, 1);
    let expires = Some(desk.now + ms(50));
    let _ = desk.step(Input::Offered(vec![Ticket {
        expires,
        ..ticket(1)
    }]));
    assert_eq!(desk.wake(ms(50)), [release(1)]);
}

#[test]
fn a_revoked_ticket_that_waits_is_given_back_and_one_without_a_lease_is_forgotten() {
    let mut desk = Desk::new(1, 1);
    let _ = desk.step(Input::Offered(vec![ticket(1), ticket(2)]));
    assert_eq!(desk.step(Input::Revoked(TicketId(1))), [release(1)]);
    let forgotten = [Action::Forget(TicketId(2))];
    assert_eq!(desk.step(Input::LeaseLost(TicketId(2))), forgotten);
    assert_eq!(desk.step(Input::Revoked(TicketId(2))), []);
}

#[test]
fn short_jobs_make_room_for_as_many_ahead_and_long_ones_for_none() {
    let mut desk = Desk::running(0, ticket(1));
    desk.now += ms(60);
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(desk.pool.room(desk.now), 1, "a long job");
    for id in 2..5 {
        let _ = desk.step(Input::Offered(vec![ticket(id)]));
        desk.now += ms(1);
        let _ = desk.link(FIRST, RETURNED);
    }
    assert_eq!(desk.pool.room(desk.now), 1 + 3);
    assert_eq!(
        desk.pool.room(desk.now + ms(50)),
        1,
        "the window has passed"
    );
}

#[test]
fn what_is_claimed_ahead_has_a_bound() {
    let mut desk = Desk::ready(1, 0);
    for id in 0..100 {
        let _ = desk.step(Input::Offered(vec![ticket(id)]));
        let _ = desk.link(FIRST, RETURNED);
    }
    assert_eq!(desk.pool.room(desk.now), 1 + 64);
}

#[test]
fn jobs_are_claimed_ahead_in_batches() {
    let mut desk = Desk::ready(1, 0);
    for id in 0..16 {
        let _ = desk.step(Input::Offered(vec![ticket(id)]));
        let _ = desk.link(FIRST, RETURNED);
    }
    let _ = desk.step(Input::Offered((20..37).map(ticket).collect()));
    for _ in 0..2 {
        assert_eq!(desk.pool.room(desk.now), 0, "most still wait");
        let _ = desk.link(FIRST, RETURNED);
    }
    assert_eq!(desk.pool.room(desk.now), 4, "a quarter has gone");
}
