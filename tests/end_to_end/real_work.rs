//! A real program on real files: what a command task returns is what the program gives by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

use crate::parts::{Verdict, statuses, submit};

const FILES: usize = 300;

const TASK: &str = r#"
[task.pack]
command = ["zstd", "-q", "-c", "-{level}", "--", "in"]
files = { in = { bytes = "data" } }
output = "bytes"
defaults = { level = 7 }
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

fn directly(path: &Path) -> Vec<u8> {
    let mut command = Command::new("zstd");
    command.args(["-q", "-c", "-7", "--"]).arg(path);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    output.stdout
}

#[test]
fn three_hundred_files_are_packed_as_by_the_program_itself() {
    let place = Place::new();
    let _ = place.file("bulkhead.toml", TASK);
    let files = files();
    let line = |path: &PathBuf| {
        let data = STANDARD.encode(fs::read(path).unwrap());
        json!({"task": "pack", "kwargs": {"data": data}})
    };
    let lines: Vec<_> = files.iter().map(line).collect();
    let jobs = submit(&place, &lines);
    let mut supervisor = Supervisor::at(&place)
        .tasks_of("launcher")
        .args(["--burst"])
        .start();
    assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    let mut total = 0;
    for (status, path) in statuses(&place, &jobs).iter().zip(&files) {
        assert_eq!(Verdict::of(status), Verdict::succeeded(), "{status:#}");
        let uuid = status["uuid"].as_str().unwrap();
        let result = place.command(&["result", uuid, "--raw"]).output().unwrap();
        let expected = directly(path);
        assert!(result.stdout == expected, "{} differs", path.display());
        total += expected.len();
    }
    assert!(total > FILES, "{total} bytes are no real work");
}
