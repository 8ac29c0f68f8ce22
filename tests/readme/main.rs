//! Holds the README to what there is: its code is built and run, its options exist, its tables
//! are complete.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod own_task;
mod words;

/// The README.
fn readme() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced block after the line `<!-- name -->`.
fn block(text: &str, name: &str) -> String {
    let marker = format!("<!-- {name} -->");
    let (_, rest) = text
        .split_once(&marker)
        .unwrap_or_else(|| panic!("there is no {marker}"));
    let mut lines = rest.trim_start().lines();
    assert!(
        lines.next().is_some_and(|line| line.starts_with("```")),
        "a block follows {marker}"
    );
    let inside: Vec<_> = lines.take_while(|line| *line != "```").collect();
    inside.join("\n") + "\n"
}
