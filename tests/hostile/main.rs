//! Tasks for the end-to-end tests: attacks on whoever runs them, and some that wait for a word of
//! the test.
#![deny(unsafe_code)]

mod attack;
mod attacks;
mod crowd;
mod family;
mod hooked;
mod lasting;
mod order;
mod submitting;
#[expect(unsafe_code, reason = "an attack keeps to no rules")]
mod sys;
mod wait;
mod wire;

use std::process::ExitCode;

use bulkhead_child::tasks;

fn main() -> ExitCode {
    bulkhead_child::run(tasks![
        attacks::attack,
        attacks::attempt,
        attack::block_signals,
        attack::deep_tree,
        attack::die_traced,
        attack::fill_tmp,
        attack::fork_bomb,
        attack::hold_pipes,
        attack::impostor,
        attack::kill_parent,
        attack::litter,
        attack::raise_limits,
        attack::stop_itself,
        crowd::crowd_close,
        crowd::crowd_escape,
        crowd::crowd_exit,
        crowd::crowd_forge,
        crowd::crowd_garbage,
        crowd::crowd_hang,
        crowd::crowd_nap,
        crowd::crowd_overflow,
        crowd::crowd_print,
        crowd::crowd_report,
        crowd::crowd_segv,
        crowd::crowd_stop,
        family::family,
        hooked::hooked,
        lasting::doze,
        lasting::journey,
        lasting::odd_calls,
        lasting::pilgrimage,
        lasting::stubborn,
        lasting::toil,
        lasting::wander,
        order::order,
        submitting::adder,
        submitting::apart,
        submitting::apart_again,
        submitting::apart_async,
        submitting::apart_in_steps,
        submitting::courier,
        submitting::peek,
        submitting::total,
        wait::burn,
        wait::environment,
        wait::flaky,
        wait::hold,
        wait::late,
        wait::lodge,
        wait::long,
        wait::measure,
        wait::patient,
        wait::secret,
        wait::step,
        wait::who_am_i,
        wait::wound,
        wire::answer_twice,
        wire::ask_and_go,
        wire::ask_for_another,
        wire::close_results,
        wire::crowd,
        wire::flood_of_asks,
        wire::forge,
        wire::long_failure,
        wire::long_frame,
        wire::long_progress,
        wire::odd_asks,
        wire::unfit,
    ])
}
