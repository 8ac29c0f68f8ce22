//! What tasks print, what they say of their progress, and what they consume.

use std::fs;

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, burst, ended, once, submit, with};

const GIGABYTE: u64 = 1 << 30;

/// Bytes of each output that are kept.
const KEPT: usize = 64 << 10;

#[test]
fn of_a_gigabyte_of_output_all_is_counted_and_the_end_is_kept() {
    let place = Place::new();
    let lines = [once("print", json!([GIGABYTE])), once("print", json!([5]))];
    let statuses = burst(&place, &["--processes", "2"], &lines);
    let output = |n: usize| &statuses[n]["output"];
    assert_eq!(Verdict::of(&statuses[0]), Verdict::succeeded());
    assert_eq!(output(0)["stdout_bytes"], GIGABYTE);
    assert_eq!(output(0)["stdout"].as_str().unwrap().len(), KEPT);
    assert_eq!(output(0)["truncated"], true);
    assert_eq!(output(1)["stdout"], "All w");
    assert_eq!(output(1)["truncated"], false);
}

#[test]
fn how_much_is_kept_is_said_by_the_profile() {
    let place = Place::new();
    let text = "[profile.quiet]\noutput = 10\n[profile.mute]\noutput = 0\n\
                [profile.loud]\noutput = \"1MiB\"\n[task.print]\nprofile = \"loud\"\n";
    let file = place.file("outputs.toml", text);
    let print = |profile: &str| with(once("print", json!([200_000])), "profile", profile);
    let lines = ["quiet", "mute", "loud"].map(print);
    let statuses = burst(&place, &["--config", file.to_str().unwrap()], &lines);
    for (status, kept) in statuses.iter().zip([10, 0, 200_000]) {
        let output = &status["output"];
        assert_eq!(output["stdout"].as_str().unwrap().len(), kept);
        assert_eq!(output["stdout_bytes"], 200_000);
        assert_eq!(output["truncated"], kept < 200_000);
    }
    // What its task has not, a message does not get.
    let place = Place::new();
    let file = place.file("outputs.toml", text);
    let file = file.to_str().unwrap();
    let other = with(once("add", json!([1, 2])), "profile", "loud");
    let refused = &burst(&place, &["--config", file], &[other])[0];
    let text = refused["error"]["text"].as_str().unwrap();
    assert!(text.contains("`output`"), "{text}");
}

#[test]
fn an_impostor_who_speaks_of_memory_has_crashed_and_a_real_one_has_run_out_of_it() {
    let place = Place::new();
    let job = submit(&place, &[once("impostor", json!([]))]).remove(0);
    let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    let impostor = place.ended(&job);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    assert_eq!(
        Verdict::of(&impostor),
        Verdict::crashed("SIGABRT"),
        "{impostor:#}"
    );
    assert!(
        impostor["output"]["stderr"]
            .as_str()
            .unwrap()
            .contains("memory allocation")
    );
    let real = &burst(
        &place,
        &["--memory", "64MiB"],
        &[once("allocate", json!([1000]))],
    )[0];
    let expected = Verdict::failed("out-of-memory", "out-of-memory").by_signal("SIGABRT");
    assert_eq!(Verdict::of(real), expected, "{real:#}");
    let limit = 64 << 20;
    assert_eq!(real["error"]["limit"], limit);
    let peak = real["error"]["peak"].as_u64().unwrap();
    assert!(peak > limit / 2, "{real:#}");
}

#[test]
fn a_running_job_says_where_it_runs_since_when_and_how_far_it_is() {
    let place = Place::new();
    let go = place.path("go");
    let job = submit(&place, &[once("step", json!([go]))]).remove(0);
    let mut supervisor = Supervisor::at(&place).tasks_of("hostile-child").start();
    let status = place.status_when(&job, "RUNNING with progress", |status| {
        status["status"] == "RUNNING" && !status["progress"].is_null()
    });
    assert_eq!(status["progress"], json!({ "step": 1 }));
    assert!(
        status["started_at"].is_string() && status["host"].is_string(),
        "{status:#}"
    );
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    assert!(supervisor.processes().contains(&pid), "{status:#}");
    fs::write(&go, "").unwrap();
    assert_eq!(Verdict::of(&place.ended(&job)), Verdict::succeeded());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

fn burn(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let jobs = submit(
        place,
        &[once("burn", json!([60, 30])), once("burn", json!([0, 0]))],
    );
    let mut supervisor = Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "1"])
        .args(arguments)
        .start();
    let statuses = ended(place, &jobs);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    let usage = &statuses[0]["usage"];
    assert!(usage["cpu_user_ms"].as_i64().unwrap() >= 50, "{usage:#}");
    assert!(usage["wall_ms"].as_i64().unwrap() >= 50, "{usage:#}");
    // The second job is not charged for the first.
    assert!(
        statuses[1]["usage"]["cpu_user_ms"].as_i64().unwrap() < 50,
        "{statuses:#?}"
    );
    statuses
}

#[test]
fn the_usage_of_a_process_of_its_own_comes_from_the_kernel() {
    let statuses = burn(&Place::new(), &[]);
    assert_ne!(statuses[0]["pid"], statuses[1]["pid"]);
    for status in &statuses {
        assert_eq!(status["usage"]["source"], "waitid");
    }
    assert!(statuses[0]["usage"]["max_rss_kb"].as_i64().unwrap() >= 30 << 10);
    assert!(statuses[1]["usage"]["max_rss_kb"].as_i64().unwrap() < 30 << 10);
}

#[test]
fn the_usage_of_a_job_in_a_reused_process_is_its_own() {
    let statuses = burn(&Place::new(), &["--tasks-per-process", "0"]);
    assert_eq!(statuses[0]["pid"], statuses[1]["pid"]);
    for status in &statuses {
        assert_eq!(status["usage"]["source"], "reported");
    }
    // Where the kernel cannot tell a peak since the job began, it is not known.
    let peak = &statuses[1]["usage"]["max_rss_kb"];
    assert!(
        peak.is_null() || peak.as_i64().unwrap() < 30 << 10,
        "{peak}"
    );
}

#[test]
fn a_process_is_reused_for_one_task_only() {
    let place = Place::new();
    let lines: Vec<_> = [json!([1, 1]), json!([2, 2])]
        .into_iter()
        .map(|args| once("add", args))
        .chain([once("echo", json!([1])), once("echo", json!([2]))])
        .collect();
    let arguments = ["--processes", "1", "--tasks-per-process", "0"];
    let statuses = burst(&place, &arguments, &lines);
    let pids: Vec<_> = statuses.iter().map(|status| &status["pid"]).collect();
    assert_eq!(pids[0], pids[1]);
    assert_eq!(pids[2], pids[3]);
    assert_ne!(pids[1], pids[2]);
}

#[test]
fn an_exit_without_a_result_is_a_crash_whatever_its_code() {
    let place = Place::new();
    let lines = [once("exit", json!([0])), once("exit", json!([3]))];
    let statuses = burst(&place, &[], &lines);
    for (status, code) in statuses.iter().zip([0, 3]) {
        let expected = Verdict::failed("crash", "crash").with_code(code);
        assert_eq!(Verdict::of(status), expected, "{status:#}");
    }
}
