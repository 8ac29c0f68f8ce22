//! What runs again, how often, and when.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, submit};

fn hostile(place: &Place) -> Supervisor<'_> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "1"])
        .start()
}

/// When a text in a status was, as a number that can be compared.
fn at(status: &Value, key: &str) -> jiff::Timestamp {
    status[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_flaky_job_succeeds_at_last_and_every_attempt_is_kept() {
    let place = Place::new();
    let job = place.submit(&["flaky", "--args", "[2]"]);
    let mut supervisor = hostile(&place);
    assert_eq!(place.returned(&job), json!(3));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let status = place.status(&job);
    assert_eq!(
        (&status["attempt"], &status["retries"]),
        (&json!(3), &json!(2)),
        "{status:#}"
    );
    // What the last attempt did not die of is no longer the job's error.
    assert_eq!(
        (&status["cause"], &status["error"]),
        (&Value::Null, &Value::Null)
    );
    let attempts = status["attempts"].as_array().unwrap();
    let causes: Vec<_> = attempts.iter().map(|a| (&a["n"], &a["cause"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    let error = json!("error");
    assert_eq!(
        causes,
        [(&one, &error), (&two, &error), (&three, &Value::Null)]
    );
    for pair in attempts.windows(2) {
        // The registration asks for 20 ms between an attempt's end and the next.
        let pause = at(&pair[1], "started_at").duration_since(at(&pair[0], "finished_at"));
        assert!(pause.as_millis() >= 20, "{pause:?}: {status:#}");
    }
}

#[test]
fn a_job_without_retries_runs_once() {
    let place = Place::new();
    let job = place.submit(&["flaky", "--args", "[1]", "--max-retries", "0"]);
    let mut supervisor = hostile(&place);
    let status = place.ended(&job);
    assert_eq!(Verdict::of(&status), Verdict::failed("error", "error"));
    assert_eq!(status["attempt"], 1);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_that_waits_for_its_retry_says_when_and_why() {
    let place = Place::new();
    // The demo's tasks have the usual backoff: a minute.
    let job = place.submit(&["fail", "--args", r#"["no"]"#]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    let status = place.status_when(&job, "RETRYING", |status| status["status"] == "RETRYING");
    assert_eq!(status["cause"], "error", "{status:#}");
    assert_eq!(status["error"]["text"], "no");
    let finished = at(&status["attempts"][0], "finished_at");
    assert!(
        at(&status, "next_at").duration_since(finished).as_secs() >= 60,
        "{status:#}"
    );
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_poison_pill_is_buried_after_three_more_crashes_whatever_its_retries() {
    let place = Place::new();
    let job = submit(&place, &[json!({ "task": "wound", "max_retries": null })]).remove(0);
    let mut supervisor = hostile(&place);
    let status = place.ended(&job);
    assert_eq!(
        Verdict::of(&status),
        Verdict::crashed("SIGKILL"),
        "{status:#}"
    );
    assert_eq!(status["attempt"], 4, "{status:#}");
    let dead = place.run(&["dlq", "ls", "--json"]).succeeds();
    assert!(dead.stdout.contains(&job), "{dead:#?}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn bad_arguments_are_not_tried_again() {
    let place = Place::new();
    let job = place.submit(&["add", "--args", r#"["two", 3]"#]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    let status = place.ended(&job);
    assert_eq!(status["attempt"], 1, "{status:#}");
    assert_eq!(status["cause"], "error", "{status:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_from_the_dead_letters_keeps_its_name_and_gets_new_budgets() {
    let place = Place::new();
    let job = place.submit(&["flaky", "--args", "[1]", "--max-retries", "0"]);
    let mut supervisor = hostile(&place);
    assert_eq!(place.ended(&job)["status"], "FAILED");
    let _ = place.run(&["dlq", "retry", &job]).succeeds();
    let status = place.status_when(&job, "SUCCEEDED or FAILED again", |status| {
        status["attempt"] != 1 && !status["finished_at"].is_null()
    });
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
