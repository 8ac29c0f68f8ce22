use bulkhead_shared::trigger::{Misfire, On, Overlap};

use super::*;

fn file(text: &str) -> File {
    File {
        table: Table::parse(Path::new("/etc/b.toml"), text).unwrap(),
        is_private: true,
    }
}

fn one(text: &str) -> Declared {
    let file = file(text);
    assert_eq!(problems(&file), []);
    declared(&file).unwrap().remove(0)
}

/// Whether this is refused with these words.
#[track_caller]
fn refused(rest: &str, words: &[&str]) {
    let command = match rest.contains("command") {
        true => "",
        false => "command = [\"convert\", \"{width}\"]\n",
    };
    let found = problems(&file(&format!("[task.t]\n{command}{rest}\n")));
    let said = found.first().map(ToString::to_string).unwrap_or_default();
    for word in words {
        assert!(said.contains(word), "{word:?} in {said:?} of {rest}");
    }
}

#[test]
fn a_task_has_a_command_and_the_rules_of_any_task() {
    let declared = one(r#"
        [task.thumbnail]
        command = ["convert", "{input}", "-resize", "{width}x", "png:-"]
        stdin = "json"
        output = "bytes"
        output-limit = "1MiB"
        success = [0, 3]
        retry = [75]
        dashes = true
        queue = "images"
        timeout = "90s"
        patience = "2s"
        max-retries = "unlimited"
        backoff = "5s"
        memory = "256MiB"
        profile = "process"
        concurrency = 2
        result-ttl = "none"
        env = { MAGICK = "{width}" }
        files = { "a.txt" = { text = "note" } }
        defaults = { width = 100 }
    "#);
    let Declared { spec, command, .. } = declared;
    assert_eq!(spec.name.as_str(), "thumbnail");
    assert_eq!(spec.queue.unwrap().as_str(), "images");
    assert_eq!(
        (spec.timeout_ms, spec.patience_ms),
        (Some(90_000), Some(2000))
    );
    assert_eq!(spec.max_retries, Some(Retries::Unlimited));
    assert_eq!(spec.memory, Some(256 << 20));
    assert_eq!(
        (spec.profile.as_deref(), spec.concurrency),
        (Some("process"), Some(2))
    );
    assert_eq!(spec.result_ttl, Some(Keep::Forever));
    assert_eq!(spec.params, ["input", "width", "note"]);
    assert_eq!(command.program, "convert");
    assert_eq!(command.words.len(), 4);
    assert_eq!(
        (command.success, command.retry),
        (vec![0, 3], Some(vec![75]))
    );
    let output = command.output.unwrap();
    assert_eq!(
        (output.form, output.file, output.limit),
        (Form::Bytes, None, 1 << 20)
    );
}

#[test]
fn a_script_is_taken_as_it_is_and_its_arguments_come_after_it() {
    let script = "printf '%s {}' \\\"$1\\\"";
    let text = format!("[task.t]\nshell = true\ncommand = [\"{script}\", \"{{a}}\"]\n");
    let command = one(&text).command;
    assert_eq!(command.program, "/bin/sh");
    let words: Vec<_> = command.words.iter().map(Template::as_plain).collect();
    assert_eq!(words[0], Some("-c"));
    assert_eq!(words[1], Some("printf '%s {}' \"$1\""));
    assert_eq!((words[2], words[3]), (Some("sh"), None));
    // Sent to another process and read there, it is still the script.
    let json = serde_json::to_vec(&command).unwrap();
    assert_eq!(
        serde_json::from_slice::<CommandSpec>(&json).unwrap(),
        command
    );
}

#[test]
fn what_is_wrong_with_a_task_is_told_with_line_key_and_way_out() {
    refused(
        "comand = [\"x\"]",
        &["b.toml:3: `task.t.comand` is unknown", "`command`"],
    );
    refused(
        "timeout = \"1s\"\ncommand = []",
        &["b.toml:3: `task.t.command` names no program"],
    );
    refused("stdin = \"xml\"", &["`task.t.stdin` takes \"json\""]);
    refused(
        "stdin = { text = \"a b\" }",
        &["`a b` is no name of a parameter"],
    );
    refused(
        "stdin = { text = \"a\", json = \"b\" }",
        &["takes \"json\""],
    );
    refused(
        "output = \"xml\"",
        &["b.toml:3: `task.t.output` takes", "\"bytes\""],
    );
    refused(
        "output = { bytes = \"../x\" }",
        &["`../x` is no name of a file"],
    );
    refused(
        "files = { \"a/b\" = { text = \"x\" } }",
        &["`a/b` is no name of a file"],
    );
    refused("output-limit = \"1TiB\"", &["more than a result can have"]);
    refused(
        "command = [\"x\", \"{a b}\"]",
        &["`{a b}` is no placeholder"],
    );
    refused("command = [\"x\", \"{a\"]", &["without a `}`"]);
    refused("command = [\"{x}\"]", &["placeholder for its program"]);
    refused(
        "command = \"x y\"",
        &["is a text, but takes a list of texts"],
    );
    refused(
        "defaults = { widht = 1 }",
        &["default of `widht`", "known: width"],
    );
    refused(
        "defaults = { width = {} }",
        &["`task.t.defaults.width` takes texts, whole numbers"],
    );
    refused(
        "command = [\"x\", \"{width}x\"]\ndefaults = { width = [1] }",
        &["default of `width` is a list", "`{width}x`"],
    );
    refused("success = []", &["could never succeed"]);
    refused("retry = [256]", &["list of exit codes"]);
    refused("timeout = 5", &["`task.t.timeout` is a number"]);
    refused("timeout = \"0s\"", &["is zero"]);
    refused("max-retries = -1", &["takes a number from 0 on"]);
    refused("concurrency = 0", &["takes a number from 1 on"]);
    refused("env = { \"A=B\" = \"x\" }", &["is no name of a variable"]);
    refused("env = { A = 1 }", &["`task.t.env.A` is a number"]);
    assert!(!problems(&file("[task.\"a b\"]\ncommand = [\"x\"]")).is_empty());
    assert!(!problems(&file("task = 1")).is_empty());
}

#[test]
fn a_task_with_a_schedule_runs_by_itself_with_arguments_that_fit() {
    let spec = one(r#"
        [task.report]
        command = ["report", "{day}", "{files}"]
        defaults = { files = ["a", 2] }
        cron = "0 3 * * mon-fri"
        tz = "Europe/Berlin"
        on = "each"
        misfire = "all 7"
        overlap = "queue-one"
        jitter = "5s"
        args = ["today"]
    "#)
    .spec;
    let trigger = spec.trigger.unwrap();
    assert_eq!(trigger.cron.as_deref(), Some("0 3 * * mon-fri"));
    assert_eq!(trigger.tz.as_deref(), Some("Europe/Berlin"));
    assert_eq!((trigger.on, trigger.misfire), (On::Each, Misfire::All(7)));
    assert_eq!(
        (trigger.overlap, trigger.jitter_ms),
        (Overlap::QueueOne, 5000)
    );
    assert_eq!(trigger.arguments.args, ["today"]);
    let every = "[task.t]\ncommand = [\"x\"]\nstdin = \"json\"\nevery = \"90s\"\nkwargs = { a = { b = [1, true] } }";
    let trigger = one(every).spec.trigger.unwrap();
    assert_eq!(trigger.every_ms, Some(90_000));
    let kwargs = serde_json::to_string(&trigger.arguments.kwargs).unwrap();
    assert_eq!(kwargs, r#"{"a":{"b":[1,true]}}"#);
    let start = "[task.t]\ncommand = [\"x\"]\nat-start = true\non = \"each\"";
    assert!(one(start).spec.trigger.unwrap().at_start);
    assert_eq!(one("[task.t]\ncommand = [\"x\"]").spec.trigger, None);
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_with_line_key_and_way_out() {
    let args = "\nargs = [5]";
    for (rest, words) in [
        (
            "cron = \"0 3 * *\"",
            &["b.toml:3: `task.t.cron`", "has 4 fields"][..],
        ),
        (
            "cron = \"0 3 * * *\"\ntz = \"Mars\"",
            &["b.toml:4: `task.t.tz`", "`Mars`"],
        ),
        ("every = \"1ms\"", &["`task.t.every`", "1s up to"]),
        ("every = 5", &["`task.t.every` is a number"]),
        ("at = \"soon\"", &["`task.t.at`", "2030-01-31"]),
        (
            "at = 2030-01-31T09:30:00Z",
            &["`task.t.at` is a date, but takes a text"],
        ),
        ("at-start = true", &["`task.t.at-start`", "on = \"each\""]),
        (
            "every = \"5s\"\ncron = \"@daily\"",
            &["exactly one of `cron`, `every`"],
        ),
        ("tz = \"UTC\"", &["`task.t.tz`", "exactly one of"]),
        ("every = \"5s\"\non = \"all\"", &["`task.t.on`", "\"each\""]),
        (
            "every = \"5s\"\nmisfire = \"all\"",
            &["`task.t.misfire`", "\"all 100\""],
        ),
        (
            "every = \"5s\"\nmisfire = \"all 0\"",
            &["`task.t.misfire`", "1 up to"],
        ),
        (
            "every = \"5s\"\noverlap = \"x\"",
            &["`task.t.overlap`", "\"queue-one\""],
        ),
        (
            "every = \"5s\"\njitter = \"99h\"",
            &["`task.t.jitter`", "a day"],
        ),
        (
            "every = \"5s\"\nkwargs = { w = 1 }",
            &["`task.t.kwargs`", "`w` is unknown", "`width`"],
        ),
        (
            "every = \"5s\"\nkwargs = { width = 1.5 }",
            &["`task.t.kwargs.width` takes"],
        ),
        ("every = \"5s\"\nargs = 5", &["`task.t.args` takes a list"]),
    ] {
        refused(
            &format!("{rest}{}", if rest.contains("args") { "" } else { args }),
            words,
        );
    }
    refused(
        "every = \"5s\"",
        &["`task.t.every` starts jobs without `width`"],
    );
    refused(
        "every = \"5s\"\nargs = [1, 2]",
        &["`task.t.args`", "takes 1"],
    );
    refused(
        "every = \"5s\"\nargs = [\"-x\"]",
        &["`task.t.args`", "begins with a dash"],
    );
}

#[test]
fn a_hook_is_a_command_that_reads_what_has_happened() {
    let declared = one(r#"
        [task.t]
        command = ["x"]
        on-failure = ["logger", "{uuid}: {cause}", "{secret.k}"]
        on-success = ["true", "{attempt}"]
    "#);
    assert_eq!(
        declared.spec.hooks,
        [HookKind::OnFailure, HookKind::OnSuccess]
    );
    let (kind, hook) = &declared.hooks[0];
    assert_eq!(
        (*kind, hook.program.as_str()),
        (HookKind::OnFailure, "logger")
    );
    assert_eq!(
        (hook.words.len(), hook.secrets()),
        (2, vec!["k".to_owned()])
    );
    assert!(hook.takes_any());
    let keys: Vec<_> = declared.commands().map(|(key, _)| key).collect();
    assert_eq!(keys, ["command", "on-failure", "on-success"]);
    for (rest, words) in [
        (
            "on-success = [\"x\", \"{cause}\"]",
            &[
                "b.toml:3: `task.t.on-success`",
                "`{cause}`",
                "`{uuid}`, `{attempt}`",
            ][..],
        ),
        (
            "on-failure = [\"x\", \"{width}\"]",
            &["`{width}`", "standard input"],
        ),
        ("on-failure = []", &["`task.t.on-failure` names no program"]),
        (
            "on-failure = [\"{uuid}\"]",
            &["placeholder for its program"],
        ),
        ("on-failure = \"x\"", &["list of texts"]),
        (
            "on-retry = [\"x\", \"{\"]",
            &["`task.t.on-retry`", "without a `}`"],
        ),
        ("on-revoke = [\"x\"]", &["is unknown"]),
    ] {
        refused(rest, words);
    }
}

#[test]
fn a_program_is_found_in_the_path_of_tasks_or_missing_and_named() {
    let text = "[task.a]\ncommand = [\"sh\"]\n[task.b]\ncommand = [\"/bin/no-such\"]\n";
    let text_file = file(text);
    let mut tasks = declared(&text_file).unwrap();
    let error = find_programs(&text_file, &mut tasks, "/nowhere:relative").unwrap_err();
    assert_eq!(error.line, 2);
    assert!(
        error.reason.contains("`sh` in `/nowhere:relative`"),
        "{error}"
    );
    let error = find_programs(&text_file, &mut tasks, "/usr/bin:/bin").unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (4, "task.b.command"));
    assert!(tasks[0].command.program.ends_with("/bin/sh"));
    let file =
        file("[task.a]\ncommand = [\"sh\"]\non-retry = [\"sh\"]\non-success = [\"no-such\"]\n");
    let mut tasks = declared(&file).unwrap();
    let error = find_programs(&file, &mut tasks, "/usr/bin:/bin").unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (4, "task.a.on-success"));
    assert!(tasks[0].hooks[0].1.program.ends_with("/bin/sh"));
}
