//! Helper processes: the test binary once more, running one test that plays a part.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Names the part that a helper process plays.
const ROLE: &str = "BULKHEAD_TEST_ROLE";

/// The argument of this process's part, if it is a helper that plays `part`.
#[must_use]
pub fn role(part: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a helper has no other way to learn its part: the test runner owns the arguments"
    )]
    let role = std::env::var(ROLE).ok()?;
    role.strip_prefix(part)?.strip_prefix(':').map(Into::into)
}

/// A helper process; killed when it is dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Helper {
    /// Starts `test` of this binary in the part `part` with `argument`.
    #[must_use]
    pub fn start(test: &str, part: &str, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{part}:{argument}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for a line that starts with `word` and returns the rest of it.
    pub fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "the helper ended without saying `{word}`");
            // The test runner may have begun the line.
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Lets it go on.
    pub fn tell(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// SIGKILL, and the end of it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end by a signal.
    pub fn dies(&mut self) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "{status}: {rest}");
    }

    /// Waits for its end; it must have done its part well.
    pub fn finish(&mut self) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the helper failed: {status}\n{rest}");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
