//! Hostile configuration files: read or refused, each problem at a line that exists. Run for longer with
//! `PROPTEST_CASES`; `tests/fuzz` says why it is done this way.

use std::path::Path;

use bulkhead_shared::command::CommandSpec;
use bulkhead_shared::trigger::TriggerSpec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::file::{File, Table};
use super::{extras, problems, tasks};

const GOOD: &str = include_str!("fuzz/good.toml");

/// What stands in files of this kind, to be put anywhere.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "=",
            "[",
            "]",
            "\"",
            "'",
            "{",
            "}",
            ",",
            "\n",
            "#",
            ".",
            "true",
            "-1",
            "0",
            "1e400",
            "99999999999999999999",
            "1979-05-27",
            "\"\\u0000\"",
            "{a}",
            "{secret.x}",
            "command",
            "[task.x]",
            "[secret.y]",
            "[env]",
            "[profile.z]",
            "inherits = \"media\"",
            "profile = \"z\"",
            "\"strict\"",
            "\"none\"",
            "\"submit(a\"",
            "64TiB",
            "store",
            "cron = \"* * * * *\"",
            "at = \"2030-01-31T09:30:00Z\"",
            "at-start",
            "every",
            "on-failure = [\"x\", \"{uuid}\"]",
            "args = [[1, {}]]",
            "{uuid}",
            "\"@daily\"",
            "1e9h",
            "\"\"\"",
            "\u{e9}",
            "= \"5\"",
            "[]",
            "{}",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ]
}

fn hostile() -> impl Strategy<Value = String> {
    let edits = prop::collection::vec((any::<Index>(), any::<bool>(), word()), 0..6);
    edits.prop_map(|edits| {
        // Between characters, so that it stays text.
        let mut parts: Vec<String> = GOOD.chars().map(String::from).collect();
        for (at, is_more, word) in edits {
            let at = at.index(parts.len());
            match is_more {
                true => parts[at].push_str(&word),
                false => parts[at] = word,
            }
        }
        parts.concat()
    })
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused_at_a_line_that_exists(text in hostile()) {
        let lines = text.matches('\n').count() + 1;
        let table = match Table::parse(Path::new("/etc/b.toml"), &text) {
            Ok(table) => table,
            Err(error) => {
                prop_assert!((1..=lines).contains(&error.line));
                return Ok(());
            }
        };
        let file = File { table, is_private: true };
        let found = problems(&file);
        for problem in &found {
            prop_assert!((1..=lines).contains(&problem.line), "{problem}");
            prop_assert!(!problem.reason.is_empty());
        }
        if found.is_empty() {
            // What is right has commands that can be sent and read again.
            for one in tasks::declared(&file).unwrap() {
                for (_, command) in one.commands() {
                    let json = serde_json::to_vec(command).unwrap();
                    prop_assert_eq!(&serde_json::from_slice::<CommandSpec>(&json).unwrap(), command);
                }
                // What makes a schedule is one that can be stored and understood.
                if let Some(trigger) = &one.spec.trigger {
                    prop_assert!(trigger.check().is_ok());
                    let json = serde_json::to_vec(trigger).unwrap();
                    prop_assert_eq!(&serde_json::from_slice::<TriggerSpec>(&json).unwrap(), trigger);
                }
            }
            prop_assert_eq!(extras::problems(&file), []);
        }
    }
}

#[test]
fn the_example_is_right() {
    let table = Table::parse(Path::new("/etc/b.toml"), GOOD).unwrap();
    assert_eq!(
        problems(&File {
            table,
            is_private: true
        }),
        []
    );
}
