//! How jobs end.

use super::*;

const FIRST: Seat = Seat {
    slot: 0,
    generation: 1,
};
const KILL: Action = Action::Signal(FIRST, Force::Kill);
const TERM: Action = Action::Signal(FIRST, Force::Term);

fn next(profile: u16) -> Action {
    Action::Spawn(seat(0, 2), profile)
}

#[test]
fn a_job_ends_only_after_its_process_was_swept_and_the_slot_refills_at_once() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.link(FIRST, RETURNED), []);
    assert_eq!(desk.link(FIRST, LinkEvent::Hangup), []);
    assert_eq!(desk.link(FIRST, LinkEvent::Exited), [Action::Sweep(FIRST)]);
    let end = finish(1, FIRST, End::Returned);
    let swept = desk.step(Input::Swept(FIRST, Sweep::Clean));
    assert_eq!(swept, [end, next(0)]);
}

#[test]
fn a_reused_process_ends_its_job_at_once_and_takes_the_next() {
    let mut desk = Desk::running(2, ticket(1));
    assert_eq!(desk.step(Input::Offered(vec![ticket(2)])), []);
    let sent = Action::Send(FIRST, TicketId(2));
    assert_eq!(
        desk.link(FIRST, FAILED),
        [finish(1, FIRST, End::Failed), sent]
    );
    assert_eq!(
        desk.link(FIRST, RETURNED),
        [],
        "it has served enough and exits"
    );
    assert_eq!(desk.exit(FIRST)[0], finish(2, FIRST, End::Returned));
}

#[test]
fn a_process_that_answered_but_stays_is_killed_and_its_answer_counts() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.link(FIRST, RETURNED);
    assert_eq!(desk.wake(ms(500)), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Returned));
}

#[test]
fn a_job_gets_sigterm_at_its_deadline() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.wake(ms(1_000)), [TERM]);
    assert_eq!(desk.exit(FIRST), [finish(1, FIRST, End::TimedOut), next(0)]);
}

#[test]
fn a_job_that_ignores_sigterm_is_killed_after_its_patience() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.wake(ms(1_000)), [TERM]);
    assert_eq!(desk.wake(ms(200)), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::TimedOut));
}

#[test]
fn the_end_of_the_jobs_whole_life_is_a_deadline_of_its_own() {
    let mut desk = Desk::ready(1, 1);
    let expires = Some(desk.now + ms(300));
    let short = Ticket {
        expires,
        ..ticket(1)
    };
    let _ = desk.step(Input::Offered(vec![short]));
    assert_eq!(desk.wake(ms(300)), [TERM]);
    assert_eq!(desk.link(FIRST, FAILED), [Action::Quit(FIRST)]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Expired));
}

#[test]
fn a_result_after_the_deadline_but_before_the_kill_counts_and_the_process_is_replaced() {
    let mut desk = Desk::running(0, ticket(1));
    let _ = desk.wake(ms(1_000));
    assert_eq!(desk.link(FIRST, RETURNED), [Action::Quit(FIRST)]);
    assert_eq!(desk.exit(FIRST), [finish(1, FIRST, End::Returned), next(0)]);
}

#[test]
fn an_error_after_the_deadline_is_a_timeout() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.wake(ms(1_000));
    let _ = desk.link(FIRST, FAILED);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::TimedOut));
}

#[test]
fn a_result_read_after_the_kill_is_void() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.wake(ms(1_000));
    let _ = desk.wake(ms(200));
    assert_eq!(desk.link(FIRST, RETURNED), []);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::TimedOut));
}

#[test]
fn a_revoked_job_is_stopped_and_ends_revoked_whatever_it_answers() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.step(Input::Revoked(TicketId(1))), [TERM]);
    assert_eq!(desk.link(FIRST, RETURNED), []);
    assert_eq!(desk.wake(ms(200)), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Revoked));
}

#[test]
fn a_revocation_during_the_sweep_still_counts() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.link(FIRST, RETURNED);
    let _ = desk.link(FIRST, LinkEvent::Exited);
    assert_eq!(desk.step(Input::Revoked(TicketId(1))), []);
    let swept = desk.step(Input::Swept(FIRST, Sweep::Clean));
    assert_eq!(swept[0], finish(1, FIRST, End::Revoked));
}

#[test]
fn a_revocation_just_before_the_deadline_does_not_put_the_kill_off() {
    let mut desk = Desk::running(1, ticket(1));
    // The deadline has passed, but the tick has not come yet.
    desk.now += ms(1_100);
    assert_eq!(desk.step(Input::Revoked(TicketId(1))), [TERM]);
    assert_eq!(desk.wake(ms(100)), [KILL]);
}

#[test]
fn a_lost_lease_kills_at_once_and_nothing_is_written() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.step(Input::LeaseLost(TicketId(1))), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Forgotten));
}

#[test]
fn an_answer_given_before_the_lease_was_lost_is_left_for_the_store_to_judge() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.link(FIRST, RETURNED);
    // Its process may have more to do than to exit.
    assert_eq!(desk.step(Input::LeaseLost(TicketId(1))), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Returned));
}

#[test]
fn a_lease_lost_after_the_kill_voids_only_what_was_not_answered() {
    let mut answered = Desk::running(1, ticket(1));
    let _ = answered.link(FIRST, RETURNED);
    assert_eq!(answered.wake(ms(500)), [KILL]);
    assert_eq!(answered.step(Input::LeaseLost(TicketId(1))), []);
    assert_eq!(answered.exit(FIRST)[0], finish(1, FIRST, End::Returned));
    let mut silent = Desk::running(1, ticket(1));
    let _ = silent.wake(ms(1_000));
    let _ = silent.wake(ms(200));
    assert_eq!(silent.step(Input::LeaseLost(TicketId(1))), []);
    assert_eq!(silent.exit(FIRST)[0], finish(1, FIRST, End::Forgotten));
}

#[test]
fn a_process_that_exits_without_an_answer_has_crashed() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.exit(FIRST), [finish(1, FIRST, End::Crashed), next(0)]);
}

#[test]
fn a_process_that_hangs_up_and_exits_has_crashed_and_was_sent_no_signal() {
    let mut desk = Desk::running(1, ticket(1));
    assert_eq!(desk.link(FIRST, LinkEvent::Hangup), []);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Crashed));
}

#[test]
fn a_process_that_hangs_up_and_stays_is_killed_for_it() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.link(FIRST, LinkEvent::Hangup);
    assert_eq!(desk.wake(ms(200)), [KILL]);
    assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Protocol));
}

#[test]
fn garbage_kills_at_once() {
    for garbage in [LinkEvent::Violation, LinkEvent::Ready] {
        let mut desk = Desk::running(1, ticket(1));
        assert_eq!(desk.link(FIRST, garbage), [KILL]);
        assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Protocol));
    }
}

#[test]
fn garbage_after_the_answer_only_hastens_the_end() {
    for garbage in [LinkEvent::Violation, FAILED] {
        let mut desk = Desk::running(1, ticket(1));
        let _ = desk.link(FIRST, RETURNED);
        assert_eq!(desk.link(FIRST, garbage), [KILL]);
        assert_eq!(desk.exit(FIRST)[0], finish(1, FIRST, End::Returned));
    }
}

#[test]
fn a_process_that_survives_sigkill_retires_its_slot() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.wake(ms(1_000));
    let _ = desk.wake(ms(200));
    assert_eq!(desk.wake(ms(5_000)), [finish(1, FIRST, End::Unkillable)]);
    assert!(desk.pool.is_gone());
    assert_eq!(desk.link(FIRST, LinkEvent::Exited), []);
    let late = desk.step(Input::Offered(vec![ticket(2)]));
    assert_eq!(late, [Action::Release(TicketId(2))]);
}

#[test]
fn a_sweep_that_fails_or_hangs_retires_the_slot() {
    let end = [finish(1, FIRST, End::Unkillable)];
    let mut failed = Desk::running(1, ticket(1));
    let _ = failed.link(FIRST, LinkEvent::Exited);
    assert_eq!(failed.step(Input::Swept(FIRST, Sweep::Unkillable)), end);
    let mut hung = Desk::running(1, ticket(1));
    let _ = hung.link(FIRST, LinkEvent::Exited);
    assert_eq!(hung.wake(ms(5_000)), end);
    assert!(failed.pool.is_gone() && hung.pool.is_gone());
}

#[test]
fn many_files_take_longer_than_a_kill_and_do_not_cost_the_slot() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.link(FIRST, RETURNED);
    let _ = desk.link(FIRST, LinkEvent::Exited);
    assert_eq!(desk.step(Input::Swept(FIRST, Sweep::Files)), []);
    assert_eq!(desk.pass(ms(59_999)), []);
    let swept = desk.step(Input::Swept(FIRST, Sweep::Clean));
    assert_eq!(swept[0], finish(1, FIRST, End::Returned));
    assert!(!desk.pool.is_gone());
}

#[test]
fn files_that_are_never_removed_retire_the_slot_and_a_stop_waits_no_longer_than_for_a_kill() {
    let end = [finish(1, FIRST, End::Unkillable)];
    for (stop, wait) in [(None, 60_000), (Some(How::Now), 5_000)] {
        let mut desk = Desk::running(1, ticket(1));
        let _ = desk.link(FIRST, LinkEvent::Exited);
        let _ = desk.step(Input::Swept(FIRST, Sweep::Files));
        if let Some(how) = stop {
            let _ = desk.step(Input::Stop(how));
        }
        assert_eq!(desk.wake(ms(wait)), end);
    }
}

#[test]
fn what_an_old_generation_says_is_ignored() {
    let mut desk = Desk::running(1, ticket(1));
    let _ = desk.exit(FIRST);
    desk.make_ready(seat(0, 2));
    for event in [LinkEvent::Violation, LinkEvent::Exited, RETURNED] {
        assert_eq!(desk.link(FIRST, event), []);
    }
    assert_eq!(desk.pool.snapshot().idle, 1);
}
