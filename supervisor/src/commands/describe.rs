//! Asks a child program for its tasks: `<child> --describe`.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use bulkhead_shared::task::TaskSpec;
use crossbeam::channel;

/// A program that has not told its tasks by then does something else.
const DEADLINE: Duration = Duration::from_secs(5);

/// Longest answer: thousands of tasks.
const OUTPUT_LIMIT: u64 = 4 << 20;

/// Why a program's tasks are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DescribeError {
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    #[error("it did not answer within {DEADLINE:?}")]
    Slow,
    #[error("its answer cannot be read")]
    Read(#[source] io::Error),
    #[error("its answer has more than {OUTPUT_LIMIT} bytes")]
    Long,
    #[error("it ended with {0}")]
    Exit(ExitStatus),
    #[error("its answer is no list of tasks")]
    Json(#[source] serde_json::Error),
}

/// The tasks of `program`, started without our environment.
pub(crate) fn describe(program: &Path) -> Result<Vec<TaskSpec>, DescribeError> {
    let mut child = Command::new(program)
        .arg("--describe")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(DescribeError::Start)?;
    let answer = read(&mut child);
    if answer.is_err() {
        // It may be gone already, and nobody wants it any more.
        let _ = child.kill();
    }
    let status = child.wait().map_err(DescribeError::Read)?;
    let answer = answer?;
    if !status.success() {
        return Err(DescribeError::Exit(status));
    }
    serde_json::from_slice(&answer).map_err(DescribeError::Json)
}

fn read(child: &mut Child) -> Result<Vec<u8>, DescribeError> {
    let Some(stdout) = child.stdout.take() else {
        return Ok(Vec::new());
    };
    let (done, answer) = channel::bounded(1);
    // Left behind when it is late: whoever holds the other end of the pipe may never close it.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(OUTPUT_LIMIT + 1).read_to_end(&mut bytes);
        done.send(read.map(|_| bytes)).ok();
    });
    let bytes = answer
        .recv_timeout(DEADLINE)
        .map_err(|_| DescribeError::Slow)?
        .map_err(DescribeError::Read)?;
    if bytes.len() as u64 > OUTPUT_LIMIT {
        return Err(DescribeError::Long);
    }
    Ok(bytes)
}
