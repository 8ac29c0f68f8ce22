//! One job against the others of its group: the guilty one gets its verdict, its neighbours end as
//! if nothing had been.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use bulkhead_tests::{ignores_term, until};
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, ended, once, place_of, submit, with};

const EIGHT: [&str; 6] = ["--groups", "1", "--threads", "8", "--processes", "1"];

fn attempts(status: &Value) -> usize {
    status["attempts"].as_array().unwrap().len()
}

fn nap() -> Value {
    once("crowd_nap", json!([300]))
}

fn soon(line: Value) -> Value {
    with(with(line, "timeout", "300ms"), "patience", "100ms")
}

fn timed_out() -> Verdict {
    Verdict::failed("timeout", "timeout").by_signal("SIGKILL")
}

fn broke_the_protocol() -> Verdict {
    Verdict::failed("protocol", "protocol").by_signal("SIGKILL")
}

/// What jobs do to their group, and what becomes of them.
fn attacks() -> Vec<(Value, Verdict)> {
    let exit = Verdict::failed("crash", "crash").with_code(7);
    vec![
        (once("crowd_exit", json!([7])), exit),
        (
            once("crowd_overflow", json!([])),
            Verdict::crashed("SIGABRT"),
        ),
        (once("crowd_segv", json!([])), Verdict::crashed("SIGSEGV")),
        (soon(once("crowd_hang", json!([]))), timed_out()),
        (soon(once("crowd_stop", json!([]))), timed_out()),
        (once("crowd_garbage", json!([])), broke_the_protocol()),
        (once("crowd_forge", json!([])), broke_the_protocol()),
        (once("crowd_close", json!([])), broke_the_protocol()),
        (once("crowd_print", json!([20_000])), Verdict::succeeded()),
        (once("crowd_report", json!([20_000])), Verdict::succeeded()),
        (once("crowd_escape", json!([])), Verdict::succeeded()),
    ]
}

fn start<'a>(place: &'a Place, arguments: &[&str], without: &str) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(EIGHT)
        .args(arguments)
        .env("BULKHEAD_WITHOUT", without)
        .start()
}

/// Runs these lines together; checks every verdict, that each was charged with one attempt, and
/// that nothing is left.
fn run_all(place: &Place, mut supervisor: Supervisor<'_>, lines: Vec<(Value, Verdict)>) {
    let (lines, verdicts): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    let statuses = ended(place, &submit(place, &lines));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let log = supervisor.log();
    assert!(!log.contains("panicked"), "{log}");
    for (status, verdict) in statuses.iter().zip(verdicts) {
        assert_eq!(Verdict::of(status), verdict, "{status:#}\n{log}");
        assert_eq!(attempts(status), 1, "{status:#}");
    }
}

fn amid_neighbours(attack: (Value, Verdict)) -> Vec<(Value, Verdict)> {
    let mut lines: Vec<_> = (0..6).map(|_| (nap(), Verdict::succeeded())).collect();
    lines.insert(3, attack);
    lines
}

#[test]
fn each_attack_on_a_group_is_charged_to_the_one_that_made_it() {
    for attack in attacks() {
        let place = Place::new();
        let supervisor = start(&place, &[], "");
        run_all(&place, supervisor, amid_neighbours(attack));
    }
}

/// All attacks at once, between neighbours.
fn brawl(who: Who, arguments: &[&str], without: &str) {
    let place = place_of(who);
    let supervisor = start(&place, arguments, without);
    let neighbour = |attack| [attack, (nap(), Verdict::succeeded())];
    run_all(
        &place,
        supervisor,
        attacks().into_iter().flat_map(neighbour).collect(),
    );
}

macro_rules! brawls {
    ($($name:ident: $without:expr;)*) => {$(
        mod $name {
            use super::*;
            #[test] fn under_root() { brawl(Who::Root, &[], $without); }
            #[test] fn under_a_user() { brawl(Who::User, &[], $without); }
        }
    )*};
}

brawls! {
    with_all_the_host_can_do: "";
    without_landlock: "landlock";
    without_cgroups: "cgroup";
    without_cgroup_kill: "cgroup-kill";
    without_signals_to_groups_by_pidfd: "pidfd-group";
    without_clone3: "clone3";
    without_user_namespaces: "userns";
    without_cgroups_and_namespaces: "cgroup,userns";
    without_any_of_it: crate::fallbacks::ALL;
}

#[test]
fn groups_run_as_the_users_that_processes_run_as() {
    for user in ["keep", "nobody", "auto"] {
        brawl(Who::Root, &["--task-user", user], "");
    }
}

#[test]
fn groups_are_executed_as_well_as_forked() {
    for who in [Who::Root, Who::User] {
        brawl(who, &["--spawn", "exec"], "");
    }
}

/// What a job of a group has left behind goes with the process of the group, before any verdict
/// that tells of that process's end.
#[test]
fn who_escapes_from_a_group_does_not_outlive_it() {
    for (who, without) in [
        (Who::Root, ""),
        (Who::User, ""),
        (Who::Root, crate::fallbacks::ALL),
    ] {
        let place = place_of(who);
        let supervisor = start(&place, &[], without);
        let fugitives = || {
            let all = supervisor.processes();
            all.into_iter().filter(|&pid| ignores_term(pid)).count()
        };
        let hang = with(once("crowd_hang", json!([])), "timeout", "1h");
        let lines = [hang, once("crowd_escape", json!([]))];
        let jobs = submit(&place, &lines);
        assert_eq!(place.ended(&jobs[1])["status"], "SUCCEEDED");
        let _ = place.running(&jobs[0]);
        until(
            "somebody to get away",
            bulkhead_tests::supervise::PATIENCE,
            || (fugitives() == 1).then_some(()),
        );
        let _ = place.run(&["revoke", &jobs[0]]).succeeds();
        assert_eq!(place.ended(&jobs[0])["cause"], "revoked");
        assert_eq!(fugitives(), 0, "{}", supervisor.log());
    }
}
