//! Messages that lower the limits of their profiles, each for its own job.

use bulkhead_tests::cli::{Place, program};
use bulkhead_tests::supervise::{Supervisor, copy};
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, burst, ended, once, place_of, submit, with};

const FILE: &str = r#"
[profile.roomy]
inherits = "strict"
cpu-time = "1h"
processes = "none"

[task.fill]
command = ["dd", "if=/dev/zero", "of=out", "bs=1M", "count=4"]
max-retries = 0

[task.spin]
command = ["sh", "-c", "while :; do :; done"]
max-retries = 0
"#;

/// Statuses of jobs at their ends.
fn ran(who: Who, without: &str, arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let place = place_of(who);
    let file = place.file("limits.toml", FILE);
    let jobs = submit(&place, lines);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--config", file.to_str().unwrap()])
        .args(arguments)
        .env("BULKHEAD_WITHOUT", without)
        .start();
    let statuses = ended(&place, &jobs);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    statuses
}

/// An attempt at something, under this profile and these limits.
fn attempt(name: &str, profile: &str, limits: Value) -> Value {
    let line = with(once("attempt", json!([name, {}])), "profile", profile);
    with(line, "limits", limits)
}

#[track_caller]
fn hit(status: &Value, name: &str, limit: u64, way_out: &str) {
    let error = &status["error"];
    assert_eq!(status["cause"], "limit", "{status:#}");
    assert_eq!(
        (&error["name"], &error["limit"]),
        (&json!(name), &json!(limit)),
        "{status:#}"
    );
    let text = error["text"].as_str().unwrap();
    assert!(text.contains(way_out), "{text}");
}

const OWN: &str = "its message asks for that";

/// Each limit of a message, below that of its profile, is met under it.
fn all_are_met(who: Who, without: &str, arguments: &[&str], profiles: &[&str]) {
    let tries = |profile: &&str| {
        [
            attempt("burn-cpu", profile, json!({"cpu-time": "1s"})),
            attempt("large-file", profile, json!({"file-size": "1MiB"})),
            attempt("descriptor-bomb", profile, json!({"open-files": 40})),
            attempt("fork-bomb", profile, json!({"processes": 8})),
            attempt("thread-bomb", profile, json!({"processes": 8})),
        ]
    };
    let lines: Vec<_> = profiles.iter().flat_map(tries).collect();
    let found = ran(who, without, arguments, &lines);
    for statuses in found.chunks(5) {
        hit(&statuses[0], "cpu-time", 1000, OWN);
        hit(&statuses[1], "file-size", 1 << 20, OWN);
        hit(&statuses[2], "open-files", 40, OWN);
        hit(&statuses[3], "processes", 8, OWN);
        hit(&statuses[4], "processes", 8, OWN);
    }
}

const PROFILES: [&str; 2] = ["process", "strict"];

#[test]
fn a_message_lowers_each_limit_of_its_profile() {
    for who in [Who::Root, Who::User] {
        all_are_met(who, "", &["--processes", "2"], &PROFILES);
    }
}

#[test]
fn a_message_lowers_them_where_no_cgroup_counts_processes() {
    for who in [Who::Root, Who::User] {
        all_are_met(who, "limits", &["--processes", "2"], &["strict"]);
    }
}

#[test]
fn a_message_lowers_what_its_profile_leaves_open() {
    for (who, without) in [(Who::Root, ""), (Who::User, ""), (Who::Root, "limits")] {
        all_are_met(who, without, &["--sandbox", "roomy"], &["roomy"]);
    }
}

#[test]
fn a_message_lowers_them_in_programs_that_start_afresh_and_in_those_that_go_on() {
    for arguments in [["--spawn", "exec"], ["--tasks-per-process", "0"]] {
        all_are_met(Who::Root, "", &arguments, &PROFILES);
    }
}

#[test]
fn a_limit_that_is_not_lower_changes_nothing() {
    let lines = [
        attempt("descriptor-bomb", "strict", json!({"open-files": 4000})),
        attempt("fork-bomb", "strict", json!({"processes": 4000})),
    ];
    let found = ran(Who::Root, "", &[], &lines);
    hit(&found[0], "open-files", 256, "of the profile `strict`");
    hit(&found[1], "processes", 64, "of the profile `strict`");
}

#[test]
fn options_lower_them_and_the_last_of_a_name_counts() {
    let place = Place::new();
    let bomb = ["attempt", "--args", r#"["descriptor-bomb", {}]"#];
    let limits = ["open-files=90", "processes=9", "open-files=40"];
    let limits = limits.iter().flat_map(|limit| ["--limit", *limit]);
    let arguments: Vec<_> = bomb.into_iter().chain(limits).collect();
    let job = place.submit(&[&arguments[..], &["--max-retries", "0"]].concat());
    let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    hit(&place.ended(&job), "open-files", 40, OWN);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn what_one_job_may_not_have_the_next_one_may() {
    let free = |name: &str| with(once("attempt", json!([name, {}])), "profile", "process");
    let tight = || attempt("descriptor-bomb", "process", json!({"open-files": 40}));
    let lines = [
        free("descriptor-bomb"),
        tight(),
        free("descriptor-bomb"),
        tight(),
    ];
    let arguments = ["--tasks-per-process", "0", "--processes", "1"];
    let found = ran(Who::Root, "", &arguments, &lines);
    for (index, status) in found.iter().enumerate() {
        let (limit, way_out) = match index % 2 {
            0 => (4096, "of the profile"),
            _ => (40, OWN),
        };
        hit(status, "open-files", limit, way_out);
    }
    let alone = |index: usize| {
        let pid = &found[index]["pid"];
        assert!(pid.is_number());
        found.iter().filter(|status| status["pid"] == *pid).count() == 1
    };
    assert!(alone(1) && alone(3), "{found:#?}");
    assert_eq!(found[0]["pid"], found[2]["pid"], "{found:#?}");
}

#[test]
fn a_command_has_the_limits_of_its_message() {
    let line = |task: &str, limits: Value| json!({"task": task, "limits": limits});
    let lines = [
        line("fill", json!({"file-size": "1MiB"})),
        line("spin", json!({"cpu-time": "1s"})),
        line("fill", json!({"file-size": "4MiB", "processes": 100})),
    ];
    for profile in PROFILES {
        let lines = lines.clone().map(|line| with(line, "profile", profile));
        let found = ran(Who::Root, "", &["--processes", "2"], &lines);
        hit(&found[0], "file-size", 1 << 20, OWN);
        hit(&found[1], "cpu-time", 1000, OWN);
        assert_eq!(found[2]["status"], "SUCCEEDED", "{:#}", found[2]);
    }
}

#[test]
fn a_child_in_python_takes_them() {
    let place = Place::new();
    let script = crate::python::script(&place);
    let text = std::fs::read_to_string(&script).unwrap();
    let tells = "return resource.getrlimit(resource.RLIMIT_NOFILE)";
    std::fs::write(&script, text.replace("return a + b", tells)).unwrap();
    copy(&program("launcher"), &place.path("launcher"));
    let add = || once("py.add", json!([2, 3]));
    let jobs = submit(
        &place,
        &[with(add(), "limits", json!({"open-files": 40})), add()],
    );
    let mut supervisor = Supervisor::at(&place)
        .child(&script)
        .args(["--spawn", "launch", "--burst", "--tasks-per-process", "0"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    assert_eq!(place.returned(&jobs[0]), json!([40, 40]));
    assert_eq!(place.returned(&jobs[1]), json!([4096, 4096]));
}

#[test]
fn jobs_of_a_group_have_none_of_their_own() {
    let limits = json!({"open-files": 40});
    let line = || with(once("thread_sleep", json!([0])), "limits", limits.clone());
    let lines = [line(), with(line(), "mechanism", "process")];
    let found = burst(&Place::new(), &[], &lines);
    assert_eq!(
        Verdict::of(&found[0]),
        Verdict::failed("error", "mechanism")
    );
    let text = found[0]["error"]["text"].as_str().unwrap();
    assert!(text.contains("leave `limits` out, or ask"), "{text}");
    assert_eq!(found[1]["status"], "SUCCEEDED", "{:#}", found[1]);
}

#[test]
fn a_limit_that_nothing_could_keep_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let limited = |limits: Value| with(once("add", json!([2, 3])), "limits", limits);
    let lines = [
        limited(json!({"processes": 4})),
        limited(json!({"open-files": 40})),
    ];
    let found = burst(&place, &["--task-user", "keep"], &lines);
    assert_eq!(Verdict::of(&found[0]), Verdict::failed("sandbox", "limits"));
    let text = found[0]["error"]["text"].as_str().unwrap();
    assert!(text.contains("leave `processes` out"), "{text}");
    assert_eq!(found[1]["status"], "SUCCEEDED", "{:#}", found[1]);
}
