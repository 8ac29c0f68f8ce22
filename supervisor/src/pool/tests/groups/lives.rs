//! When the processes of groups come and go.

use super::*;

#[test]
fn the_floor_is_filled_before_there_is_any_job_and_nothing_else_is() {
    for floor in 0..=2_u16 {
        let mut desk = Desk::with(|limits| Limits {
            groups: 3,
            group_floor: floor,
            threads: LANE_MOST,
            async_tasks: LANE_MOST,
            ..limits
        });
        let groups = |desk: &Desk| desk.first.len() - 1;
        assert_eq!(groups(&desk), usize::from(floor));
        assert_eq!(desk.pass(ms(1)), []);
    }
}

#[test]
fn an_idle_group_above_the_floor_goes_after_ten_seconds() {
    let mut desk = desk(2, 1);
    let (kept, spare) = (seat(1, 1), seat(2, 3));
    desk.make_ready(kept);
    let spawned = offer(&mut desk, threads(0..3));
    assert_eq!(spawned.last(), Some(&Action::Spawn(spare, 0)));
    desk.make_ready(spare);
    for (seat, id) in [(kept, 0), (kept, 1), (spare, 2)] {
        let _ = answered(&mut desk, seat, id);
        desk.now += ms(1_000);
    }
    // The first one is idle for longer.
    assert_eq!(desk.wake(ms(8_000)), [Action::Quit(kept)]);
    assert_eq!(desk.exit(kept), []);
    assert_eq!(desk.pass(ms(60_000)), []);
}

#[test]
fn a_job_keeps_its_group_from_going() {
    let mut desk = desk(1, 0);
    let group = seat(1, 2);
    let _ = offer(&mut desk, threads(0..1));
    desk.make_ready(group);
    let _ = answered(&mut desk, group, 0);
    desk.now += ms(9_000);
    let again = Ticket {
        timeout: ms(100_000),
        ..of(Lane::Thread, 1)
    };
    assert_eq!(sends(&offer(&mut desk, [again])), [(1, 1)]);
    assert_eq!(desk.pass(ms(20_000)), []);
    let _ = answered(&mut desk, group, 1);
    assert_eq!(desk.wake(ms(10_000)), [Action::Quit(group)]);
}

#[test]
fn a_group_that_nobody_came_for_goes_as_long_after_it_was_ready() {
    let mut desk = desk(1, 0);
    let first = seat(1, 2);
    let _ = offer(&mut desk, threads(0..1));
    desk.make_ready(first);
    let _ = answered(&mut desk, first, 0);
    desk.now += ms(5_000);
    assert_eq!(desk.exit(first), []);
    assert_eq!(desk.wake(ms(100)), [], "its rest is over");
    let second = seat(1, 3);
    let spawned = offer(&mut desk, threads(1..2));
    assert_eq!(spawned, [Action::Spawn(second, 0)]);
    let _ = desk.step(Input::Revoked(TicketId(1)));
    desk.make_ready(second);
    assert_eq!(desk.wake(ms(10_000)), [Action::Quit(second)]);
}

#[test]
fn after_an_answer_the_next_death_is_a_first_one() {
    let (mut desk, group) = ready();
    assert_eq!(desk.exit(group), []);
    let second = seat(1, 3);
    assert_eq!(desk.wake(ms(100)), [Action::Spawn(second, 0)]);
    desk.make_ready(second);
    let _ = offer(&mut desk, threads(0..1));
    let _ = answered(&mut desk, second, 0);
    assert_eq!(desk.exit(second), []);
    assert_eq!(desk.wake(ms(100)), [Action::Spawn(seat(1, 4), 0)]);
}

#[test]
fn of_several_idle_groups_the_floor_stays() {
    let mut desk = desk(3, 1);
    let groups = [seat(1, 1), seat(2, 3), seat(3, 4)];
    desk.make_ready(groups[0]);
    let _ = offer(&mut desk, threads(0..6));
    for group in &groups[1..] {
        desk.make_ready(*group);
    }
    for id in 0..6 {
        let group = groups[usize::try_from(id / 2).unwrap()];
        let _ = answered(&mut desk, group, id);
    }
    let gone = [Action::Quit(groups[0]), Action::Quit(groups[1])];
    assert_eq!(desk.wake(ms(10_000)), gone);
}

#[test]
fn a_group_taken_down_by_its_jobs_is_replaced_without_a_rest() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..2));
    let next = desk.exit(group);
    assert_eq!(next[0], finish(0, group, End::Displaced));
    assert_eq!(next[1], finish(1, group, End::Displaced));
    assert_eq!(next[2], Action::Spawn(seat(1, 3), 0));
}

#[test]
fn a_stop_waits_for_files_no_longer_than_for_a_kill() {
    let (mut desk, group) = ready();
    let _ = desk.link(group, LinkEvent::Exited);
    let _ = desk.step(Input::Swept(group, Sweep::Files));
    let slot = seat(0, 2);
    let _ = desk.step(Input::Stop(How::Drain));
    let _ = desk.exit(slot);
    let _ = desk.step(Input::Stop(How::Now));
    assert_eq!(desk.wake(ms(5_000)), []);
    assert!(desk.pool.is_gone());
}

#[test]
fn a_pool_whose_slots_are_gone_drains_and_lets_its_groups_finish() {
    let (mut desk, group) = ready();
    let _ = offer(&mut desk, threads(0..1));
    let slot = seat(0, 2);
    let _ = desk.link(slot, LinkEvent::Exited);
    let _ = desk.step(Input::Swept(slot, Sweep::Unkillable));
    assert!(desk.pool.is_draining());
    let last = answered(&mut desk, group, 0);
    assert_eq!(last, [finish(0, group, End::Returned), Action::Quit(group)]);
}

#[test]
fn the_pool_drains_when_some_jobs_would_never_find_a_place_again() {
    for (is_alone, slot) in [(false, 1), (true, 2)] {
        let mut desk = desk(1, 0);
        let group = seat(slot, 2);
        let one = Ticket {
            is_alone,
            ..of(Lane::Thread, 0)
        };
        let _ = offer(&mut desk, [one]);
        desk.make_ready(group);
        let _ = desk.link(group, LinkEvent::Exited);
        assert!(!desk.pool.is_draining());
        let last = desk.step(Input::Swept(group, Sweep::Unkillable));
        assert_eq!(last[0], finish(0, group, End::Unkillable));
        assert!(desk.pool.is_draining());
    }
}

#[test]
fn a_group_in_trouble_has_room_for_one_to_try_it_with() {
    let (mut desk, group) = ready();
    assert_eq!(desk.exit(group), [], "it rests");
    let spawn = desk.wake(ms(100));
    assert_eq!(spawn, [Action::Spawn(seat(1, 3), 0)], "for the floor");
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 0);
    desk.make_ready(seat(1, 3));
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 2);
}

#[test]
fn a_vacant_group_that_was_in_trouble_is_tried_with_one() {
    let mut desk = desk(1, 0);
    let _ = offer(&mut desk, threads(0..1));
    let group = seat(1, 2);
    let _ = desk.step(Input::SpawnFailed(group));
    let again = seat(1, 3);
    assert_eq!(desk.wake(ms(100)), [Action::Spawn(again, 0)]);
    let given_back = [Action::Release(TicketId(0))];
    assert_eq!(desk.step(Input::SpawnFailed(again)), given_back);
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 0);
    assert_eq!(desk.wake(ms(200)), []);
    assert_eq!(desk.pool.room_in_groups(Lane::Thread, desk.now), 1);
}
