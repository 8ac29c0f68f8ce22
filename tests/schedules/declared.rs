//! Schedules that command tasks of the configuration file declare.

use bulkhead_shared::catalog::Filter;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{fired, on_both, settled, store};

const PLAIN: &str = r#"
[task.beat]
command = ["echo", "{word}", "{more}"]
output = "text"
defaults = { more = ["a", "b"] }
"#;

/// What `schedule ls` says of the one there is.
fn listed(place: &Place) -> Option<Value> {
    let listed = place.run(&["schedule", "ls", "--json"]).succeeds().json();
    listed.as_array().unwrap().first().cloned()
}

#[test]
fn a_command_runs_by_itself_as_the_file_says_and_no_longer_once_it_does_not() {
    on_both(|place| {
        let with = |more: &str| place.file("bulkhead.toml", &format!("{PLAIN}{more}"));
        let _ = with("every = \"1s\"\noverlap = \"skip\"\nkwargs = { word = \"tick\" }\n");
        let mut supervisor = Supervisor::at(place).tasks_of("launcher").start();
        let store = store(place);
        let first = until("two firings", PATIENCE, || {
            let fired = fired(&store, "beat");
            fired.keys().nth(1).copied()
        });
        let fired_at = settled(&store, "beat", first);
        assert!(fired_at.len() >= 2, "{fired_at:?}");
        for job in fired(&store, "beat").into_values().take(2) {
            assert_eq!(place.returned(&job.uuid.to_string()), "tick a b\n");
        }
        let row = listed(place).unwrap();
        assert_eq!(
            (&row["name"], &row["state"]),
            (&json!("beat"), &json!("active"))
        );
        assert_eq!(
            (&row["task"], &row["overlap"]),
            (&json!("beat"), &json!("skip"))
        );

        // Another trigger takes its place, and none at all.
        let _ = with("cron = \"0 3 * * *\"\ntz = \"Europe/Berlin\"\nargs = [\"tock\"]\n");
        supervisor.signal(libc::SIGHUP);
        until("the other trigger", PATIENCE, || {
            let means = listed(place)?["means"].as_str()?.to_owned();
            means.starts_with("at 03:00").then_some(())
        });
        let _ = with("");
        supervisor.signal(libc::SIGHUP);
        until("no schedule", PATIENCE, || {
            listed(place).is_none().then_some(())
        });
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn one_that_a_living_supervisor_declares_stays_and_goes_with_it() {
    on_both(|place| {
        let _ = place.file(
            "bulkhead.toml",
            &format!("{PLAIN}args = [1]\ncron = \"@daily\"\n"),
        );
        let mut older = Supervisor::at(place)
            .tasks_of("launcher")
            .args(["--lease", "2s"])
            .start();
        older.says("serving");
        let _ = until("the schedule", PATIENCE, || listed(place));
        let _ = place.file("bulkhead.toml", PLAIN);
        let mut newer = Supervisor::at(place)
            .tasks_of("launcher")
            .args(["--lease", "2s"])
            .start();
        newer.says("serving");
        // Both have had their say when each has run a job.
        let job = place.submit(&["beat", "--args", "[\"x\"]"]);
        let _ = place.ended(&job);
        assert_eq!(listed(place).unwrap()["state"], "active");
        assert_eq!(older.stop(), 0, "{}", older.log());
        until("no schedule", PATIENCE, || {
            listed(place).is_none().then_some(())
        });
        newer.says("forgotten");
        assert_eq!(newer.stop(), 0, "{}", newer.log());
    });
}

#[test]
fn at_start_a_command_runs_on_each_supervisor() {
    on_both(|place| {
        let text = format!("{PLAIN}args = [\"up\"]\nat-start = true\non = \"each\"\n");
        let _ = place.file("bulkhead.toml", &text);
        let start = || Supervisor::at(place).tasks_of("launcher").start();
        let mut fleet = [start(), start()];
        let store = store(place);
        let jobs = until("a job for each", PATIENCE, || {
            let jobs = store.catalog.list(&Filter::default(), 100).unwrap();
            (jobs.len() == 2).then_some(jobs)
        });
        for job in jobs {
            assert!(job.task.as_str().starts_with("beat@"), "{}", job.task);
            assert_eq!(place.returned(&job.uuid.to_string()), "up a b\n");
        }
        for supervisor in &mut fleet {
            assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        }
    });
}
