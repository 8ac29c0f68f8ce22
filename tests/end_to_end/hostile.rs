//! Tasks that attack the supervisor: it survives, and its other jobs end well.

use std::fs;

use bulkhead_tests::cli::Place;
use bulkhead_tests::namespace::{ProcessLimit, can_make_namespaces};
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, burst, ended, once, place_of, submit, with};

/// Runs `attack` beside honest jobs, before and after; the attacker's status.
fn survives(place: &Place, mut supervisor: Supervisor<'_>, attack: Value) -> Value {
    let honest = [once("who_am_i", json!([])), once("flaky", json!([0]))];
    let all = [&honest[..], &[attack], &honest[..]].concat();
    let jobs = submit(place, &all);
    let mut statuses = ended(place, &jobs);
    let after = ended(place, &submit(place, &honest));
    let attacker = statuses.remove(honest.len());
    for status in statuses.iter().chain(&after) {
        assert_eq!(
            Verdict::of(status),
            Verdict::succeeded(),
            "{status:#}\n{}",
            supervisor.log()
        );
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let log = supervisor.log();
    assert!(!log.contains("panicked"), "{log}");
    attacker
}

fn attacked_by(who: Who, attack: Value) -> Value {
    let place = place_of(who);
    let arguments = [
        "--processes",
        "2",
        "--patience",
        "200ms",
        "--memory",
        "64MiB",
    ];
    let supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(arguments)
        .start();
    survives(&place, supervisor, attack)
}

fn attacked(attack: Value) -> Value {
    attacked_by(Who::Root, attack)
}

fn broke_protocol(status: &Value, how: &str) {
    assert_eq!(
        (&status["cause"], &status["error"]["name"]),
        (&json!("protocol"), &json!("protocol")),
        "{status:#}"
    );
    let text = status["error"]["text"].as_str().unwrap();
    assert!(text.contains(how), "{text}");
}

#[test]
fn an_answer_for_another_call_breaks_the_protocol() {
    let status = attacked(once("forge", json!([])));
    broke_protocol(&status, "answered for a call that is not its own");
}

#[test]
fn of_several_answers_the_first_counts() {
    let place = Place::new();
    let job = submit(&place, &[once("answer_twice", json!([]))]).remove(0);
    let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    assert_eq!(place.returned(&job), json!("first"));
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_process_that_answers_twice_serves_no_other_job() {
    let place = Place::new();
    let lines = [
        once("answer_twice", json!([])),
        once("answer_twice", json!([])),
    ];
    let jobs = submit(&place, &lines);
    let arguments = ["--tasks-per-process", "0", "--processes", "1"];
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(arguments)
        .start();
    let statuses = ended(&place, &jobs);
    assert_eq!(Verdict::of(&statuses[0]), Verdict::succeeded());
    // The second job may have been sent before the second answer was read: then its process broke
    // the protocol under it.
    let is_same = statuses[0]["pid"] == statuses[1]["pid"];
    assert!(
        !is_same || statuses[1]["cause"] == "protocol",
        "{statuses:#?}"
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_frame_that_claims_four_gigabytes_is_not_waited_for() {
    let status = attacked(once("long_frame", json!([u32::MAX])));
    broke_protocol(&status, "over the limit");
}

#[test]
fn a_frame_within_the_limit_that_means_nothing_breaks_the_protocol() {
    let status = attacked(once("long_frame", json!([1 << 20])));
    assert_eq!(status["cause"], "protocol", "{status:#}");
}

#[test]
fn garbage_breaks_the_protocol() {
    let place = Place::new();
    let lines = [
        once("add", json!([1, 1])),
        once("garbage", json!([])),
        once("add", json!([2, 2])),
    ];
    let statuses = burst(&place, &["--processes", "1"], &lines);
    assert_eq!(statuses[1]["cause"], "protocol", "{:#}", statuses[1]);
    for honest in [&statuses[0], &statuses[2]] {
        assert_eq!(Verdict::of(honest), Verdict::succeeded());
    }
}

#[test]
fn progress_over_its_limit_breaks_the_protocol() {
    let status = attacked(once("long_progress", json!([65, 1])));
    broke_protocol(&status, "over the limit of 64 KiB");
}

#[test]
fn a_flood_of_progress_is_one_status() {
    let status = attacked(once("long_progress", json!([64, 2000])));
    assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
}

#[test]
fn of_a_failure_of_megabytes_a_little_is_kept() {
    let status = attacked(once("long_failure", json!([1 << 20])));
    let length = |key: &str| status["error"][key].as_str().unwrap().len();
    let kept = (length("name"), length("text"), length("traceback"));
    assert_eq!(kept, (256, 64 << 10, 64 << 10));
}

#[test]
fn a_task_that_says_its_sandbox_could_not_be_set_up_breaks_the_protocol() {
    let place = Place::new();
    let supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    let status = survives(&place, supervisor, once("unfit", json!([10_000])));
    broke_protocol(&status, "out of turn");
}

#[test]
fn a_task_that_closes_its_result_pipe_and_hangs_is_killed_after_its_patience() {
    let status = attacked(once("close_results", json!([])));
    broke_protocol(&status, "closed its result pipe without an answer");
    assert_eq!(status["error"]["signal"], "SIGKILL", "{status:#}");
}

#[test]
fn a_grandchild_that_holds_the_pipes_delays_nothing_and_does_not_live_on() {
    for who in [Who::Root, Who::User] {
        let status = attacked_by(who, once("hold_pipes", json!([])));
        assert_eq!(Verdict::of(&status), Verdict::succeeded(), "{status:#}");
    }
}

#[test]
fn a_task_that_stops_itself_is_ended_at_its_deadline() {
    let attack = with(once("stop_itself", json!([false])), "timeout", "300ms");
    let status = attacked(attack);
    assert_eq!(status["cause"], "timeout", "{status:#}");
}

#[test]
fn a_task_that_stops_itself_and_ignores_sigterm_is_ended_at_its_deadline() {
    for who in [Who::Root, Who::User] {
        let attack = with(once("stop_itself", json!([true])), "timeout", "300ms");
        let status = attacked_by(who, attack);
        let expected = Verdict::failed("timeout", "timeout").by_signal("SIGKILL");
        assert_eq!(Verdict::of(&status), expected, "{status:#}");
    }
}

#[test]
fn a_task_that_exits_while_its_own_child_traces_it_is_ended_with_that_child() {
    for who in [Who::Root, Who::User] {
        let attack = with(once("die_traced", json!([])), "timeout", "3s");
        let status = attacked_by(who, attack);
        // Where an init stands above it, that learns of it no sooner than the deadline.
        let isolation = status["isolation"].as_str().unwrap();
        let causes: &[&str] = match isolation.contains("process: cgroup") {
            true => &["crash"],
            false => &["crash", "timeout"],
        };
        let cause = status["cause"].as_str().unwrap();
        assert!(causes.contains(&cause), "{status:#}");
    }
}

#[test]
fn a_task_that_blocks_all_signals_is_ended_at_its_deadline() {
    let attack = with(once("block_signals", json!([])), "timeout", "300ms");
    let expected = Verdict::failed("timeout", "timeout").by_signal("SIGKILL");
    assert_eq!(Verdict::of(&attacked(attack)), expected);
}

#[test]
fn a_tree_deeper_than_any_path_is_removed_before_the_verdict() {
    let place = Place::new();
    let lines = [once("deep_tree", json!([3000]))];
    let arguments = ["--processes", "1"];
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(arguments)
        .start();
    let status = place.ended(&jobs[0]);
    assert_eq!(
        Verdict::of(&status),
        Verdict::succeeded(),
        "{status:#}\n{}",
        supervisor.log()
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    assert_eq!(place.runs_left(), 0);
}

#[test]
fn what_a_task_leaves_in_tmpdir_is_removed_and_no_link_is_followed() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let precious = place.path("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "kept").unwrap();
        let line = once("fill_tmp", json!([2000, precious]));
        let job = submit(&place, &[line]).remove(0);
        let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
        let status = place.ended(&job);
        assert_eq!(
            Verdict::of(&status),
            Verdict::succeeded(),
            "{status:#}\n{}",
            supervisor.log()
        );
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
        assert_eq!(place.runs_left(), 0);
    }
}

#[test]
fn a_home_that_takes_long_to_remove_after_a_process_was_left_behind_costs_no_slot() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let lines = [0; 3].map(|_| once("litter", json!([400])));
        let jobs = submit(&place, &lines);
        let mut supervisor = Supervisor::at(&place)
            .tasks_of("hostile-child")
            .args(["--processes", "1"])
            .start();
        for status in ended(&place, &jobs) {
            let log = supervisor.log();
            assert_eq!(
                Verdict::of(&status),
                Verdict::succeeded(),
                "{status:#}\n{log}"
            );
        }
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        assert_eq!(place.runs_left(), 0);
    }
}

#[test]
fn a_task_can_neither_raise_its_limits_nor_kill_who_started_it() {
    let place = Place::new();
    let lines = [
        once("raise_limits", json!([])),
        once("kill_parent", json!([])),
    ];
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    let raised = place.returned(&jobs[0]);
    let killed = place.returned(&jobs[1]);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    if nix::unistd::geteuid().is_root() {
        assert_eq!(raised, json!([]));
        assert_eq!(killed, json!("EPERM: Operation not permitted"));
    }
}

#[test]
fn a_memory_bomb_hurts_only_itself() {
    let place = Place::new();
    let lines = [
        once("add", json!([1, 1])),
        once("allocate", json!([100_000])),
        once("allocate", json!([100_000])),
        once("add", json!([2, 2])),
    ];
    let statuses = burst(&place, &["--processes", "2", "--memory", "64MiB"], &lines);
    for (status, is_bomb) in statuses.iter().zip([false, true, true, false]) {
        let cause = if is_bomb {
            json!("out-of-memory")
        } else {
            Value::Null
        };
        assert_eq!(status["cause"], cause, "{status:#}");
    }
}

#[test]
fn a_fork_bomb_is_swept_away_at_its_deadline() {
    for who in [Who::Root, Who::User] {
        // Only in a box: a pid namespace that dies with its first process, and few processes.
        let Some(limit) = can_make_namespaces()
            .then(|| ProcessLimit::new(100))
            .flatten()
        else {
            return;
        };
        let place = place_of(who);
        let arguments = ["--processes", "2", "--patience", "200ms"];
        let supervisor = Supervisor::at(&place)
            .tasks_of("hostile-child")
            .args(arguments)
            .as_pid_1()
            .limited(&limit)
            .start();
        let attack = with(once("fork_bomb", json!([])), "timeout", "500ms");
        let status = survives(&place, supervisor, attack);
        assert_eq!(status["cause"], "timeout", "{status:#}");
    }
}
