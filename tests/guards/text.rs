//! Rules about the text of sources.

use crate::sources::{Source, all, rust};

const LONGEST: usize = 500;

fn long(files: &[Source]) -> Vec<String> {
    let lengths = files.iter().map(|file| (file, file.text.lines().count()));
    lengths
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(file, lines)| format!("{} has {lines} lines", file.path))
        .collect()
}

#[test]
fn no_source_is_longer_than_five_hundred_lines() {
    assert_eq!(long(&[Source::made_up("a.rs", &"\n".repeat(501))]).len(), 1);
    assert_eq!(long(&rust()), [""; 0]);
}

fn not_ascii(files: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if !line.is_ascii() {
                offences.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    offences
}

#[test]
fn sources_are_ascii() {
    assert_eq!(not_ascii(&[Source::made_up("a.rs", "\u{e9}")]), ["a.rs:1"]);
    assert_eq!(not_ascii(&all()), [""; 0]);
}

fn sleeps(files: &[Source]) -> Vec<String> {
    let word = concat!("thread::", "sleep");
    let tests = files
        .iter()
        .filter(|file| file.path.contains("tests") && !file.is_in(&["tests/bench"]));
    tests.flat_map(|file| file.naming(&[word])).collect()
}

#[test]
fn tests_wait_for_what_happens_and_do_not_sleep() {
    let text = concat!("std::thread::", "sleep(second);");
    assert_eq!(sleeps(&[Source::made_up("tests/a.rs", text)]).len(), 1);
    assert_eq!(sleeps(&rust()), [""; 0]);
}

/// Where packages come from is the business of whoever builds.
fn registries(files: &[Source]) -> Vec<String> {
    let words = [
        concat!("crates", ".io"),
        concat!("static.rust", "-lang"),
        "index-url",
    ];
    let scripts = files
        .iter()
        .filter(|file| file.is_in(&["scripts/", ".ci/"]));
    scripts.flat_map(|file| file.naming(&words)).collect()
}

#[test]
fn scripts_name_no_registry() {
    let text = concat!("curl crates", ".io");
    assert_eq!(
        registries(&[Source::made_up("scripts/test", text)]).len(),
        1
    );
    assert_eq!(registries(&all()), [""; 0]);
}

#[test]
fn the_guide_to_durable_tasks_shows_the_order_that_is_tested() {
    let read = |path: &str| {
        let all = all();
        let file = all.iter().find(|file| file.path.ends_with(path));
        file.map(|file| file.text.clone())
    };
    let tested = read("tests/hostile/order.rs").unwrap_or_default();
    let (_, code) = tested.split_once("\n\n").unwrap_or_default();
    let code = code.trim_end().replace("pub(crate) fn", "fn");
    let guide = std::fs::read_to_string(crate::sources::root().join("child/docs/durable.md"));
    assert!(code.len() > 500 && guide.is_ok_and(|guide| guide.contains(&code)));
}
