//! Tasks that sleep for days, are woken, and remember what they did.

use bulkhead_shared::Timestamp;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{Clock, on_both, run};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn start_with<'a>(place: &'a Place, clock: &Clock, child: Option<&str>) -> Supervisor<'a> {
    let builder = Supervisor::at(place).args([
        "--processes",
        "2",
        "--groups",
        "1",
        "--lease",
        "2s",
        "--task-user",
        "keep",
    ]);
    let builder = match child {
        Some(child) => builder.tasks_of(child),
        None => builder,
    };
    builder.env("BULKHEAD_TEST_CLOCK", clock.text()).start()
}

fn start<'a>(place: &'a Place, clock: &Clock) -> Supervisor<'a> {
    start_with(place, clock, None)
}

fn submit(place: &Place, clock: &Clock, task: &str, args: Value, more: &[&str]) -> String {
    let args = args.to_string();
    let words = ["submit", task, "--args", &args];
    let words: Vec<_> = words.iter().chain(more).copied().collect();
    run(place, clock, &words).succeeds().line()
}

/// Waits until a job sleeps, and says how it stands.
fn asleep(place: &Place, job: &str) -> Value {
    until("the job to sleep", PATIENCE, || {
        let status = place.status(job);
        assert_ne!(status["status"], "FAILED", "{status:#}");
        (!status["sleeping"].is_null()).then_some(status)
    })
}

fn journal(place: &Place, job: &str) -> Value {
    place.run(&["journal", job, "--json"]).succeeds().json()
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_sleep_costs_no_process_and_ends_at_its_time() {
    on_both(|place| {
        let clock = Clock::new(place, 0);
        let jobs = ["nap", "thread_nap", "long_nap_async"]
            .map(|task| submit(place, &clock, task, json!([7200]), &[]));
        let mut supervisor = start(place, &clock);
        for job in &jobs {
            let status = asleep(place, job);
            assert_eq!(status["attempt"], 0, "{status:#}");
            assert_eq!(status["pid"], Value::Null, "{status:#}");
        }
        // Another supervisor, perhaps of another machine, goes on.
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        supervisor.leaves_nothing();
        let mut supervisor = start(place, &clock);
        clock.turn(HOUR);
        for job in &jobs {
            asleep(place, job);
        }
        clock.turn(2 * HOUR + 60_000);
        for job in &jobs {
            let times = place.returned(job);
            let slept = seconds(&times[1]) - seconds(&times[0]);
            let slept = if job == &jobs[2] {
                slept / 1000.0
            } else {
                slept
            };
            assert!((7200.0..7400.0).contains(&slept), "{times}");
            let status = place.status(job);
            assert_eq!(
                status["attempts"].as_array().unwrap().len(),
                1,
                "{status:#}"
            );
            assert_eq!(status["sleeping"], Value::Null);
            let kinds: Vec<_> = journal(place, job)["entries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["kind"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(kinds, ["now", "sleep", "now"]);
        }
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        supervisor.leaves_nothing();
    });
}

#[test]
fn only_the_job_that_sleeps_leaves_its_group() {
    let place = Place::new();
    let clock = Clock::new(&place, 0);
    let word = place.path("word");
    let sleeper = submit(&place, &clock, "thread_nap", json!([3600]), &[]);
    let neighbour = submit(&place, &clock, "thread_sleep", json!([0.5]), &[]);
    let mut supervisor = start(&place, &clock);
    asleep(&place, &sleeper);
    assert_eq!(place.returned(&neighbour), Value::Null);
    let status = place.status(&neighbour);
    assert_eq!(
        status["attempts"].as_array().unwrap().len(),
        1,
        "{status:#}"
    );
    assert!(!word.exists());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn the_order_of_the_guide_stands_if_approved_and_is_refunded_if_not() {
    on_both(|place| {
        let clock = Clock::new(place, 0);
        let order = |who| submit(place, &clock, "order", json!([who, 500]), &[]);
        let (ada, bob) = (order("ada"), order("bob"));
        let mut supervisor = start_with(place, &clock, Some("hostile-child"));
        asleep(place, &ada);
        assert_eq!(asleep(place, &bob)["sleeping"]["signal"], "approved");
        clock.turn(2 * DAY);
        let by = r#"{"by": "eve"}"#;
        let signal = ["signal", &ada, "approved", "--json", by, "--key", "mail-1"];
        let _ = run(place, &clock, &signal).succeeds();
        assert_eq!(place.returned(&ada), "charge of 500 stands");
        let late = run(place, &clock, &signal).ends_with(5);
        let _ = late.says(&["has ended"]);
        clock.turn(3 * DAY + 60_000);
        assert_eq!(place.returned(&bob), "charge of 500, then refund of 500");
        let entries = journal(place, &bob)["entries"].clone();
        let names: Vec<_> = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one["name"].as_str().unwrap(),
                    one["tries"].as_u64().unwrap_or(0),
                )
            })
            .collect();
        assert_eq!(names, [("charge", 1), ("approved", 0), ("refund", 1)]);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn signals_may_come_early_and_twice_and_wake_at_once() {
    on_both(|place| {
        let clock = Clock::new(place, 0);
        let early = submit(place, &clock, "approval", json!([600]), &[]);
        let send = |job: &str, text: &str| {
            let words = ["signal", job, "approved", "--json", text, "--key", "k"];
            run(place, &clock, &words)
        };
        assert!(
            send(&early, "1")
                .succeeds()
                .line()
                .contains("has the signal")
        );
        assert!(send(&early, "2").succeeds().line().contains("already"));
        let mut supervisor = start(place, &clock);
        assert_eq!(place.returned(&early), 1);
        let later = submit(place, &clock, "approval", json!([600]), &[]);
        let status = asleep(place, &later);
        assert_eq!(status["sleeping"]["signal"], "approved");
        let at = Timestamp::parse(status["next_at"].as_str().unwrap()).unwrap();
        assert!(at > Timestamp::now());
        let shown = run(place, &clock, &["status", &later])
            .succeeds()
            .stdout
            .clone();
        for words in ["until the signal `approved`", "wait `approved`"] {
            assert!(shown.contains(words), "{shown}");
        }
        let _ = send(&later, r#""yes""#).succeeds();
        assert_eq!(place.returned(&later), "yes");
        let too_late = submit(
            place,
            &clock,
            "approval",
            json!([600]),
            &["--max-retries", "0"],
        );
        asleep(place, &too_late);
        clock.turn(HOUR);
        let status = place.ended(&too_late);
        let text = status["error"]["text"].as_str().unwrap();
        assert!(text.contains("nobody approved"), "{status:#}");
        let _ = send(&too_late, "1").ends_with(5);
        let nobody = bulkhead_shared::Uuid::now_v7().to_string();
        let _ = send(&nobody, "1").ends_with(3);
        let _ = run(place, &clock, &["journal", &nobody]).ends_with(3);
        let _ = run(place, &clock, &["signal", &later, "a b"])
            .ends_with(2)
            .says(&["`a b`"]);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn a_timeout_counts_the_time_a_job_runs_and_not_the_time_it_sleeps() {
    let place = Place::new();
    let clock = Clock::new(&place, 0);
    let dozes = submit(&place, &clock, "doze", json!([3, 100]), &[]);
    let toils = submit(&place, &clock, "toil", json!([9, 100]), &[]);
    let mut supervisor = start_with(&place, &clock, Some("hostile-child"));
    let mut hours = 0;
    let ended = until("both to end", PATIENCE, || {
        let statuses = [&dozes, &toils].map(|job| place.status(job));
        let has_ended = |one: &Value| !one["finished_at"].is_null();
        if statuses
            .iter()
            .all(|one| has_ended(one) || !one["sleeping"].is_null())
        {
            hours += 1;
            clock.turn(hours * HOUR + hours * 60_000);
        }
        statuses.iter().all(has_ended).then_some(statuses)
    });
    assert_eq!(ended[0]["status"], "SUCCEEDED", "{:#}", ended[0]);
    // Four times a hundred milliseconds are the four hundred that it may run.
    assert_eq!(ended[1]["cause"], "timeout", "{:#}", ended[1]);
    assert_eq!(ended[1]["attempt"], 1, "{:#}", ended[1]);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_job_that_sleeps_can_be_revoked_and_expires() {
    on_both(|place| {
        let clock = Clock::new(place, 0);
        let revoked = submit(place, &clock, "nap", json!([7200]), &[]);
        let expires = submit(place, &clock, "nap", json!([7200]), &["--expires", "1h"]);
        let mut supervisor = start(place, &clock);
        asleep(place, &revoked);
        asleep(place, &expires);
        let _ = run(place, &clock, &["revoke", &revoked]).succeeds();
        assert_eq!(place.ended(&revoked)["cause"], "revoked");
        clock.turn(HOUR + 60_000);
        assert_eq!(place.ended(&expires)["cause"], "expired");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}
