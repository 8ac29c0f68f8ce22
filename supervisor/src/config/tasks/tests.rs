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
    let Declared { spec, command } = declared;
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
        "defaults = { width = [] }",
        &["takes a text, a whole number"],
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
}
