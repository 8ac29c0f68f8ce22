//! What happens to the child binary and to the processes between the supervisor and its tasks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_shared::pidfd::PidFd;
use bulkhead_tests::cli::{Place, program};
use bulkhead_tests::supervise::{Supervisor, copy};
use serde_json::json;

use crate::parts::{Verdict, Who, once, place_of, submit, with};

fn script(place: &Place, text: &str) -> PathBuf {
    let path = place.file("child", &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Puts a good child in the place of a bad one, in one move.
fn mend(place: &Place, path: &Path) {
    let good = place.path("good");
    copy(&program("child"), &good);
    fs::rename(good, path).unwrap();
}

/// The supervisor says `words` again and again, with pauses; once the child is good, it works.
fn is_borne(place: &Place, path: &Path, words: &str) {
    let job = place.submit(&["add", "--args", "[2, 3]"]);
    let mut supervisor = Supervisor::at(place)
        .child(path)
        .args(["--processes", "2"])
        .start();
    let log = supervisor.log_file().to_owned();
    let mut until_tries = |count: usize| {
        supervisor.wait_for("more tries", |_| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            (log.matches("trying again").count() >= count).then_some(log)
        })
    };
    until_tries(1);
    let start = bulkhead_shared::time::Now::read().mono;
    let log = until_tries(3);
    assert!(log.contains(words), "{log}");
    // Two tries lie at least one pause apart, so this is a lower bound however slow the machine is.
    let took = bulkhead_shared::time::Now::read().mono - start;
    assert!(
        took.as_millis() >= 200,
        "no pause between tries: {took:?}\n{log}"
    );
    mend(place, path);
    assert_eq!(place.returned(&job), json!(5));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_child_binary_that_is_missing_is_said_and_waited_for() {
    let place = Place::new();
    is_borne(&place, &place.path("child"), "is missing");
}

#[test]
fn a_child_binary_that_is_not_executable_is_said_and_waited_for() {
    let place = Place::new();
    let path = place.file("child", "no program");
    is_borne(&place, &path, "cannot be executed");
}

#[test]
fn a_program_that_is_no_child_is_said_and_borne() {
    let place = Place::new();
    let path = script(&place, "printf 'HTTP/1.1 200' >&0; exec cat >/dev/null");
    is_borne(&place, &path, "it is not a Bulkhead child");
}

#[test]
fn a_child_of_another_protocol_version_is_said_and_borne() {
    let place = Place::new();
    let path = script(
        &place,
        r"printf 'BLKH\011\000\000\000' >&0; exec cat >/dev/null",
    );
    is_borne(&place, &path, "it speaks protocol version 9");
}

#[test]
fn a_child_that_dies_at_its_start_is_said_with_its_last_words_and_borne() {
    let place = Place::new();
    let path = script(&place, "echo I give up >&2; exit 3");
    is_borne(&place, &path, "it said: I give up");
}

#[test]
fn a_changed_child_binary_is_noticed() {
    let place = Place::new();
    let path = place.path("child");
    copy(&program("hostile-child"), &path);
    let mut supervisor = Supervisor::at(&place)
        .child(&path)
        .args(["--processes", "1", "--unknown-after", "never"])
        .start();
    let first = place.submit(&["flaky", "--args", "[0]"]);
    assert_eq!(place.returned(&first), json!(1));
    mend(&place, &path);
    // The new child's tasks are known as soon as its zygote has said them; a process must be
    // asked for first, and each ended job asks for one.
    let new = place.submit(&["add", "--args", "[2, 3]"]);
    supervisor.wait_for("the new child", |place| {
        if place.status(&new)["status"] == "SUCCEEDED" {
            return Some(());
        }
        // Ended before the next look, so that none is given back at the stop.
        let other = place.submit(&["flaky", "--args", "[0]"]);
        assert_eq!(place.returned(&other), json!(1));
        None
    });
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

/// The zygote of a supervisor: of all that it has started only zygotes lead a session.
pub(crate) fn zygote(supervisor: &Supervisor<'_>) -> i32 {
    let is_zygote = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // State, parent, group, session.
        let fields: Vec<_> = rest.split_whitespace().take(4).collect();
        let is = |field: usize, id: String| fields.get(field).is_some_and(|it| *it == id);
        is(1, supervisor.pid().to_string()) && is(3, pid.to_string())
    };
    let zygotes: Vec<_> = supervisor
        .processes()
        .into_iter()
        .filter(is_zygote)
        .collect();
    assert_eq!(zygotes.len(), 1, "{zygotes:?}");
    zygotes[0]
}

/// Kilobytes of the code of a process's program: all, those that it holds, and those of its own.
fn code_of(pid: i32) -> [u64; 3] {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    // Its copy in the place of this test has a number behind its name.
    let is_code = |line: &&str| line.contains(" r-xp ") && line.contains("/child");
    let mut lines = maps.lines().skip_while(|line| !is_code(line));
    ["Size:", "Rss:", "Anonymous:"].map(|name| {
        let line = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        let number = line.trim().strip_suffix(" kB").unwrap();
        number.parse().unwrap()
    })
}

#[test]
fn a_zygote_holds_ready_what_its_tasks_touch_of_the_program() {
    let is_root = nix::unistd::geteuid().is_root();
    for (who, sandbox) in [
        (Who::Root, "none"),
        (Who::Root, "process"),
        (Who::Root, "strict"),
        (Who::User, "none"),
        (Who::User, "process"),
        (Who::User, "strict"),
    ] {
        if !is_root && sandbox != "none" {
            // These hide their memory from whoever is not root.
            continue;
        }
        let place = place_of(who);
        let job = place.submit(&["add", "--args", "[2, 3]"]);
        let mut supervisor = Supervisor::at(&place)
            .args(["--processes", "1", "--sandbox", sandbox])
            .args(["--sandbox-best-effort"])
            .start();
        assert_eq!(place.returned(&job), json!(5));
        let [all, held, own] = code_of(zygote(&supervisor));
        let what = format!("{who:?}, {sandbox}: {held} of {all} kB, {own} of its own");
        assert!(
            own > 0,
            "forks copy no page table without a page of its own: {what}"
        );
        assert!(held > own && held < all / 2, "{what}");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn the_death_of_the_zygote_harms_no_running_task_and_a_new_one_takes_its_place() {
    let place = Place::new();
    let go = place.path("go");
    let held = submit(&place, &[once("hold", json!([go]))]).remove(0);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--processes", "2", "--log-level", "debug"])
        .start();
    let pid = place.running(&held)["pid"].clone();
    let dead = zygote(&supervisor);
    PidFd::open(dead).unwrap().signal(libc::SIGKILL).unwrap();
    supervisor.says("the zygote died");
    let next = submit(
        &place,
        &[
            once("flaky", json!([0])),
            once("flaky", json!([0])),
            once("flaky", json!([0])),
        ],
    );
    for job in &next {
        assert_eq!(place.returned(job), json!(1));
    }
    assert_eq!(place.status(&held)["status"], "RUNNING");
    fs::write(&go, "").unwrap();
    let status = place.ended(&held);
    assert_eq!(
        Verdict::of(&status),
        Verdict::succeeded(),
        "{status:#}\n{}",
        supervisor.log()
    );
    assert_eq!(status["pid"], pid);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_child_that_somebody_stops_is_ended_at_its_deadline() {
    let place = Place::new();
    let line = with(once("sleep", json!([3600])), "timeout", "2s");
    let job = submit(&place, &[line]).remove(0);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    let pid = place.running(&job)["pid"].as_i64().unwrap();
    let stopped = PidFd::open(i32::try_from(pid).unwrap()).unwrap();
    stopped.signal(libc::SIGSTOP).unwrap();
    let status = place.ended(&job);
    assert_eq!(status["cause"], "timeout", "{status:#}");
    let other = place.submit(&["add", "--args", "[2, 3]"]);
    assert_eq!(place.returned(&other), json!(5));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
