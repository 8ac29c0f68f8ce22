//! Which profile a job gets, what a host that lacks something is told, and what verdicts say.

use std::fs;
use std::os::unix::fs::MetadataExt;

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{Who, ended, once, place_of, submit, with};

const FILE: &str = r#"
[profile.tight]
inherits = "strict"
tmp = "1MiB"

[profile.loose]
inherits = "process"
env = { GIVEN = "by the profile" }

[queue.locked]
profile = "strict"

[task.environment]
profile = "loose"
"#;

/// A supervisor of both users with this file.
fn with_file<'a>(place: &'a Place, text: &str, arguments: &[&str]) -> Supervisor<'a> {
    let file = place.file("profiles.toml", text);
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--config", file.to_str().unwrap()])
        .args(arguments)
        .start()
}

fn isolation(status: &Value) -> &str {
    status["isolation"].as_str().unwrap_or_default()
}

#[test]
fn queues_tasks_and_messages_have_the_profile_that_is_given_to_them() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let jobs = submit(
            &place,
            &[
                once("long", json!([1])),
                with(once("long", json!([1])), "queue", "locked"),
                with(once("long", json!([1])), "profile", "tight"),
                once("environment", json!([])),
            ],
        );
        let mut supervisor = with_file(&place, FILE, &["--queues", "default,locked"]);
        let statuses = ended(&place, &jobs);
        let names = ["process", "strict", "tight", "loose"];
        for (status, name) in statuses.iter().zip(names) {
            assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
            let expected = format!("{name}: ");
            assert!(isolation(status).starts_with(&expected), "{status:#}");
        }
        let seen = place.returned(&jobs[3]);
        assert_eq!(seen["GIVEN"], "by the profile");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn jobs_whose_profile_cannot_be_set_up_end_and_stop_no_others_until_it_can() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let media = place.path("media");
        let text = format!(
            "[profile.media]\ninherits = \"strict\"\nread-only = [\"{}\"]\n\
             [task.environment]\nprofile = \"media\"\n",
            media.display()
        );
        let film = || once("environment", json!([]));
        let lines = [film(), film(), film(), film(), once("long", json!([1]))];
        let jobs = submit(&place, &lines);
        let mut supervisor = with_file(&place, &text, &["--processes", "2"]);
        let mut statuses = ended(&place, &jobs);
        let honest = statuses.pop().unwrap();
        assert_eq!(honest["status"], "SUCCEEDED", "{honest:#}");
        for status in &statuses {
            assert_eq!(status["cause"], "sandbox", "{status:#}");
            let said = status["error"].to_string();
            assert!(said.contains("`media`"), "{said}");
            assert!(said.contains(media.to_str().unwrap()), "{said}");
        }
        fs::create_dir(&media).unwrap();
        // It is tried again by itself, after a rest.
        until("the profile to be tried again", PATIENCE, || {
            let job = submit(&place, &[film()]).remove(0);
            (place.ended(&job)["status"] == "SUCCEEDED").then_some(())
        });
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn groups_may_have_another_profile_than_processes() {
    let text =
        "[profile.shared]\ninherits = \"strict\"\nsingle-use = false\nlandlock = \"scope\"\n";
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let file = place.file("bulkhead.toml", text);
        let file = file.to_str().unwrap();
        let jobs = submit(
            &place,
            &[
                once("thread_sleep", json!([0.1])),
                once("thread_sleep", json!([0.1])),
                once("nap_async", json!([0.1])),
                once("add", json!([1, 2])),
                with(once("thread_sleep", json!([0])), "profile", "strict"),
                with(once("thread_sleep", json!([0])), "mechanism", "process"),
            ],
        );
        let mut supervisor = Supervisor::at(&place)
            .args(["--config", file, "--sandbox", "strict"])
            .args(["--group-sandbox", "shared"])
            .start();
        let statuses = ended(&place, &jobs);
        let names = ["shared", "shared", "shared", "strict", "", "strict"];
        for (status, name) in statuses.iter().zip(names) {
            if name.is_empty() {
                assert_eq!(status["cause"], "sandbox", "{status:#}");
                let text = status["error"]["text"].as_str().unwrap();
                assert!(text.contains("--group-sandbox strict"), "{text}");
                continue;
            }
            assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
            let expected = format!("{name}: ");
            assert!(isolation(status).starts_with(&expected), "{status:#}");
        }
        // In one process, and not in that of another profile.
        assert_eq!(statuses[0]["pid"], statuses[1]["pid"]);
        assert_ne!(statuses[0]["pid"], statuses[3]["pid"]);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
    let place = Place::new();
    for (name, word) in [
        ("strict", "process of its own"),
        ("lost", "--group-sandbox"),
    ] {
        let ran = place.run(&["run", "--burst", "--group-sandbox", name]);
        let _ = ran.ends_with(2).says(&[name, word]);
    }
}

#[test]
fn a_message_may_not_ask_for_what_is_looser_or_unknown() {
    let place = Place::new();
    let jobs = submit(
        &place,
        &[
            with(once("long", json!([1])), "profile", "none"),
            with(once("long", json!([1])), "profile", "lost"),
        ],
    );
    let mut supervisor = with_file(&place, FILE, &[]);
    let statuses = ended(&place, &jobs);
    for (status, word) in statuses.iter().zip(["looser", "does not have"]) {
        assert_eq!(status["cause"], "sandbox", "{status:#}");
        let text = status["error"]["text"].as_str().unwrap();
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_warm_process_of_one_profile_serves_no_job_of_another() {
    let place = Place::new();
    let line = |profile: &str| with(once("who_am_i", json!([null])), "profile", profile);
    let lines: Vec<_> = (0..4)
        .flat_map(|_| [line("process"), line("loose")])
        .collect();
    let text = "[profile.loose]\ninherits = \"process\"\n";
    let jobs = submit(&place, &lines);
    let arguments = ["--tasks-per-process", "0", "--processes", "1"];
    let mut supervisor = with_file(&place, text, &arguments);
    let statuses = ended(&place, &jobs);
    for pair in statuses.chunks(2) {
        assert_ne!(pair[0]["pid"], pair[1]["pid"], "{pair:#?}");
        assert!(isolation(&pair[1]).starts_with("loose: "), "{pair:#?}");
    }
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn under_strict_every_job_has_a_process_of_its_own() {
    let place = Place::new();
    let lines: Vec<_> = (0..5).map(|_| once("who_am_i", json!([null]))).collect();
    let jobs = submit(&place, &lines);
    let arguments = [
        "--sandbox",
        "strict",
        "--tasks-per-process",
        "0",
        "--processes",
        "1",
    ];
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(arguments)
        .start();
    let statuses = ended(&place, &jobs);
    // The init of one may be that of the next, but then their users differ.
    let mut processes: Vec<_> = statuses
        .iter()
        .zip(&jobs)
        .map(|(status, job)| format!("{} {}", status["pid"], place.returned(job)["uid"]))
        .collect();
    processes.sort();
    processes.dedup();
    assert_eq!(processes.len(), 5, "{processes:?} {statuses:#?}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

/// What a profile is made of, and what it says if a host lacks it.
const LACKS: [(&str, &str); 6] = [
    ("task-users", "users that nobody else has"),
    ("userns", "pid namespaces"),
    ("mounts", "mounts of a task's own"),
    ("network-namespace", "network namespaces"),
    ("landlock", "Landlock"),
    ("seccomp", "filters of system calls"),
];

#[test]
fn strict_is_refused_at_start_where_the_host_lacks_something() {
    let place = Place::new();
    for (word, said) in LACKS {
        let mut supervisor = Supervisor::at(&place)
            .args(["--sandbox", "strict"])
            .env("BULKHEAD_WITHOUT", word)
            .start();
        assert_eq!(supervisor.code(), 2, "{word}: {}", supervisor.log());
        let log = supervisor.log();
        assert!(log.contains(said), "{word}: {log}");
        assert!(log.contains("--sandbox-best-effort"), "{log}");
    }
}

#[test]
fn with_best_effort_less_is_applied_and_each_verdict_says_so() {
    for who in [Who::Root, Who::User] {
        for (word, said) in LACKS {
            if who == Who::User && word == "task-users" {
                // It has a user namespace.
                continue;
            }
            let place = place_of(who);
            let job = submit(&place, &[once("add", json!([2, 3]))]).remove(0);
            let mut supervisor = Supervisor::at(&place)
                .args(["--sandbox", "strict", "--sandbox-best-effort"])
                .env("BULKHEAD_WITHOUT", word)
                .start();
            let status = place.ended(&job);
            assert_eq!(status["status"], "SUCCEEDED", "{word}: {status:#}");
            assert!(isolation(&status).contains("WITHOUT"), "{word}: {status:#}");
            assert!(supervisor.log().contains(said), "{}", supervisor.log());
            assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        }
    }
}

#[test]
fn the_memory_of_the_supervisor_is_hidden_whatever_the_usual_profile_is() {
    for profile in ["none", "process"] {
        let place = place_of(Who::User);
        let job = submit(&place, &[once("add", json!([2, 3]))]).remove(0);
        let mut supervisor = Supervisor::start(&place, &["--sandbox", profile]);
        let _ = place.returned(&job);
        let memory = fs::metadata(format!("/proc/{}/mem", supervisor.pid())).unwrap();
        assert_eq!(memory.uid(), 0, "{profile}: not its own user's");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn the_host_and_each_profile_are_explained() {
    let place = Place::new();
    let probe = place.run(&["sandbox", "probe", "--json"]).succeeds().json();
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap();
        list.iter()
            .map(|one| one["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(&probe["profiles"]), ["none", "process", "strict"]);
    assert!(names(&probe["features"]).contains(&"landlock".into()));
    let table = place.run(&["sandbox", "probe"]).succeeds().stdout;
    assert!(table.contains("network-namespace"), "{table}");

    let page = place
        .run(&["sandbox", "explain", "strict"])
        .succeeds()
        .stdout;
    assert!(
        page.contains("/tmp") && page.contains("no device is up"),
        "{page}"
    );
    let object = place
        .run(&["sandbox", "explain", "strict", "--json"])
        .succeeds()
        .json();
    assert_eq!(
        (&object["profile"], &object["is_there"]),
        (&json!("strict"), &json!(true))
    );
    let lost = place.run(&["sandbox", "explain", "lost"]);
    assert_eq!(lost.code, 2, "{lost:?}");
    assert!(lost.stderr.contains("none, process, strict"), "{lost:?}");
}
