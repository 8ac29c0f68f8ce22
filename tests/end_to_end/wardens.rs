//! Inits that stay: under a root's `strict` one of them stands above one task after the other.

use bulkhead_shared::pidfd::PidFd;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::parts::{burst, once, statuses, submit, with};

const STRICT: [&str; 4] = ["--processes", "1", "--sandbox", "strict"];

/// Where tasks have users of their own.
fn has_wardens() -> bool {
    nix::unistd::geteuid().is_root()
}

fn pid_of(status: &Value) -> i32 {
    i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
}

fn kill(pid: i32) {
    PidFd::open(pid).unwrap().signal(libc::SIGKILL).unwrap();
}

#[test]
fn one_init_serves_task_after_task_and_says_of_each_how_it_ended_and_what_it_took() {
    if has_wardens() {
        let pids = all_end_as_they_should("");
        assert!(pids.windows(2).all(|two| two[0] == two[1]), "{pids:?}");
    }
}

#[test]
fn where_no_init_can_stay_each_task_has_one_of_its_own_and_ends_the_same_way() {
    if has_wardens() {
        let mut pids = all_end_as_they_should("wardens");
        let all = pids.len();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), all);
    }
}

/// Jobs that end in many ways; the processes that were above them.
fn all_end_as_they_should(without: &str) -> Vec<i32> {
    let place = Place::new();
    let add = once("add", json!([2, 3]));
    let hang = with(once("hang", json!([])), "timeout", "300ms");
    let lines = [
        add.clone(),
        once("allocate", json!([48])),
        once("crash", json!(["SEGV"])),
        with(hang, "patience", "100ms"),
        once("exit", json!([3])),
        once("escape", json!([false])),
        with(once("sleep", json!([60])), "timeout", "300ms"),
        add,
    ];
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place)
        .args(STRICT)
        .args(["--burst"])
        .env("BULKHEAD_WITHOUT", without)
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let found = statuses(&place, &jobs);
    let causes = found.iter().map(|status| {
        let error = &status["error"];
        (
            status["cause"].as_str().unwrap_or("none"),
            error["signal"].as_str().unwrap_or_default(),
            error["exit_code"].as_i64(),
        )
    });
    let expected = [
        ("none", "", None),
        ("none", "", None),
        ("crash", "SIGSEGV", None),
        ("timeout", "SIGKILL", None),
        ("crash", "", Some(3)),
        ("none", "", None),
        ("timeout", "", Some(0)),
        ("none", "", None),
    ];
    assert_eq!(causes.collect::<Vec<_>>(), expected, "{found:#?}");
    let peak = |status: &Value| status["usage"]["max_rss_kb"].as_u64().unwrap();
    assert!(peak(&found[1]) > 48 << 10, "{:#}", found[1]);
    // What one took is not said of those that come after it, however they ended.
    for status in &found[2..] {
        assert!(peak(status) < 48 << 10, "{status:#}");
    }
    found.iter().map(pid_of).collect()
}

#[test]
fn an_init_that_does_not_answer_is_ended_with_its_task() {
    if !has_wardens() {
        return;
    }
    let place = Place::new();
    let hang = with(once("hang", json!([])), "timeout", "500ms");
    let job = submit(&place, &[with(hang, "patience", "100ms")]).remove(0);
    let mut supervisor = Supervisor::start(&place, &STRICT);
    let pid = Pid::from_raw(pid_of(&place.running(&job)));
    // Whoever is traced goes on when the one who traces says so, whatever signal comes but SIGKILL.
    ptrace::attach(pid).unwrap();
    let ended = loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(..) => {}
            other => break other,
        }
    };
    assert_eq!(ended, WaitStatus::Signaled(pid, Signal::SIGKILL, false));
    let status = place.ended(&job);
    assert_eq!(status["cause"], "timeout", "{status:#}");
    supervisor.says("an init does not end its task");
    let next = place.submit(&["add", "--args", "[2, 3]"]);
    assert_eq!(place.returned(&next), json!(5));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn an_init_that_somebody_kills_takes_its_own_task_along_and_no_other() {
    if !has_wardens() {
        return;
    }
    let place = Place::new();
    let before = once("add", json!([2, 3]));
    let held = once("sleep", json!([3600]));
    let jobs = submit(&place, &[before, held]);
    let mut supervisor = Supervisor::start(&place, &STRICT);
    assert_eq!(place.returned(&jobs[0]), json!(5));
    let running = place.running(&jobs[1]);
    kill(pid_of(&running));
    let status = place.ended(&jobs[1]);
    assert_eq!(
        (&status["cause"], &status["error"]["signal"]),
        (&json!("crash"), &json!("SIGKILL")),
        "{status:#}"
    );
    // Its next one waits for a job when somebody kills it as well.
    let next = place.submit(&["add", "--args", "[2, 3]"]);
    let idle = pid_of(&place.ended(&next));
    assert_ne!(idle, pid_of(&running));
    kill(idle);
    let last = place.submit(&["add", "--args", "[2, 3]"]);
    assert_eq!(place.returned(&last), json!(5));
    assert_ne!(pid_of(&place.status(&last)), idle);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn tasks_under_other_profiles_have_other_inits() {
    if !has_wardens() {
        return;
    }
    let place = Place::new();
    let config = "[profile.other]\ninherits = \"strict\"\nprocesses = 32\n";
    let config = place.file("bulkhead.toml", config);
    let add = once("add", json!([2, 3]));
    let lines: Vec<_> = ["strict", "other", "other", "strict"]
        .map(|profile| with(add.clone(), "profile", profile))
        .to_vec();
    let arguments = [&STRICT[..], &["--config", config.to_str().unwrap()]].concat();
    let found = burst(&place, &arguments, &lines);
    for (status, profile) in found.iter().zip(["strict", "other", "other", "strict"]) {
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        let isolation = status["isolation"].as_str().unwrap();
        assert!(isolation.starts_with(&format!("{profile}: ")), "{status:#}");
    }
    for two in [[0, 1], [2, 3], [0, 2], [1, 3]] {
        let [one, other] = two.map(|job| pid_of(&found[job]));
        assert_ne!(one, other, "{found:#?}");
    }
}

#[test]
fn a_task_that_may_leave_objects_of_ipc_leaves_none_to_the_next() {
    if !has_wardens() {
        return;
    }
    let place = Place::new();
    let config = "[profile.open]\ninherits = \"strict\"\n\
                  allow-syscalls = [\"msgget\", \"semget\"]\n";
    let config = place.file("bulkhead.toml", config);
    let names = ["leave-things-behind", "find-what-was-left"];
    let jobs = submit(&place, &names.map(|name| once("attack", json!([name, {}]))));
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--processes", "1", "--sandbox", "open"])
        .args(["--config", config.to_str().unwrap()])
        .start();
    let [left, found] = [0, 1].map(|job: usize| place.returned(&jobs[job])["refused"].clone());
    // Both objects, and an attribute where the kernel has such.
    let left = left.as_str().unwrap();
    assert!(
        left.starts_with("3 of") || left.starts_with("2 of"),
        "{left}"
    );
    assert_eq!(found, "nothing is left of others");
    let pids: Vec<_> = jobs.iter().map(|job| pid_of(&place.status(job))).collect();
    assert_eq!(pids[0], pids[1], "the first one's init was to serve both");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_supervisor_that_dies_takes_inits_along() {
    if !has_wardens() {
        return;
    }
    let place = Place::new();
    let job = place.submit(&["add", "--args", "[2, 3]"]);
    let mut supervisor = Supervisor::start(&place, &STRICT);
    assert_eq!(place.returned(&job), json!(5));
    supervisor.kill();
    supervisor.leaves_nothing();
}
