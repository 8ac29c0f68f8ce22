//! Tasks that are commands, declared in the configuration file.

use std::fs;

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, place_of, statuses, submit};

const TASKS: &str = r#"
[task.words]
command = ["printf", "--", "%s|", "{a}", "x{b}y", "{{{c}}}"]
output = "text"
defaults = { c = "usual" }

[task.list]
command = ["printf", "<%s>", "{first}", "--", "{more}"]
output = "text"
defaults = { more = ["x", 5] }

[task.upper]
command = ["tr", "a-z", "A-Z"]
stdin = { text = "body" }
output = "text"

[task.all]
command = ["cat"]
stdin = "json"
output = "json"

[task.unpack]
command = ["cat", "in.bin"]
files = { "in.bin" = { bytes = "data" } }
output = "bytes"

[task.file]
command = ["cp", "in.json", "out.txt"]
files = { "in.json" = { json = "value" } }
output = { json = "out.txt" }

[task.code]
shell = true
command = ["exit \"$1\"", "{code}"]
success = [0, 3]
retry = [75]
max-retries = 1
backoff = "10ms"

[task.die]
shell = true
command = ["kill -\"$1\" $$; exec sleep 600", "{signal}"]
max-retries = 0

[task.hang]
command = ["sleep", "600"]
timeout = "300ms"
max-retries = 0

[task.stubborn]
shell = true
command = ["trap '' TERM; while :; do sleep 0.1; done"]
timeout = "300ms"
patience = "200ms"
max-retries = 0

[task.polite]
shell = true
command = ["trap 'echo bye; exit 0' TERM; sleep 600 & wait"]
timeout = "1s"
patience = "20s"
output = "text"
max-retries = 0

[task.flood]
command = ["yes"]
output = "text"
output-limit = "1MiB"
max-retries = 0

[task.burn]
shell = true
command = ["i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]

[task.orphan]
shell = true
command = ["sleep 600 </dev/null >/dev/null 2>&1 & echo $!"]
output = "json"

[task.holder]
shell = true
command = ["sleep 600 & echo done"]
output = "text"

[task.talk]
shell = true
command = ["echo out; echo err >&2"]

[task.variable]
shell = true
command = ["printf %s \"$WHO\""]
env = { WHO = "{name}" }
output = "text"

[task.gone]
command = ["/bin/true"]
output = { text = "never-written" }
max-retries = 0
"#;

/// Runs jobs of these tasks to their end; what is known of each.
fn run(place: &Place, tasks: &str, arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let _ = place.file("bulkhead.toml", tasks);
    let jobs = submit(place, lines);
    let mut supervisor = Supervisor::at(place)
        .tasks_of("launcher")
        .args(arguments)
        .args(["--burst", "--processes", "2"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    statuses(place, &jobs)
}

fn job(task: &str, kwargs: Value) -> Value {
    json!({"task": task, "kwargs": kwargs})
}

fn result(place: &Place, status: &Value) -> Vec<u8> {
    let uuid = status["uuid"].as_str().unwrap();
    let output = place.command(&["result", uuid, "--raw"]).output().unwrap();
    assert!(output.status.success(), "{status:#}");
    output.stdout
}

/// What each of these jobs returned.
fn returned(place: &Place, arguments: &[&str], lines: &[Value], expected: &[&[u8]]) {
    let found = run(place, TASKS, arguments, lines);
    for (status, expected) in found.iter().zip(expected) {
        assert_eq!(Verdict::of(status), Verdict::succeeded(), "{status:#}");
        let shown = String::from_utf8_lossy(expected);
        assert_eq!(result(place, status), *expected, "{shown}: {status:#}");
    }
}

fn usual(who: Who, arguments: &[&str]) {
    let place = place_of(who);
    let hostile = "a b\n'\"$(reboot);{b}*\\|%s";
    let lines = [
        job("words", json!({"a": "-rf", "b": 1.5})),
        job("words", json!({"a": hostile, "b": "", "c": "{a}"})),
        job(
            "list",
            json!({"first": ["a b", 1, true], "more": ["-rf", "$(reboot)", ""]}),
        ),
        job("list", json!({"first": []})),
        job("upper", json!({"body": "hello\n"})),
        job("all", json!({"any": [1, {"x": null}]})),
        job("unpack", json!({"data": "AP8K"})),
        job("file", json!({"value": [1, 2]})),
        job("code", json!({"code": 3})),
        job("variable", json!({"name": "-x y"})),
        job("polite", json!({})),
        job("holder", json!({})),
        json!({"task": "words", "args": ["p", "q"]}),
    ];
    let second = serde_json::to_vec(&format!("{hostile}|xy|{{{{a}}}}|")).unwrap();
    let expected: [&[u8]; 13] = [
        b"\"-rf|x1.5y|{usual}|\"",
        &second,
        b"\"<a b><1><true><--><-rf><$(reboot)><>\"",
        b"\"<--><x><5>\"",
        b"\"HELLO\\n\"",
        br#"{"any":[1,{"x":null}]}"#,
        b"\0\xff\n",
        b"[1,2]",
        b"null",
        b"\"-x y\"",
        b"\"bye\\n\"",
        b"\"done\\n\"",
        b"\"p|xqy|{usual}|\"",
    ];
    returned(&place, arguments, &lines, &expected);
}

#[test]
fn arguments_become_words_streams_and_files_and_output_becomes_the_result() {
    usual(Who::Root, &[]);
}

#[test]
fn the_same_for_an_ordinary_user() {
    usual(Who::User, &[]);
}

#[test]
fn the_same_by_those_whom_nobody_trusts() {
    usual(Who::Root, &["--sandbox", "strict"]);
    usual(Who::User, &["--sandbox", "strict"]);
}

#[test]
fn the_same_in_processes_that_are_executed() {
    usual(Who::Root, &["--spawn", "exec"]);
}

#[test]
fn the_same_in_a_process_that_is_used_again() {
    usual(Who::Root, &["--tasks-per-process", "0"]);
}

#[test]
fn how_a_command_ends_is_how_the_task_ends() {
    let place = Place::new();
    let lines = [
        job("die", json!({"signal": "SEGV"})),
        job("die", json!({"signal": "KILL"})),
        job("die", json!({"signal": "TERM"})),
        job("hang", json!({})),
        job("stubborn", json!({})),
        job("flood", json!({})),
        job("gone", json!({})),
        job("code", json!({"code": 1})),
        job("code", json!({"code": 75})),
    ];
    let expected = [
        Verdict::crashed("SIGSEGV"),
        Verdict::crashed("SIGKILL"),
        Verdict::crashed("SIGTERM"),
        Verdict::failed("timeout", "timeout"),
        Verdict::failed("timeout", "timeout"),
        Verdict::failed("error", "output-too-large"),
        Verdict::failed("error", "output"),
        Verdict::failed("error", "exit"),
        Verdict::failed("error", "exit"),
    ];
    let found = run(&place, TASKS, &[], &lines);
    for (status, expected) in found.iter().zip(expected) {
        let mut found = Verdict::of(status);
        if status["cause"] == "timeout" {
            // By its patience or before, as the sender of the signal sees it.
            found.signal = None;
            found.name = Some("timeout".into());
        }
        assert_eq!(found, expected, "{status:#}");
    }
    // Code 1 is none that is tried again, code 75 is.
    let attempts: Vec<_> = found[7..].iter().map(|status| &status["attempt"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(2)]);
    let text = found[7]["error"]["text"].as_str().unwrap();
    assert!(text.contains("exit code 1"), "{text}");
}

#[test]
fn a_command_is_measured_heard_and_swept_like_any_task() {
    let place = Place::new();
    let lines = [
        job("burn", json!({})),
        job("talk", json!({})),
        job("orphan", json!({})),
    ];
    let found = run(&place, TASKS, &["--tasks-per-process", "1"], &lines);
    for status in &found {
        assert_eq!(Verdict::of(status), Verdict::succeeded(), "{status:#}");
    }
    let cpu = &found[0]["usage"];
    let cpu = cpu["cpu_user_ms"].as_u64().unwrap() + cpu["cpu_system_ms"].as_u64().unwrap();
    assert!(cpu > 0, "{:#}", found[0]);
    assert_eq!(found[1]["output"]["stdout"], "out\n", "{:#}", found[1]);
    assert_eq!(found[1]["output"]["stderr"], "err\n", "{:#}", found[1]);
    let pid = String::from_utf8(result(&place, &found[2])).unwrap();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    assert_ne!(name, "sleep\n", "process {pid} is left");
}

#[test]
fn arguments_that_fit_no_command_fail_for_good_and_start_nothing() {
    let place = Place::new();
    let tasks = "[task.t]\ncommand = [\"touch\", \"{a}\", \"x{b}\"]\ndefaults = { b = 1 }\n[task.s]\ncommand = [\"cat\"]\nstdin = { bytes = \"a\" }\n";
    let lines = [
        job("t", json!({"a": "-x"})),
        job("t", json!({"a": "x\u{0}y"})),
        job("t", json!({"a": ["x", null]})),
        job("t", json!({"a": ["x", "-x"]})),
        job("t", json!({"a": "x", "b": ["x"]})),
        job("t", json!({})),
        job("t", json!({"a": "x", "c": 1})),
        job("t", json!({"a": "x".repeat(200_000)})),
        json!({"task": "t", "args": [1, 2, 3]}),
        json!({"task": "t", "args": [1], "kwargs": {"a": 2}}),
        job("s", json!({"a": "no base64!"})),
        job("s", json!({"a": 7})),
    ];
    for status in run(&place, tasks, &[], &lines) {
        let expected = Verdict::failed("error", "arguments");
        assert_eq!(Verdict::of(&status), expected, "{status:#}");
        assert_eq!(status["attempt"], 1, "{status:#}");
    }
}

#[test]
fn a_supervisor_does_not_start_with_a_program_that_is_missing_but_producers_do() {
    let place = Place::new();
    let _ = place.file(
        "bulkhead.toml",
        "\n[task.t]\nqueue = \"images\"\ncommand = [\"no-such-program\"]\n",
    );
    let ran = place.run(&["run", "--burst"]).ends_with(2);
    let _ = ran.says(&["bulkhead.toml:4: `task.t.command`", "no-such-program"]);
    let uuid = place.submit(&["t"]);
    // Its queue is known from the file, before any supervisor has run.
    assert_eq!(place.status(&uuid)["queue"], "images");
}

#[test]
fn commands_without_a_program_of_tasks_run_by_themselves() {
    let place = Place::new();
    let _ = place.file(
        "bulkhead.toml",
        "[task.greet]\ncommand = [\"echo\", \"hello {name}\"]\noutput = \"text\"\n",
    );
    let uuid = place.submit(&["greet", "--kwargs", r#"{"name": "Ada"}"#]);
    let _ = place.run(&["run", "--burst"]).succeeds();
    assert_eq!(place.returned(&uuid), "hello Ada\n");
    let tasks = place.run(&["tasks", "--json"]).succeeds().stdout;
    assert!(
        tasks.contains("greet") && !tasks.contains("\"add\""),
        "{tasks}"
    );
}

#[test]
fn a_wait_says_how_to_print_a_result_that_is_not_json_and_goes_on() {
    let place = Place::new();
    let text = "[task.raw]\ncommand = [\"printf\", '\\377']\noutput = \"bytes\"\n\
                [task.json]\ncommand = [\"echo\", \"7\"]\noutput = \"json\"\n";
    let _ = place.file("bulkhead.toml", text);
    let mut supervisor = Supervisor::at(&place).tasks_of("launcher").start();
    let lines = "{\"task\": \"raw\"}\n{\"task\": \"json\"}\n";
    let wait = ["--wait", "--wait-timeout", "50s"];
    let from = [&["submit", "--from", "-"][..], &wait].concat();
    let ran = place.run_with_input(&from, lines).succeeds();
    let ran = ran.says(&["not JSON", "supervisor result", "--raw"]);
    let read = |line: &&str| serde_json::from_str::<Value>(line).unwrap();
    let told: Vec<_> = ran.lines().iter().map(read).collect();
    let [raw, json] = &told[..] else {
        panic!("{ran:#?}")
    };
    assert_eq!(
        (&raw["status"], raw.get("result")),
        (&json!("SUCCEEDED"), Some(&Value::Null))
    );
    assert_eq!(json["result"], 7);

    let single = [&["submit", "raw"][..], &wait].concat();
    let ran = place.run(&single).succeeds().says(&["not JSON", "--raw"]);
    assert_eq!(ran.stdout, "");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

/// All bytes of files below `path`.
fn contents(path: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(contents(&entry.path())),
            // Copies of programs.
            kind if kind.is_file()
                && !entry.file_name().to_string_lossy().starts_with("child-") =>
            {
                all.extend(fs::read(entry.path()).unwrap_or_default())
            }
            _ => {}
        }
    }
    all
}

#[test]
fn a_secret_reaches_its_command_by_a_descriptor_and_nothing_else_has_it() {
    let place = Place::new();
    let secret = "correct-horse-battery-staple";
    let tasks = r#"
[secret.key]
variable = "PAYMENT_KEY"
tasks = ["secret"]
[task.sign]
shell = true
command = ["wc -c < \"$1\"; cat /proc/self/environ /proc/$$/environ /proc/$$/cmdline | tr '\\0' '\\n'", "{secret.key}"]
output = "text"
[task.other]
shell = true
command = ["ls -l /proc/self/fd | grep -c memfd; true"]
output = "text"
"#;
    let _ = place.file("bulkhead.toml", tasks);
    let jobs = submit(
        &place,
        &[
            job("sign", json!({})),
            job("other", json!({})),
            json!({"task": "secret", "args": ["key"]}),
            json!({"task": "secret", "args": ["other"], "max_retries": 0}),
        ],
    );
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("hostile-child")
        .args(["--burst", "--log-level", "trace"])
        .env("PAYMENT_KEY", secret)
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    let found = statuses(&place, &jobs);
    let sign = String::from_utf8(result(&place, &found[0])).unwrap();
    assert!(
        sign.starts_with(&format!("\"{}\\n", secret.len())),
        "{sign}"
    );
    assert!(!sign.contains(secret), "{sign}");
    assert_eq!(result(&place, &found[1]), b"\"0\\n\"");
    // The function was given it, and knows its length.
    assert_eq!(
        result(&place, &found[2]),
        secret.len().to_string().as_bytes()
    );
    let text = found[3]["error"]["text"].as_str().unwrap();
    assert!(text.contains("[secret.other]"), "{text}");
    // Neither the store nor the log has it.
    let all = contents(&place.path(""));
    let has = all
        .windows(secret.len())
        .any(|part| part == secret.as_bytes());
    assert!(!has, "the secret was written somewhere");
}

/// The page of the documentation about commands.
fn page() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/docs/commands.md");
    fs::read_to_string(page).unwrap()
}

/// The example under this mark.
fn example(page: &str, mark: &str) -> String {
    let start = format!("<!-- {mark} -->\n```toml\n");
    let (_, rest) = page.split_once(&start).unwrap();
    rest.split_once("```").unwrap().0.into()
}

#[test]
fn the_examples_of_schedules_and_hooks_are_right() {
    let place = Place::new();
    for mark in ["schedule", "hooks"] {
        let file = place.file("bulkhead.toml", &example(&page(), mark));
        let file = file.to_str().unwrap();
        let _ = place.run(&["config", "check", "--config", file]).succeeds();
    }
}

#[test]
fn the_example_of_the_documentation_works() {
    let tasks = example(&page(), "thumbnail");
    let place = Place::new();
    let lines = [
        job("pack", json!({"body": "hello"})),
        json!({"task": "lines", "args": ["letter.txt", "Dear Ada,\nyours\n"]}),
    ];
    let found = run(&place, &tasks, &[], &lines);
    assert_eq!(result(&place, &found[0])[..2], [0x1f, 0x8b]);
    assert_eq!(result(&place, &found[1]), b"\"2 letter.txt\\n\"");
}
