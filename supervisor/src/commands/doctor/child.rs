//! The program with the tasks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_shared::finding::{Finding, Severity};

use crate::commands::describe::{DescribeError, describe};
use crate::commands::error::chain;

pub(super) fn examine(program: &Path) -> Vec<Finding> {
    let shown = program.display();
    let broken = |found: String, way_out: &str| {
        Finding::ok("child", found)
            .because(Severity::Error, "supervisors start it to run tasks")
            .way_out(way_out)
    };
    let mode = match fs::metadata(program) {
        Ok(found) if found.is_file() => found.permissions().mode(),
        Ok(_) => {
            let found = format!("`{shown}` is no program");
            return vec![broken(found, "name the tasks' program with --child PATH")];
        }
        Err(error) => {
            let found = format!("`{shown}`: {error}");
            let way_out = "build it, or name the tasks' program with --child PATH";
            return vec![broken(found, way_out)];
        }
    };
    if mode & 0o111 == 0 {
        let found = format!("`{shown}` may not be executed");
        return vec![broken(found, "run `chmod +x` on it")];
    }
    let mut findings = vec![match describe(program) {
        Ok(tasks) if tasks.is_empty() => Finding::ok("child", format!("`{shown}` has no tasks"))
            .because(Severity::Warning, "a supervisor with it runs nothing")
            .way_out("register some: `bulkhead_child::run(tasks![...])`"),
        Ok(tasks) => Finding::ok("child", format!("`{shown}` has {} tasks", tasks.len())),
        Err(error) => {
            let is_other = matches!(error, DescribeError::Json(_) | DescribeError::Exit(_));
            let way_out = if is_other {
                "its main function must be `bulkhead_child::run(tasks![...])`, of this release"
            } else {
                "run it with `--describe` and see what it does"
            };
            let found = format!("`{shown}` does not tell its tasks: {}", chain(&error));
            broken(found, way_out)
        }
    }];
    if mode & 0o022 != 0 {
        findings.push(
            Finding::ok("child-mode", format!("others can write to `{shown}`"))
                .because(
                    Severity::Warning,
                    "whoever changes it runs code as a supervisor's task",
                )
                .way_out("run `chmod go-w` on it"),
        );
    }
    findings
}
