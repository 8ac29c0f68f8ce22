//! Groups: who gets a place in them, and how those inside end.

mod lives;

use super::*;

const LANE_MOST: u16 = 2;

/// One slot, whose process is ready, and so many groups.
fn desk(groups: u16, group_floor: u16) -> Desk {
    let mut desk = Desk::with(|limits| Limits {
        groups,
        group_floor,
        threads: LANE_MOST,
        async_tasks: LANE_MOST,
        ..limits
    });
    desk.make_ready(seat(0, u64::from(group_floor) + 1));
    desk
}

/// One group, whose process (generation 1) is ready.
fn ready() -> (Desk, Seat) {
    let mut desk = desk(1, 1);
    let group = seat(1, 1);
    desk.make_ready(group);
    (desk, group)
}

fn of(lane: Lane, id: u64) -> Ticket {
    Ticket { lane, ..ticket(id) }
}

fn alone(id: u64) -> Ticket {
    Ticket {
        is_alone: true,
        ..of(Lane::Thread, id)
    }
}

fn offer(desk: &mut Desk, tickets: impl IntoIterator<Item = Ticket>) -> Vec<Action> {
    desk.step(Input::Offered(tickets.into_iter().collect()))
}

fn threads(ids: std::ops::Range<u64>) -> impl Iterator<Item = Ticket> {
    ids.map(|id| of(Lane::Thread, id))
}

fn sends(actions: &[Action]) -> Vec<(u16, u64)> {
    let send = |action: &Action| match action {
        Action::Send(seat, id) => Some((seat.slot, id.0)),
        _ => None,
    };
    actions.iter().filter_map(send).collect()
}

fn answered(desk: &mut Desk, seat: Seat, id: u64) -> Vec<Action> {
    desk.step(Input::Answered(seat, TicketId(id), Answer::Returned))
}

#[test]
fn as_many_groups_start_as_there_are_jobs_for() {
    let mut desk = desk(3, 0);
    assert_eq!(
        offer(&mut desk, threads(0..2)),
        [Action::Spawn(seat(1, 2), 0)]
    );
    // Another lane has places of its own in that group.
    assert_eq!(offer(&mut desk, [of(Lane::Async, 2)]), []);
    assert_eq!(
        offer(&mut desk, threads(3..4)),
        [Action::Spawn(seat(2, 3), 0)]
    );
    assert_eq!(desk.step(Input::Spawned(seat(1, 2))), []);
    let sent = desk.link(seat(1, 2), LinkEvent::Ready);
    assert_eq!(sends(&sent), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_full_lane_keeps_no_other_waiting() {
    let (mut desk, _) = ready();
    let mut all: Vec<_> = threads(0..3).collect();
    all.extend([of(Lane::Async, 3), of(Lane::Main, 4), of(Lane::Main, 5)]);
    let sent = offer(&mut desk, all);
    assert_eq!(sends(&sent), [(1, 0), (1, 1), (1, 3), (1, 4)]);
}

#[test]
fn each_lane_has_room_for_what_it_can_take() {
    let (mut desk, group) = ready();
    let room = |desk: &Desk, lane| desk.pool.room_in_groups(lane, desk.now);
    let _ = offer(&mut desk, [of(Lane::Thread, 0)]);
    assert_eq!(room(&desk, Lane::Thread), 1);
    assert_eq!(room(&desk, Lane::Async), 2);
    assert_eq!(room(&desk, Lane::Main), 1);
    assert_eq!(room(&desk, Lane::Process), 0);
    // Of short jobs that end, as many are claimed ahead.
    let _ = answered(&mut desk, group, 0);
    assert_eq!(room(&desk, Lane::Thread), 3);
    assert_eq!(room(&desk, Lane::Async), 2);
    desk.now += ms(50);
    assert_eq!(room(&desk, Lane::Thread), 2);
    // While one is asked to stop there is none.
    let _ = offer(&mut desk, [of(Lane::Thread, 1)]);
    let _ = desk.step(Input::Revoked(TicketId(1)));
    assert_eq!(room(&desk, Lane::Async), 0);
}

#[test]
fn who_waits_takes_from_the_room() {
    let mut desk = desk(1, 0);
    let _ = offer(&mut desk, threads(0..1));
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 1);
    assert_eq!(desk.pool.room_in_groups(Lane::Async, desk.now), 2);
    let _ = offer(&mut desk, threads(1..4));
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 0);
}

#[test]
fn who_finds_no_place_is_given_back_after_the_hold() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, threads(0..3));
    assert_eq!(desk.pass(ms(99)), []);
    assert_eq!(desk.wake(ms(1)), [Action::Release(TicketId(2))]);
}

#[test]
fn who_expires_while_waiting_is_given_back_then() {
    let mut desk = desk(1, 0);
    let life = Ticket {
        expires: Some(desk.now + ms(30)),
        ..of(Lane::Thread, 0)
    };
    let _ = offer(&mut desk, [life]);
    assert_eq!(desk.wake(ms(30)), [Action::Release(TicketId(0))]);
}

#[test]
fn those_who_ride_alone_have_a_group_of_their_own_one_after_the_other() {
    let (mut desk, _) = ready();
    let lone = seat(2, 3);
    assert_eq!(
        offer(&mut desk, [alone(0), alone(1)]),
        [Action::Spawn(lone, 0)]
    );
    assert_eq!(desk.step(Input::Spawned(lone)), []);
    assert_eq!(sends(&desk.link(lone, LinkEvent::Ready)), [(2, 0)]);
    // The second waits for as long as it takes, others do not wait for it.
    assert_eq!(sends(&offer(&mut desk, threads(2..3))), [(1, 2)]);
    assert_eq!(desk.pass(ms(900)), []);
    assert_eq!(sends(&answered(&mut desk, lone, 0)), [(2, 1)]);
    let _ = answered(&mut desk, lone, 1);
    assert_eq!(desk.wake(ms(100)).len(), 1, "the thread's deadline");
    let _ = answered(&mut desk, seat(1, 1), 2);
    assert_eq!(desk.wake(ms(9_900)), [Action::Quit(lone)]);
}

#[test]
fn of_those_who_wait_to_ride_alone_there_are_so_many_and_no_more() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, (0..66).map(alone));
    let lone = seat(2, 3);
    desk.make_ready(lone);
    assert_eq!(desk.pass(ms(100)), [Action::Release(TicketId(65))]);
}

#[test]
fn a_lone_group_that_is_never_there_holds_nobody() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, [alone(0)]);
    assert_eq!(desk.step(Input::SpawnFailed(seat(2, 3))), []);
    let again = seat(2, 4);
    assert_eq!(desk.wake(ms(100)), [Action::Spawn(again, 0)]);
    let given_back = [Action::Release(TicketId(0))];
    assert_eq!(desk.step(Input::SpawnFailed(again)), given_back);
}

#[test]
fn a_job_that_hung_up_is_killed_at_its_own_last_moment() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..1));
    desk.now += ms(900);
    assert_eq!(desk.link(group, LinkEvent::Hangup), []);
    // Not 500 ms later, as if nobody rode in it.
    assert_eq!(desk.wake(ms(300)), [Action::Signal(group, Force::Kill)]);
    assert_eq!(
        desk.exit(group)[0],
        finish(0, group, End::Protocol),
        "its deadline is not to blame"
    );
}

#[test]
fn a_lease_that_is_lost_kills_a_group_that_hung_up_at_once() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..2));
    assert_eq!(desk.link(group, LinkEvent::Hangup), []);
    let lost = desk.step(Input::LeaseLost(TicketId(0)));
    assert_eq!(lost, [Action::Signal(group, Force::Kill)]);
    let ends = desk.exit(group);
    assert_eq!(ends[0], finish(0, group, End::Forgotten));
    assert_eq!(ends[1], finish(1, group, End::Displaced));
}

#[test]
fn a_deadline_that_comes_while_the_process_dies_of_another_is_not_held_against_a_job() {
    let (mut desk, group) = ready();
    let short = Ticket {
        timeout: ms(100),
        ..of(Lane::Thread, 0)
    };
    let next = Ticket {
        timeout: ms(301),
        ..of(Lane::Thread, 1)
    };
    let _ = offer(&mut desk, [short, next]);
    assert_eq!(desk.wake(ms(100)), [Action::Halt(group, TicketId(0))]);
    assert_eq!(desk.wake(ms(200)), [Action::Signal(group, Force::Kill)]);
    assert_eq!(desk.pass(ms(10)), []);
    let ends = desk.exit(group);
    assert_eq!(ends[0], finish(0, group, End::TimedOut));
    assert_eq!(ends[1], finish(1, group, End::Displaced));
}

#[test]
fn a_drain_lets_jobs_finish_and_their_group_go_with_the_last() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..2));
    assert_eq!(
        desk.step(Input::Stop(How::Drain)),
        [Action::Quit(seat(0, 2))]
    );
    assert_eq!(
        answered(&mut desk, group, 0),
        [finish(0, group, End::Returned)]
    );
    let last = answered(&mut desk, group, 1);
    assert_eq!(last, [finish(1, group, End::Returned), Action::Quit(group)]);
}

#[test]
fn a_stop_asks_all_and_takes_what_returns() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..2));
    let asked = desk.step(Input::Stop(How::Now));
    assert_eq!(
        asked[1..],
        [
            Action::Halt(group, TicketId(0)),
            Action::Halt(group, TicketId(1))
        ]
    );
    assert_eq!(
        answered(&mut desk, group, 0)[0],
        finish(0, group, End::Returned)
    );
    let failed = desk.step(Input::Answered(group, TicketId(1), Answer::Failed));
    assert_eq!(failed[0], finish(1, group, End::Released));
}

#[test]
fn a_revocation_overrules_a_deadline() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..1));
    assert_eq!(desk.wake(ms(1_000)), [Action::Halt(group, TicketId(0))]);
    assert_eq!(desk.step(Input::Revoked(TicketId(0))), []);
    assert_eq!(
        answered(&mut desk, group, 0),
        [finish(0, group, End::Revoked)]
    );
}

#[test]
fn a_revoked_job_has_its_patience_from_then_on() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..1));
    desk.now += ms(100);
    assert_eq!(
        desk.step(Input::Revoked(TicketId(0))),
        [Action::Halt(group, TicketId(0))]
    );
    assert_eq!(desk.wake(ms(200)), [Action::Signal(group, Force::Kill)]);
}

#[test]
fn a_late_look_at_a_deadline_gives_no_more_patience() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..1));
    assert_eq!(desk.pass(ms(1_150)), [Action::Halt(group, TicketId(0))]);
    assert_eq!(desk.wake(ms(50)), [Action::Signal(group, Force::Kill)]);
}

#[test]
fn who_waits_to_ride_alone_in_a_group_that_is_late_is_given_back() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, [alone(0)]);
    assert_eq!(desk.pass(ms(2_999)), []);
    assert_eq!(desk.wake(ms(1)), [Action::Release(TicketId(0))]);
}

#[test]
fn those_who_wait_to_ride_alone_take_no_room_from_others() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, (0..9).map(alone));
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 2);
}

#[test]
fn a_full_lane_does_not_hold_who_rides_alone() {
    let (mut desk, _) = ready();
    let _ = offer(&mut desk, [alone(0)]);
    let lone = seat(2, 3);
    let _ = desk.step(Input::Spawned(lone));
    let _ = desk.link(lone, LinkEvent::Ready);
    let _ = answered(&mut desk, lone, 0);
    let tickets = threads(1..4).chain([alone(4)]);
    let sent = offer(&mut desk, tickets);
    assert_eq!(sends(&sent), [(1, 1), (1, 2), (2, 4)]);
}

#[test]
fn jobs_are_claimed_ahead_in_batches() {
    let (mut desk, group) = ready();
    for id in 0..20 {
        let _ = offer(&mut desk, threads(id..id + 1));
        let _ = answered(&mut desk, group, id);
    }
    let room = |desk: &Desk| desk.pool.room_in_groups(Lane::Thread, desk.now);
    assert_eq!(room(&desk), 22);
    // Two are sent, and of those ahead a quarter may be missing before more are claimed.
    let _ = offer(&mut desk, threads(20..38));
    assert_eq!(room(&desk), 0);
    let _ = answered(&mut desk, group, 20);
    assert_eq!(room(&desk), 6);
}
