//! A real program on real files that nobody trusts: what command tasks return under `strict` is
//! what the program gives by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, place_of, statuses, submit};

const FILES: usize = 300;

/// One reads and writes files of its private directory, the other standard input and output.
const TASKS: &str = r#"
[task.pack]
command = ["zstd", "-q", "-{level}", "-o", "out.zst", "--", "in"]
files = { in = { bytes = "data" } }
output = { bytes = "out.zst" }
defaults = { level = 7 }
profile = "strict"

[task.pack-stream]
command = ["zstd", "-q", "-c", "-{level}"]
stdin = { bytes = "data" }
output = "bytes"
defaults = { level = 7 }
profile = "strict"
"#;

/// Regular files of this machine, up to 64 KiB each.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in ["/usr/include", "/usr/share/doc", "/usr/share", "/usr/lib"] {
        collect(Path::new(place), &mut found);
    }
    assert_eq!(found.len(), FILES, "this machine has too few files");
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.len() == FILES {
            return;
        } else if data.is_dir() {
            collect(&path, found);
        } else if data.is_file() && data.len() <= 64 << 10 && !found.contains(&path) {
            found.push(path);
        }
    }
}

/// The task that gets the file of this number.
fn task_of(number: usize) -> &'static str {
    match number % 2 {
        0 => "pack",
        _ => "pack-stream",
    }
}

/// What the program makes of a file without us: told its name, or only its bytes, which is not the
/// same to it.
fn directly(task: &str, path: &Path) -> Vec<u8> {
    let mut command = Command::new("zstd");
    command.args(["-q", "-c", "-7"]);
    match task {
        "pack" => command.arg("--").arg(path).stdin(Stdio::null()),
        _ => command.stdin(fs::File::open(path).unwrap()),
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    output.stdout
}

fn packs_as_the_program_itself(who: Who) {
    let place = place_of(who);
    let _ = place.file("bulkhead.toml", TASKS);
    let files = files();
    let line = |(number, path): (usize, &PathBuf)| -> Value {
        let data = STANDARD.encode(fs::read(path).unwrap());
        json!({"task": task_of(number), "kwargs": {"data": data}})
    };
    let lines: Vec<_> = files.iter().enumerate().map(line).collect();
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("launcher")
        .args(["--burst"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let mut total = 0;
    let statuses = statuses(&place, &jobs);
    for (number, (status, path)) in statuses.iter().zip(&files).enumerate() {
        assert_eq!(Verdict::of(status), Verdict::succeeded(), "{status:#}");
        let isolation = status["isolation"].as_str().unwrap();
        assert!(isolation.starts_with("strict"), "{status:#}");
        assert!(!isolation.contains("WITHOUT"), "{status:#}");
        let uuid = status["uuid"].as_str().unwrap();
        let result = place.command(&["result", uuid, "--raw"]).output().unwrap();
        let expected = directly(task_of(number), path);
        assert!(result.stdout == expected, "{} differs", path.display());
        total += expected.len();
    }
    assert!(total > FILES, "{total} bytes are no real work");
    assert_eq!(place.runs_left(), 0);
}

#[test]
fn three_hundred_files_are_packed_as_by_the_program_itself() {
    packs_as_the_program_itself(Who::Root);
}

#[test]
fn the_same_by_the_supervisor_of_an_ordinary_user() {
    packs_as_the_program_itself(Who::User);
}
