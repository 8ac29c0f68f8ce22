//! Commands that are told how a command task has ended, and secrets that only they have.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, place_of, statuses, submit};

const TASKS: &str = r#"
[secret.token]
variable = "TOKEN"

[task.work]
shell = true
command = ["ls -l /proc/self/fd | grep -c memfd; case $1 in 0) exit 0;; die) kill -SEGV $$;; *) exit \"$1\";; esac", "{code}"]
retry = [75]
max-retries = 1
backoff = "10ms"
concurrency = 2
on-success = ["sh", "-c", "printf 'success %s ' \"$1 $2\"; cat", "sh", "{uuid}", "{attempt}"]
on-retry = ["sh", "-c", "printf 'retry %s ' \"$1 $2 $3\"; cat", "sh", "{uuid}", "{attempt}", "{cause}"]
on-failure = ["sh", "-c", "printf 'failure %s ' \"$1 $2 $3\"; wc -c < \"$4\"; cat", "sh", "{uuid}", "{attempt}", "{cause}", "{secret.token}"]
on-revocation = ["sh", "-c", "printf 'revocation %s ' \"$1 $2\"; cat", "sh", "{uuid}", "{attempt}"]
"#;

/// What the hooks that have ended for a job have printed, in the order of their submission.
fn told(place: &Place, job: &str, kinds: &[&str]) -> Vec<String> {
    until("the hooks", PATIENCE, || {
        let listed = place.run(&["jobs", "--json", "--limit", "100"]).succeeds();
        let listed = listed.json().as_array().unwrap().clone();
        let is_its = |one: &&Value| one["status"] == "SUCCEEDED" && !one["hook"].is_null();
        let hooks = listed.iter().rev().filter(is_its);
        let said = hooks.map(|one| one["output"]["stdout"].as_str().unwrap().to_owned());
        let said: Vec<_> = said.filter(|said| said.contains(job)).collect();
        (said.len() == kinds.len()).then_some(said)
    })
}

fn tells(who: Who, sandbox: &str) {
    let place = place_of(who);
    let _ = place.file("bulkhead.toml", TASKS);
    let job = |code: &str| json!({"task": "work", "kwargs": {"code": code}});
    let jobs = submit(&place, &[job("0"), job("75"), job("1"), job("die")]);
    // One that nobody has run is revoked.
    let waits = place.submit(&["work", "--kwargs", r#"{"code": "0"}"#, "--delay", "1h"]);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("launcher")
        .args(["--processes", "2", "--sandbox", sandbox])
        .env("TOKEN", "s3cret!")
        .start();
    let all = [
        (&jobs[0], &["success"][..]),
        (&jobs[1], &["retry", "failure"]),
        (&jobs[2], &["failure"]),
        (&jobs[3], &["retry", "failure"]),
    ];
    for (job, kinds) in all {
        let said = told(&place, job, kinds);
        for (said, kind) in said.iter().zip(kinds) {
            assert!(said.starts_with(&format!("{kind} {job} ")), "{said}");
            // All that is known is JSON on its standard input.
            let occasion: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
            assert_eq!(occasion["uuid"], **job);
            assert_eq!(said.contains(" 7\n"), *kind == "failure", "{said}");
        }
    }
    let said = told(&place, &jobs[3], &["retry", "failure"]);
    assert!(
        said[1].starts_with(&format!("failure {} 2 crash ", jobs[3])),
        "{said:?}"
    );
    let _ = place.run(&["revoke", &waits]).succeeds();
    let said = told(&place, &waits, &["revocation"]);
    assert!(
        said[0].starts_with(&format!("revocation {waits} 0 ")),
        "{said:?}"
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    // The task itself never had what only its hook is given.
    let found = statuses(&place, &jobs);
    assert_eq!(
        Verdict::of(&found[0]),
        Verdict::succeeded(),
        "{:#}",
        found[0]
    );
    assert_eq!(found[0]["output"]["stdout"], "0\n", "{:#}", found[0]);
    assert!(!supervisor.log().contains("s3cret"));
}

#[test]
fn each_end_of_a_command_is_told_to_its_hook() {
    tells(Who::Root, "process");
}

#[test]
fn the_same_under_strict_whoever_runs_the_supervisor() {
    tells(Who::Root, "strict");
    tells(Who::User, "strict");
}

#[test]
fn a_hook_that_the_file_no_longer_has_fails_once_and_is_named() {
    let place = Place::new();
    let start = |text: &str| {
        let _ = place.file("bulkhead.toml", text);
        let supervisor = Supervisor::at(&place).tasks_of("launcher").start();
        supervisor.says("serving");
        supervisor
    };
    let without = "[task.t]\ncommand = [\"false\"]\n";
    let mut supervisor = start(&format!("{without}on-revocation = [\"true\"]\n"));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let job = place.submit(&["t", "--delay", "1h"]);
    let _ = place.run(&["revoke", &job]).succeeds();
    let mut supervisor = start(without);
    let hook = until("the hook to fail", PATIENCE, || {
        let listed = place.run(&["jobs", "--json"]).succeeds().json();
        let mut hooks = listed.as_array().unwrap().iter();
        let hook = hooks.find(|one| !one["hook"].is_null())?;
        (hook["status"] == "FAILED").then(|| hook.clone())
    });
    assert_eq!(hook["error"]["name"], "hook", "{hook:#}");
    let text = hook["error"]["text"].as_str().unwrap();
    assert!(text.contains("no hook `on_revocation` any more"), "{text}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
