//! `supervisor submit`, and what `status` then says.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use bulkhead_tests::cli::{Place, Ran, is_private};
use serde_json::{Value, json};

const UUID: &str = "01890000-0000-7000-8000-000000000001";

fn status(place: &Place, uuid: &str) -> Value {
    place.run(&["status", uuid, "--json"]).succeeds().json()
}

fn count(place: &Place) -> usize {
    let jobs = place.run(&["jobs", "--json", "--limit", "100000"]);
    jobs.succeeds().json().as_array().unwrap().len()
}

#[test]
fn a_submitted_job_waits_with_every_key_and_an_rfc3339_time() {
    let place = Place::new();
    let ran = place.run(&["submit", "add", "--args", "[2, 3]"]).succeeds();
    let ran = ran.says(&[place.store().to_str().unwrap()]);
    assert!(is_private(&place.store()));
    let job = status(&place, &ran.line());
    assert_eq!(job["status"], "SUBMITTED");
    assert_eq!(
        (&job["task"], &job["queue"]),
        (&json!("add"), &json!("default"))
    );
    assert_eq!((&job["attempt"], &job["priority"]), (&json!(0), &json!(0)));
    for unknown in [
        "cause",
        "started_at",
        "finished_at",
        "next_at",
        "error",
        "pid",
        "progress",
    ] {
        assert_eq!(job.get(unknown), Some(&Value::Null), "{unknown}");
    }
    let submitted = job["submitted_at"].as_str().unwrap();
    assert!(
        submitted.ends_with('Z') && submitted.len() == 24,
        "{submitted}"
    );
    assert_eq!(job["attempts"], json!([]));
}

#[test]
fn a_delayed_job_tells_when_it_may_run() {
    let place = Place::new();
    let at = "2100-01-31T09:30:00+01:00";
    let uuid = place.submit(&["add", "--at", at, "--priority", "7", "--queue", "math"]);
    let job = status(&place, &uuid);
    assert_eq!(job["next_at"], "2100-01-31T08:30:00.000Z");
    assert_eq!(
        (&job["priority"], &job["queue"]),
        (&json!(7), &json!("math"))
    );
    let human = place.run(&["status", &uuid]).succeeds();
    assert!(
        human.stdout.contains("SUBMITTED") && human.stdout.contains("(in "),
        "{human:?}"
    );
}

#[test]
fn a_known_uuid_is_refused_and_changes_nothing() {
    let place = Place::new();
    let first = place.submit(&["add", "--uuid", UUID]);
    assert_eq!(first, UUID);
    let ran = place.run(&["submit", "mul", "--uuid", UUID]).ends_with(5);
    assert_eq!(ran.says(&[UUID, "`default`"]).stdout, "");
    assert_eq!(status(&place, UUID)["task"], "add");
}

#[test]
fn many_alike_have_uuids_of_their_own() {
    let place = Place::new();
    let ran = place.run(&["submit", "add", "--count", "1203"]).succeeds();
    let mut uuids = ran.lines();
    uuids.sort_unstable();
    uuids.dedup();
    assert_eq!((uuids.len(), count(&place)), (1203, 1203));
}

#[test]
fn lines_of_a_file_take_what_they_lack_from_the_options() {
    let place = Place::new();
    let file = place.file(
        "jobs.jsonl",
        "{\"args\": [1]}\n\n{\"task\": \"mul\", \"queue\": \"q\", \"max_retries\": null, \"result_ttl\": 0}\r\n",
    );
    let file = file.to_str().unwrap();
    let ran = place
        .run(&["submit", "add", "--priority", "3", "--from", file])
        .succeeds();
    let jobs: Vec<_> = ran
        .lines()
        .into_iter()
        .map(|uuid| status(&place, uuid))
        .collect();
    let seen: Vec<_> = jobs
        .iter()
        .map(|j| json!([j["task"], j["queue"], j["priority"]]))
        .collect();
    assert_eq!(seen, [json!(["add", "default", 3]), json!(["mul", "q", 3])]);
}

#[test]
fn a_file_with_one_wrong_line_submits_nothing_and_names_the_line() {
    let place = Place::new();
    let good = "{\"task\": \"add\"}\n".repeat(700);
    for (bad, word) in [
        ("{\"task\": \"add\", \"colour\": 1}", "`colour`"),
        ("{\"task\": \"add\", \"timeout\": \"5\"}", "`250ms`"),
        ("{\"task\": ", "EOF"),
        ("{}", "names no task"),
    ] {
        let file = place.file("jobs.jsonl", &format!("{good}{bad}\n"));
        let ran = place
            .run(&["submit", "--from", file.to_str().unwrap()])
            .ends_with(2);
        assert_eq!(ran.says(&["line 701", word]).stdout, "");
        assert!(!place.store().exists());
    }
}

#[test]
fn a_stream_goes_in_batches_and_says_how_much_was_taken_before_a_wrong_line() {
    let place = Place::new();
    let input = "{\"task\": \"add\"}\n".repeat(501) + "{\"tusk\": 1}\n";
    let ran = place
        .run_with_input(&["submit", "--from", "-"], &input)
        .ends_with(2);
    let ran = ran.says(&["line 502", "`tusk`", "submitted before it: 500"]);
    assert_eq!((ran.lines().len(), count(&place)), (500, 500));
}

#[test]
fn a_group_that_a_wait_cannot_wait_for_is_refused_before_anything_is_submitted() {
    let place = Place::new();
    let group = r#"{"group": {"members": [{"task": "add"}]}}"#;
    let input = "{\"task\": \"add\"}\n".repeat(501) + group;
    let file = place.file("jobs.jsonl", &input);
    let from = ["submit", "--wait", "--from"];
    let whole = [&from[..], &[file.to_str().unwrap()]].concat();
    let _ = place
        .run(&whole)
        .ends_with(2)
        .says(&["line 502", "without --wait"]);
    assert!(!place.store().exists());

    let stream = [&from[..], &["-"]].concat();
    let _ = place
        .run_with_input(&stream, &input)
        .ends_with(2)
        .says(&["line 502", "submitted before it: 500"]);
}

#[test]
fn known_uuids_in_a_file_are_told_and_the_others_go_in() {
    let place = Place::new();
    let _ = place.submit(&["add", "--uuid", UUID]);
    let lines = format!("{{\"task\":\"add\",\"uuid\":\"{UUID}\"}}\n{{\"task\":\"add\"}}\n");
    let file = place.file("jobs.jsonl", &lines);
    let ran = place
        .run(&["submit", "--from", file.to_str().unwrap()])
        .ends_with(5);
    assert_eq!(ran.says(&[UUID]).lines().len(), 1);
    assert_eq!(count(&place), 2);
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    let _ = place
        .run(&["submit", "--from", "gone.jsonl"])
        .ends_with(2)
        .says(&["gone.jsonl"]);
}

#[test]
fn a_reader_that_leaves_early_does_not_keep_jobs_from_being_submitted() {
    let place = Place::new();
    let mut child = place
        .command(&["submit", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let batch = "{\"task\": \"add\"}\n".repeat(500);
    stdin.write_all(batch.as_bytes()).unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    stdin.write_all(batch.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(count(&place), 1000);
}

#[test]
fn a_wait_that_is_too_long_ends_with_code_124_and_the_job_goes_on() {
    let place = Place::new();
    let ran = place
        .run(&["submit", "add", "--wait", "--wait-timeout", "50ms"])
        .ends_with(124);
    let ran = ran.says(&["submitted ", "not ended: ", "50ms"]);
    assert_eq!((ran.stdout.as_str(), count(&place)), ("", 1));
}

#[test]
fn ctrl_c_ends_a_wait_and_not_the_job() {
    let place = Place::new();
    let mut child = place
        .command(&["submit", "add", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("waiting") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert_eq!(count(&place), 1);
}

/// A program that answers `--describe`, and only without our environment.
const CHILD: &str = "#!/bin/sh
[ \"$1\" = --describe ] && [ -z \"$BULKHEAD_STORE\" ] || exit 1
echo '[{\"name\": \"mail\", \"queue\": \"post\"}]'
";

fn executable(place: &Place, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = place.file("described", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_queue_of_an_unregistered_task_is_asked_of_its_program() {
    let place = Place::new();
    let child = executable(&place, CHILD);
    let ran = place.run(&["submit", "mail", "--child", &child]).succeeds();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    assert_eq!(status(&place, &ran.line())["queue"], "post");
    let ran = place.run(&["submit", "else", "--child", &child]).succeeds();
    let ran = ran.says(&["warning", "`else`", "`default`"]);
    assert_eq!(status(&place, &ran.line())["queue"], "default");
}

#[test]
fn a_program_that_does_not_describe_itself_is_a_warning() {
    let place = Place::new();
    let child = executable(&place, "#!/bin/sh\nexit 3\n");
    for program in [child.as_str(), "/nowhere", "/bin/true"] {
        let ran = place
            .run(&["submit", "mail", "--child", program])
            .succeeds();
        assert_eq!(ran.says(&["warning", "--queue"]).lines().len(), 1);
    }
}

#[test]
fn a_queue_that_is_named_asks_nobody() {
    let place = Place::new();
    let ran = place
        .run(&["submit", "mail", "--child", "/nowhere", "--queue", "q"])
        .succeeds();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
}

#[test]
fn namespaces_do_not_see_each_other() {
    let place = Place::new();
    let uuid = place.submit(&["add", "--namespace", "one"]);
    let _ = place.run(&["status", &uuid]).ends_with(3);
    let mut command = place.command(&["status", &uuid]);
    command.env("BULKHEAD_NAMESPACE", "one");
    let _ = Ran::of(command).succeeds();
}
