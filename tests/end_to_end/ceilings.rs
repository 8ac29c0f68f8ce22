//! Tasks that come up against a limit of their profile: each has a verdict that says which.

use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Who, once, place_of, submit, with};

const FILE: &str = r#"
[profile.low]
inherits = "strict"
cpu-time = "1s"
tmp = "4MiB"
file-size = "16MiB"
memory = "64MiB"

[profile.deadly]
inherits = "strict"
on-forbidden = "kill"

[profile.listed]
inherits = "strict"
syscalls = "allowlist"
"#;

/// The verdict on an attempt at something that the profile limits.
fn attempted(who: Who, profile: &str, name: &str) -> Value {
    ran(
        who,
        "",
        with(once("attempt", json!([name, {}])), "profile", profile),
    )
}

/// The status of a job at its end, on a host that lacks something.
fn ran(who: Who, without: &str, line: Value) -> Value {
    let place = place_of(who);
    let file = place.file("profiles.toml", FILE);
    let job = submit(&place, &[line]).remove(0);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--config", file.to_str().unwrap(), "--processes", "1"])
        .env("BULKHEAD_WITHOUT", without)
        .start();
    let status = place.ended(&job);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    status
}

#[track_caller]
fn hit(status: &Value, name: &str, limit: Value, way_out: &str) {
    let error = &status["error"];
    assert_eq!(status["cause"], "limit", "{status:#}");
    assert_eq!(
        (&error["name"], &error["limit"]),
        (&json!(name), &limit),
        "{status:#}"
    );
    let text = error["text"].as_str().unwrap();
    assert!(text.contains(way_out), "{text}");
}

#[test]
fn cpu_time_that_is_used_up_is_told() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "low", "burn-cpu");
        hit(
            &status,
            "cpu-time",
            json!(1000),
            "`cpu-time` of the profile `low`",
        );
        assert!(
            status["error"]["peak"].as_u64().unwrap() >= 500,
            "{status:#}"
        );
    }
}

#[test]
fn a_file_that_is_too_large_is_told() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "low", "large-file");
        hit(&status, "file-size", json!(16 << 20), "`file-size`");
        assert_eq!(status["error"]["signal"], "SIGXFSZ", "{status:#}");
    }
}

#[test]
fn a_full_private_directory_is_told() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "low", "disk-bomb");
        hit(&status, "disk-full", json!(4 << 20), "`tmp`");
    }
}

#[test]
fn processes_that_could_not_be_started_are_told() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "strict", "fork-bomb");
        hit(&status, "processes", json!(64), "`processes`");
    }
}

#[test]
fn files_that_could_not_be_opened_are_told() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "strict", "descriptor-bomb");
        hit(&status, "open-files", json!(256), "`open-files`");
    }
}

#[test]
fn a_forbidden_system_call_is_told_by_its_name_where_the_profile_ends_tasks_for_it() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "deadly", "load-bpf");
        hit(&status, "forbidden-syscall", Value::Null, "`bpf`");
        assert_eq!(status["error"]["signal"], "SIGSYS", "{status:#}");
    }
}

#[test]
fn what_a_list_of_system_calls_does_not_name_is_refused_and_the_rest_works() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "listed", "swap");
        assert_eq!(status["cause"], "error", "{status:#}");
        let status = attempted(who, "listed", "thread-bomb");
        hit(&status, "processes", json!(64), "`processes`");
    }
}

#[test]
fn memory_of_what_a_task_has_started_counts_where_cgroups_can_be_had() {
    let status = attempted(Who::Root, "low", "many-processes-memory-bomb");
    if !status["isolation"]
        .as_str()
        .unwrap()
        .contains("limits by cgroup")
    {
        return;
    }
    assert_eq!(status["cause"], "out-of-memory", "{status:#}");
    assert_eq!(status["error"]["limit"], 64 << 20, "{status:#}");
    let peak = status["error"]["peak"].as_u64().unwrap();
    assert!((32 << 20..=64 << 20).contains(&peak), "{status:#}");
    let text = status["error"]["text"].as_str().unwrap();
    assert!(text.contains("--memory"), "{text}");
}

#[test]
fn a_jobs_own_memory_is_that_of_all_it_has_started() {
    let line = with(
        once("attempt", json!(["many-processes-memory-bomb", {}])),
        "profile",
        "strict",
    );
    let status = ran(Who::Root, "", with(line, "memory", "64MiB"));
    let isolation = status["isolation"].as_str().unwrap();
    if !isolation.contains("limits by cgroup") {
        return;
    }
    assert_eq!(status["cause"], "out-of-memory", "{status:#}");
    assert_eq!(status["error"]["limit"], 64 << 20, "{status:#}");
}

/// Where no cgroup keeps the limit: as root with and without a cgroup that holds the task, and as an
/// ordinary user.
const UNCOUNTED: [(Who, &str); 2] = [(Who::Root, "limits"), (Who::User, "")];

#[test]
fn memory_of_what_a_task_has_started_counts_where_no_cgroup_can_be_had_too() {
    for (who, without) in UNCOUNTED {
        for name in ["many-processes-memory-bomb", "hidden-memory-bomb"] {
            let line = with(once("attempt", json!([name, {}])), "profile", "low");
            let status = ran(who, without, line);
            let isolation = status["isolation"].as_str().unwrap();
            assert!(isolation.contains("memory watched"), "{status:#}");
            assert_eq!(status["cause"], "out-of-memory", "{status:#}");
            let error = &status["error"];
            assert_eq!(
                (&error["limit"], &error["signal"]),
                (&json!(64 << 20), &json!("SIGKILL")),
                "{status:#}"
            );
            // Beyond it, and within what its processes can have one by one.
            let peak = error["peak"].as_u64().unwrap();
            assert!((64 << 20..400 << 20).contains(&peak), "{status:#}");
            let text = error["text"].as_str().unwrap();
            assert!(text.contains("together"), "{text}");
        }
    }
}

#[test]
fn memory_that_nobody_could_count_is_refused() {
    for (who, without) in UNCOUNTED {
        for name in ["unmapped-memory-bomb", "shared-memory-bomb", "memfd-bomb"] {
            let line = with(once("attempt", json!([name, {}])), "profile", "low");
            let status = ran(who, without, line);
            assert_eq!(status["cause"], "error", "{status:#}");
            let text = status["error"]["text"].as_str().unwrap();
            assert!(text.contains("EPERM"), "{name}: {text}");
        }
    }
}

#[test]
fn processes_that_share_their_memory_have_it_once() {
    for (who, without) in UNCOUNTED {
        // By pages that each of them sees, seven times forty.
        let line = with(once("family", json!([60, 40])), "profile", "low");
        let status = ran(who, without, line);
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        let isolation = status["isolation"].as_str().unwrap();
        assert!(isolation.contains("memory watched"), "{status:#}");
    }
}

#[test]
fn a_refused_path_is_the_tasks_own_failure_and_names_the_profile() {
    for who in [Who::Root, Who::User] {
        let status = attempted(who, "strict", "read-shadow");
        assert_eq!(
            (&status["cause"], &status["error"]["name"]),
            (&json!("error"), &json!("error"))
        );
        let text = status["error"]["text"].as_str().unwrap();
        assert!(text.contains("sandbox explain strict"), "{text}");
    }
}
