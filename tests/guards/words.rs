//! Words this project does not use.

use bulkhead_tests::cli::Place;

use crate::sources::{Source, rust};

/// They say nothing about what is inside.
const MODULES: [&str; 6] = ["util", "common", "misc", "helper", "core", "manager"];

fn vague(files: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for part in parts {
            let singular = part.strip_suffix('s').unwrap_or(part);
            if MODULES.contains(&singular) || MODULES.contains(&part) {
                offences.push(format!("{} has `{part}` in its path", file.path));
            }
        }
        for (line, code) in file.code() {
            let name = code
                .trim()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ");
            let name = name.strip_prefix("mod ").unwrap_or_default();
            let name = name.trim_end_matches([';', '{', ' ']);
            if MODULES.contains(&name) {
                offences.push(format!("{}:{line} has a module `{name}`", file.path));
            }
        }
    }
    offences
}

#[test]
fn modules_say_what_is_inside() {
    assert_eq!(vague(&[Source::made_up("child/src/utils.rs", "")]).len(), 1);
    assert_eq!(vague(&[Source::made_up("a.rs", "mod misc;\n")]).len(), 1);
    assert_eq!(vague(&rust()), [""; 0]);
}

/// Other words are used for these.
const BANNED: [&str; 12] = [
    "worker", "workers", "manager", "helper", "helpers", "util", "utils", "misc", "event",
    "events", "cancel", "canceled",
];

const COMMANDS: [&[&str]; 59] = [
    &[],
    &["run"],
    &["submit"],
    &["status"],
    &["result"],
    &["revoke"],
    &["jobs"],
    &["remove"],
    &["clear"],
    &["queues"],
    &["queues", "pause"],
    &["signal"],
    &["journal"],
    &["queues", "drain"],
    &["queues", "resume"],
    &["queues", "limit"],
    &["tasks"],
    &["dlq"],
    &["dlq", "ls"],
    &["dlq", "show"],
    &["dlq", "retry"],
    &["dlq", "drop"],
    &["schedule"],
    &["schedule", "ls"],
    &["schedule", "add"],
    &["schedule", "explain"],
    &["schedule", "pause"],
    &["schedule", "resume"],
    &["schedule", "clear"],
    &["schedule", "run-now"],
    &["fleet"],
    &["stream"],
    &["stream", "ls"],
    &["stream", "lag"],
    &["stream", "make"],
    &["stream", "send"],
    &["stream", "send-many"],
    &["stream", "pause"],
    &["stream", "resume"],
    &["stream", "release"],
    &["stream", "skip"],
    &["stream", "seek"],
    &["stream", "reset"],
    &["stream", "dead"],
    &["stream", "replay"],
    &["stream", "forget"],
    &["lock"],
    &["lock", "ls"],
    &["lock", "release"],
    &["doctor"],
    &["sandbox"],
    &["sandbox", "probe"],
    &["sandbox", "explain"],
    &["migrate"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["child"],
    &["child", "check"],
];

/// A job is no event; what lies in a stream is one.
const OF_STREAMS: [&str; 2] = ["event", "events"];

fn banned(help: &str) -> Vec<String> {
    let words = help.split(|c: char| !c.is_ascii_alphabetic());
    let words = words.map(str::to_ascii_lowercase);
    words
        .filter(|word| BANNED.contains(&word.as_str()))
        .collect()
}

#[test]
fn the_command_line_keeps_to_its_words() {
    assert_eq!(banned("Start N workers."), ["workers"]);
    let place = Place::new();
    for command in COMMANDS {
        let arguments: Vec<_> = command.iter().copied().chain(["--help"]).collect();
        let help = place.run(&arguments).succeeds().stdout;
        assert!(help.contains("Usage:"), "{command:?}");
        let mut found = banned(&help);
        found.retain(|word| command.first() != Some(&"stream") || !OF_STREAMS.contains(&&**word));
        assert_eq!(found, [""; 0], "{command:?}");
    }
    // A command that is added here is added above.
    let help = place.run(&["--help"]).succeeds().stdout;
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for line in listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        assert!(
            name == "help"
                || COMMANDS
                    .iter()
                    .any(|command| command.first() == Some(&name)),
            "`{name}` is not held to these words"
        );
    }
}
