//! The commands that look at jobs, and `revoke`.

use std::process::Stdio;

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::broker::{Claim, Heed, Listen, Selection, Settlement, SupervisorId};
use bulkhead_shared::history::History;
use bulkhead_shared::outcome::{Cause, Ended, ErrorDetails, Outcome, Usage};
use bulkhead_shared::policy::{Defaults, Policy};
use bulkhead_shared::retry::{Circumstances, decide};
use bulkhead_shared::{QueueName, TaskName, Timestamp, Uuid};
use bulkhead_tests::cli::Place;
use serde_json::{Value, json};
use std::time::Duration;

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

fn is_final(cause: Cause) -> Outcome {
    Outcome::Failed {
        cause,
        error: ErrorDetails::new("gone", "it is\u{1b}[2J gone"),
        is_final: true,
    }
}

/// Takes every ready job of `task` and ends it, as a supervisor would.
fn end_all(place: &Place, task: &str, outcome: &Outcome) {
    let backend = open(&Options::new(&place.url())).unwrap();
    let selection = Selection {
        queues: vec![QueueName::default()],
        tasks: vec![TaskName::new(task).unwrap()],
    };
    let claim = Claim {
        owner: SupervisorId(Uuid::now_v7()),
        selection: &selection,
        room: 100,
        lease: Duration::from_secs(60),
    };
    let turned = backend.broker.turn(Vec::new(), Some(claim)).unwrap();
    assert!(!turned.claimed.is_empty());
    let settlements = turned.claimed.into_iter().map(|claimed| {
        let header = serde_json::from_slice(&claimed.header).unwrap();
        let defaults = Defaults {
            timeout: Duration::from_secs(60),
            patience: Duration::from_secs(1),
            memory: None,
            profile: "process".into(),
        };
        let policy = Policy::resolve(&header, None, &defaults);
        let about = Circumstances {
            policy: &policy,
            jitter: 0.0,
            host: "h",
            isolation: "none",
        };
        let now = Timestamp::now();
        let ended = Ended {
            outcome: outcome.clone(),
            usage: Usage {
                wall_ms: Some(12),
                ..Usage::default()
            },
            output: None,
            started_at: Some(now),
            finished_at: now,
            pid: Some(7),
            wants_callback: true,
            wants_retry: true,
            has_progressed: false,
        };
        let (next, history) = decide(History::from_json(&claimed.history).unwrap(), ended, about);
        Settlement {
            receipt: claimed.receipt,
            next,
            history: history.to_json(),
            at: now,
            errands: Default::default(),
        }
    });
    let turned = backend.broker.turn(settlements.collect(), None).unwrap();
    assert!(
        turned
            .settled
            .iter()
            .all(|s| *s == bulkhead_shared::broker::Settled::Applied)
    );
}

fn rows(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let json = place.run(arguments).succeeds().json();
    json.as_array().unwrap().clone()
}

#[test]
fn a_job_that_nobody_knows_is_unknown_with_code_3() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let ran = place.run(&["status", NOBODY, "--json"]).ends_with(3);
    assert_eq!(ran.json()["status"], "UNKNOWN");
    let _ = place.run(&["status", NOBODY, "--watch"]).ends_with(3);
    for command in ["result", "revoke"] {
        let ran = place.run(&[command, NOBODY]).ends_with(3).says(&[NOBODY]);
        assert_eq!(ran.stdout, "");
    }
    let _ = place.run(&["dlq", "show", NOBODY]).ends_with(3);
    let _ = place.run(&["dlq", "retry", NOBODY]).ends_with(3);
}

#[test]
fn a_result_that_is_not_there_yet_gives_code_6_or_124_after_a_wait() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let ran = place
        .run(&["result", &uuid])
        .ends_with(6)
        .says(&["SUBMITTED"]);
    assert_eq!(ran.stdout, "");
    let _ = place
        .run(&["result", &uuid, "--wait-timeout", "20ms"])
        .ends_with(124);
}

#[test]
fn a_result_is_one_line_and_can_be_taken_once() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    end_all(
        &place,
        "add",
        &Outcome::Returned(b"{\n \"sum\": 12345678901234567890\n}".to_vec()),
    );
    let ran = place.run(&["result", &uuid]).succeeds();
    assert_eq!(ran.json()["sum"], json!(12_345_678_901_234_567_890u64));
    let raw = place.run(&["result", &uuid, "--raw", "--take"]).succeeds();
    assert!(
        raw.stdout.starts_with("{\n") && raw.stdout.ends_with('}'),
        "{raw:?}"
    );
    let _ = place
        .run(&["result", &uuid])
        .ends_with(3)
        .says(&["not kept"]);
    let job = place.run(&["status", &uuid, "--json"]).succeeds().json();
    assert_eq!(job["status"], "SUCCEEDED");
}

#[test]
fn a_result_that_is_not_json_is_printed_raw_only() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    end_all(&place, "add", &Outcome::Returned(b"oops".to_vec()));
    let _ = place
        .run(&["result", &uuid, "--take"])
        .ends_with(2)
        .says(&["--raw"]);
    assert_eq!(
        place.run(&["result", &uuid, "--raw"]).succeeds().stdout,
        "oops"
    );
}

#[test]
fn a_job_that_failed_gives_its_failure_and_code_1() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    end_all(&place, "add", &is_final(Cause::Crash));
    let ran = place.run(&["result", &uuid]).ends_with(1);
    let ran = ran.says(&["crash", "gone"]);
    assert!(
        ran.stdout.is_empty() && !ran.stderr.contains('\u{1b}'),
        "{ran:?}"
    );
    let job = place.run(&["status", &uuid, "--json"]).succeeds().json();
    assert_eq!(
        (&job["status"], &job["cause"]),
        (&json!("FAILED"), &json!("crash"))
    );
    assert_eq!(
        (&job["usage"]["wall_ms"], &job["attempt"]),
        (&json!(12), &json!(1))
    );
    let human = place.run(&["status", &uuid]).succeeds();
    assert!(human.stdout.contains("FAILED (crash)") && !human.stdout.contains('\u{1b}'));
}

#[test]
fn a_job_that_failed_and_will_run_again_is_retrying_with_the_cause_and_time() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let again = Outcome::Failed {
        cause: Cause::Timeout,
        error: ErrorDetails::new("timeout", "too long"),
        is_final: false,
    };
    end_all(&place, "add", &again);
    let job = place.run(&["status", &uuid, "--json"]).succeeds().json();
    assert_eq!(
        (&job["status"], &job["cause"]),
        (&json!("RETRYING"), &json!("timeout"))
    );
    assert_eq!((&job["attempt"], &job["retries"]), (&json!(1), &json!(1)));
    assert!(
        job["next_at"].is_string() && job["error"]["name"] == "timeout",
        "{job}"
    );
    let _ = place.submit(&["add"]);
    assert_eq!(
        rows(&place, &["jobs", "--status", "retrying", "--json"])[0]["uuid"],
        json!(uuid)
    );
    assert_eq!(
        rows(&place, &["jobs", "--status", "submitted", "--json"]).len(),
        1
    );
    assert_eq!(
        rows(
            &place,
            &["jobs", "--status", "submitted", "--limit", "1", "--json"]
        )
        .len(),
        1
    );
}

#[test]
fn a_waiting_job_is_revoked_once_and_is_no_dead_letter() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let ran = place.run(&["revoke", &uuid]).succeeds();
    assert!(ran.stdout.contains("has ended as revoked"), "{ran:?}");
    let job = place.run(&["status", &uuid, "--json"]).succeeds().json();
    assert_eq!(
        (&job["status"], &job["cause"]),
        (&json!("FAILED"), &json!("revoked"))
    );
    assert!(job["finished_at"].is_string());
    let again = place.run(&["revoke", &uuid, "--json"]).succeeds();
    assert_eq!(
        again.json(),
        json!({"uuid": uuid, "revocation": "already-ended"})
    );
    assert_eq!(rows(&place, &["dlq", "ls", "--json"]).len(), 0);
    let _ = place
        .run(&["dlq", "drop", &uuid])
        .ends_with(5)
        .says(&["no dead letter"]);
}

#[test]
fn jobs_are_listed_newest_first_and_filtered() {
    let place = Place::new();
    let first = place.submit(&["add"]);
    let second = place.submit(&["mul", "--queue", "q"]);
    let all = rows(&place, &["jobs", "--json"]);
    let uuids: Vec<_> = all
        .iter()
        .map(|job| job["uuid"].as_str().unwrap())
        .collect();
    assert_eq!(uuids, [second.as_str(), &first]);
    assert_eq!(
        rows(&place, &["jobs", "--task", "add", "--json"])[0]["uuid"],
        json!(first)
    );
    assert_eq!(
        rows(&place, &["jobs", "--queue", "q", "--json"])[0]["uuid"],
        json!(second)
    );
    assert_eq!(rows(&place, &["jobs", "--limit", "1", "--json"]).len(), 1);
    assert_eq!(
        rows(&place, &["jobs", "--status", "FAILED", "--json"]).len(),
        0
    );
    let table = place.run(&["jobs"]).succeeds();
    assert!(
        table.lines()[0].starts_with("UUID") && table.lines().len() == 3,
        "{table:?}"
    );
    let none = place.run(&["jobs", "--status", "FAILED"]).succeeds();
    assert_eq!(none.says(&["no jobs"]).stdout, "");
}

#[test]
fn queues_tell_what_waits_in_them() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let _ = place.submit(&["add", "--delay", "1h"]);
    let queues = rows(&place, &["queues", "--json"]);
    let queue = &queues[0];
    assert_eq!(
        (&queue["queue"], &queue["ready"]),
        (&json!("default"), &json!(1))
    );
    assert_eq!((&queue["delayed"], &queue["dead"]), (&json!(1), &json!(0)));
    assert!(queue["oldest_ready"].as_str().unwrap().ends_with('Z'));
    assert!(place.run(&["queues"]).succeeds().stdout.contains("default"));
    assert_eq!(rows(&place, &["tasks", "--json"]).len(), 0);
}

#[test]
fn dead_letters_are_shown_retried_and_dropped() {
    let place = Place::new();
    let crashed = place.submit(&["add", "--args", "[2, 3]"]);
    end_all(&place, "add", &is_final(Cause::Crash));
    let late = place.submit(&["mul"]);
    end_all(&place, "mul", &is_final(Cause::Timeout));
    assert_eq!(rows(&place, &["dlq", "ls", "--json"]).len(), 2);
    let one = rows(&place, &["dlq", "ls", "--cause", "timeout", "--json"]);
    assert_eq!(one[0]["uuid"], json!(late));
    let shown = place
        .run(&["dlq", "show", &crashed, "--json"])
        .succeeds()
        .json();
    assert_eq!(shown["arguments"], json!({"args": [2, 3], "kwargs": {}}));

    let dry = place
        .run(&["dlq", "retry", "--all", "--dry-run"])
        .succeeds();
    assert_eq!(dry.line(), "would retry 2 dead letters");
    let ran = place.run(&["dlq", "retry", "--task", "add"]).succeeds();
    assert_eq!(ran.line(), "retried 1 dead letter");
    let job = place.run(&["status", &crashed, "--json"]).succeeds().json();
    assert!(
        ["SUBMITTED", "RETRYING"].contains(&job["status"].as_str().unwrap()),
        "{job}"
    );
    let ran = place
        .run(&["dlq", "drop", "--cause", "timeout", "--json"])
        .succeeds();
    assert_eq!(ran.json()["dropped"], 1);
    let _ = place.run(&["status", &late]).ends_with(3);
    let _ = place
        .run(&["dlq", "ls"])
        .succeeds()
        .says(&["no dead letters"]);
}

#[test]
fn to_drop_a_dead_letter_leaves_the_job_with_its_uuid_in_another_queue() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    end_all(&place, "add", &is_final(Cause::Crash));
    let _ = place.submit(&["add", "--uuid", &uuid, "--queue", "other", "--delay", "1h"]);
    let ran = place.run(&["dlq", "drop", "--all"]).succeeds();
    assert_eq!(ran.line(), "dropped 1 dead letter");
    let job = place.run(&["status", &uuid, "--json"]).succeeds().json();
    assert_eq!(job["queue"], "other");
}

#[test]
fn a_wait_prints_results_in_the_order_of_submission() {
    let place = Place::new();
    let lines = "{\"task\":\"slow\"}\n{\"task\":\"bad\"}\n{\"task\":\"fast\"}\n";
    let file = place.file("jobs.jsonl", lines);
    let mut command = place.command(&["submit", "--wait", "--from", file.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for_jobs(&place, 3);
    end_all(&place, "fast", &Outcome::Returned(b"3".to_vec()));
    end_all(&place, "bad", &is_final(Cause::Crash));
    end_all(&place, "slow", &Outcome::Returned(b"1.0".to_vec()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let ended: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(
        (&ended[0]["result"], &ended[2]["result"]),
        (&json!(1.0), &json!(3))
    );
    assert_eq!(
        (&ended[1]["status"], &ended[1]["cause"]),
        (&json!("FAILED"), &json!("crash"))
    );
    assert_eq!(ended[1]["error"]["name"], "gone");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("attempt 1 failed: crash") && said.contains("attempt 1 returned"),
        "{said}"
    );
}

/// Until so many jobs are stored. Bounded by the time a test may take.
fn wait_for_jobs(place: &Place, count: usize) {
    let backend = open(&Options::new(&place.url())).unwrap();
    let mut bell = backend.broker.bell(Listen::Jobs(&[])).unwrap();
    let all = bulkhead_shared::catalog::Filter::default();
    while backend.catalog.list(&all, count).unwrap().len() < count {
        bell.wait(Heed::Everything, None, Duration::from_millis(100))
            .unwrap();
    }
}
