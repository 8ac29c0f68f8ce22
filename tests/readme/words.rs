//! Options, causes and exit codes of the README are those of the programs.

use std::collections::BTreeSet;
use std::process::Command;

use bulkhead_shared::outcome::Cause;
use bulkhead_shared::status::Status;
use bulkhead_tests::cli::{Place, Ran};

/// The words that start with `--` in `text`.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words
        .filter(|word| word.len() > 3 && word.starts_with("--") && !word.starts_with("---"))
        .map(|word| word.trim_end_matches('-').to_owned())
        .collect()
}

fn known() -> BTreeSet<String> {
    let place = Place::new();
    let mut known = BTreeSet::from(["--help".into(), "--version".into()]);
    let commands = "run submit status result revoke jobs queues tasks dlq-ls dlq-show dlq-retry \
                    fleet doctor migrate lock-ls lock-release schedule-add queues-limit clear";
    for command in commands.split(' ') {
        let mut arguments: Vec<_> = command.split('-').collect();
        arguments.push("--help");
        known.extend(options(&place.run(&arguments).succeeds().stdout));
    }
    for script in ["demo", "test"] {
        let path = format!("{}/../scripts/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut help = Command::new(path);
        help.arg("--help");
        known.extend(options(&Ran::of(help).succeeds().stdout));
    }
    known
}

#[test]
fn every_option_in_the_readme_exists() {
    let known = known();
    assert!(known.contains("--tasks-per-process") && !known.contains("--colour"));
    // What cargo is told is not ours.
    let readme = crate::readme();
    let lines = readme
        .lines()
        .filter(|line| !line.contains("cargo ") && !line.contains("<!--"));
    let named: BTreeSet<_> = lines.flat_map(options).collect();
    assert!(named.len() > 10, "{named:?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_verdicts_of_the_demo_are_real_ones() {
    let demo = crate::block(&crate::readme(), "scripts/demo");
    let rows: Vec<Vec<_>> = demo
        .lines()
        .skip_while(|line| !line.starts_with("TASK"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    let expected = [
        ["add", "SUCCEEDED", "-", "-"],
        ["fail", "FAILED", "error", "-"],
        ["crash", "FAILED", "crash", "SIGSEGV"],
        ["allocate", "FAILED", "out-of-memory", "SIGABRT"],
        ["hang", "FAILED", "timeout", "SIGKILL"],
        ["escape", "SUCCEEDED", "-", "-"],
    ];
    assert_eq!(rows, expected);
    for row in rows {
        assert!(Status::ALL.iter().any(|status| status.as_str() == row[1]));
        assert!(row[2] == "-" || Cause::from_name(row[2]).is_some());
    }
}

/// The first cells of the table below a heading, without their backticks.
fn first_cells(heading: &str) -> Vec<String> {
    let readme = crate::readme();
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn the_readme_explains_every_status_and_cause() {
    let told = first_cells("Statuses and causes");
    let statuses = Status::ALL.map(Status::as_str);
    let causes = Cause::ALL.map(Cause::as_str);
    assert_eq!(told, [&statuses[..], &causes[..]].concat());
}

#[test]
fn the_readme_explains_every_exit_code() {
    let place = Place::new();
    let help = place.run(&["submit", "--help"]).succeeds().stdout;
    let codes = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1);
    let codes: Vec<_> = codes
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(first_cells("Exit codes"), codes);
}
