//! What the tests of this program share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

/// Who runs the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

/// A place of root's or of an ordinary user that nothing else runs as.
#[expect(
    clippy::print_stderr,
    reason = "a test that shows less than it might says why"
)]
pub(crate) fn place_of(who: Who) -> Place {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !nix::unistd::geteuid().is_root() {
        if who == Who::Root {
            eprintln!("not root: the supervisor runs as this user");
        }
        return Place::new();
    }
    match who {
        Who::Root => Place::new(),
        Who::User => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            Place::of_user(20_000 + (std::process::id() * 64 + number) % 40_000)
        }
    }
}

/// A line for `submit --from`, to be run once.
pub(crate) fn once(task: &str, args: Value) -> Value {
    json!({ "task": task, "args": args, "max_retries": 0 })
}

/// The same line with another key.
pub(crate) fn with(mut line: Value, key: &str, value: impl Into<Value>) -> Value {
    line[key] = value.into();
    line
}

/// Submits messages; their ids in order.
pub(crate) fn submit(place: &Place, lines: &[Value]) -> Vec<String> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = place.file("messages.jsonl", &text);
    let submitted = place.run(&["submit", "--from", file.to_str().unwrap()]);
    submitted
        .succeeds()
        .lines()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// All that is known of these jobs, in order.
pub(crate) fn statuses(place: &Place, jobs: &[String]) -> Vec<Value> {
    let known = place.run(&["jobs", "--json", "--limit", "1000"]).succeeds();
    let known: Vec<Value> = serde_json::from_str(&known.stdout).unwrap();
    let mut known: HashMap<_, _> = known
        .into_iter()
        .map(|status| (status["uuid"].as_str().unwrap().to_owned(), status))
        .collect();
    jobs.iter().map(|job| known.remove(job).unwrap()).collect()
}

/// Waits for the end of these jobs; all that is known of them, in order.
pub(crate) fn ended(place: &Place, jobs: &[String]) -> Vec<Value> {
    jobs.iter().map(|job| place.ended(job)).collect()
}

/// Runs messages to their end by a supervisor that ends with them.
pub(crate) fn burst(place: &Place, arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let jobs = submit(place, lines);
    let mut supervisor = Supervisor::at(place)
        .args(arguments)
        .args(["--burst"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    statuses(place, &jobs)
}

/// A verdict without what differs from run to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub status: String,
    pub cause: Option<String>,
    pub name: Option<String>,
    pub signal: Option<String>,
    pub exit_code: Option<i64>,
}

impl Verdict {
    pub(crate) fn of(status: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let error = &status["error"];
        Self {
            status: text(&status["status"]).unwrap(),
            cause: text(&status["cause"]),
            name: text(&error["name"]),
            signal: text(&error["signal"]),
            exit_code: error["exit_code"].as_i64(),
        }
    }

    pub(crate) fn succeeded() -> Self {
        Self {
            status: "SUCCEEDED".into(),
            cause: None,
            name: None,
            signal: None,
            exit_code: None,
        }
    }

    /// Failed for this cause with an error of this name.
    pub(crate) fn failed(cause: &str, name: &str) -> Self {
        Self {
            status: "FAILED".into(),
            cause: Some(cause.into()),
            name: Some(name.into()),
            signal: None,
            exit_code: None,
        }
    }

    pub(crate) fn by_signal(self, signal: &str) -> Self {
        Self {
            signal: Some(signal.into()),
            ..self
        }
    }

    pub(crate) fn with_code(self, code: i64) -> Self {
        Self {
            exit_code: Some(code),
            ..self
        }
    }

    pub(crate) fn crashed(signal: &str) -> Self {
        Self::failed("crash", "crash").by_signal(signal)
    }
}
