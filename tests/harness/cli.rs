//! Runs the `supervisor` binary against a store of its own, as a user would.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::alive::cgroups_of_run;
use crate::supervise::copy;

/// The program `name` beside the test executable.
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    // target/debug/deps/command_line-0123 -> target/debug/supervisor
    let path = own
        .ancestors()
        .nth(2)
        .expect("test executables are two directories deep")
        .join(name);
    assert!(
        path.is_file(),
        "there is no {}: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// A directory of its own for one test, with the store in it; both go with it.
#[derive(Debug)]
pub struct Place {
    dir: tempfile::TempDir,
    /// Whose it is and who runs commands in it, if not we ourselves.
    owner: Option<u32>,
    /// The program `supervisor`, where this owner can reach it.
    supervisor: PathBuf,
    /// Where the store is, if it is not the file in this directory.
    elsewhere: Option<String>,
}

impl Drop for Place {
    /// What a supervisor that was killed has left of its cgroups is its next start's to remove; here
    /// there is none, and nothing lives in them.
    fn drop(&mut self) {
        let bases = fs::read_dir(self.path("tmp")).into_iter().flatten();
        let runs = bases.flatten().flat_map(|base| fs::read_dir(base.path()));
        for run in runs.flatten().flatten() {
            let name = run.file_name();
            let cgroups = name.to_str().map(cgroups_of_run);
            cgroups.iter().flatten().for_each(|one| remove_empty(one));
        }
    }
}

/// Removes a cgroup and those in it; busy ones stay.
fn remove_empty(cgroup: &Path) {
    let inner = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for one in inner.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&one.path());
    }
    let _ = fs::remove_dir(cgroup);
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty directory that only we may enter.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))
            .expect("our own directory");
        let supervisor = program("supervisor");
        Self {
            dir,
            owner: None,
            supervisor,
            elsewhere: None,
        }
    }

    /// An empty directory; the store is the one at `url`.
    #[must_use]
    pub fn with_store(url: &str) -> Self {
        let mut place = Self::new();
        place.elsewhere = Some(url.into());
        place
    }

    /// An empty directory of the ordinary user `uid`, as which all its commands run. Needs root.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        let mut place = Self::new();
        // The build's own directory may lie where this user cannot go.
        let supervisor = place.path("supervisor");
        copy(&place.supervisor, &supervisor);
        place.supervisor = supervisor;
        place.owner = Some(uid);
        place.belongs_to_owner(place.dir.path());
        place
    }

    /// The user whose it is, if not we ourselves.
    #[must_use]
    pub const fn owner(&self) -> Option<u32> {
        self.owner
    }

    pub(crate) fn belongs_to_owner(&self, path: &Path) {
        if self.owner.is_some() {
            std::os::unix::fs::chown(path, self.owner, self.owner).expect("we are root");
        }
    }

    /// A path inside of it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store's file.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path("store.db")
    }

    /// The store's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let file = || format!("sqlite:{}", self.store().display());
        self.elsewhere.clone().unwrap_or_else(file)
    }

    /// Writes a file inside of it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("our own directory");
        self.belongs_to_owner(&path);
        path
    }

    /// `supervisor` with these arguments, in this directory, with this store and no other
    /// variable of ours.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_as_we_are(arguments);
        if let Some(user) = self.owner {
            command.uid(user).gid(user);
        }
        command
    }

    /// The same, but not as the place's owner.
    pub(crate) fn command_as_we_are(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.supervisor);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("BULKHEAD_STORE", self.url())
            .stdin(Stdio::null());
        command
    }

    /// Runs `supervisor` to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// Runs `supervisor` to its end, with `input` on its standard input.
    #[must_use]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        Ran::with_input(self.command(arguments), input)
    }

    /// Submits one message and returns its uuid.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn submit(&self, arguments: &[&str]) -> String {
        let all: Vec<_> = ["submit"].iter().chain(arguments).copied().collect();
        self.run(&all).succeeds().line()
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it cannot be started, dies by a signal or writes something else than text.
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        Self::ended(command.output().expect("the command starts"))
    }

    /// Runs a command to its end, with `input` on its standard input.
    ///
    /// # Panics
    /// As [`Ran::of`].
    #[must_use]
    pub fn with_input(mut command: Command, input: &str) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        // The command may have ended before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Self::ended(child.wait_with_output().expect("the command ends"))
    }

    fn ended(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("only text is printed");
        let stderr = text(output.stderr);
        Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| panic!("{}: {stderr}", output.status)),
            stdout: text(output.stdout),
            stderr,
        }
    }

    /// Itself, if the command ended with this code.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Itself, if the command ended with code 0.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// Itself, if it said all of these words to the user.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// The lines on standard output.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The only line on standard output.
    ///
    /// # Panics
    /// If there are none or several.
    #[must_use]
    pub fn line(&self) -> String {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:#?}");
        lines[0].to_owned()
    }

    /// The only line on standard output, as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.line()).expect("one line of JSON")
    }
}

/// Whether nothing but its owner may use `path`.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn is_private(path: &Path) -> bool {
    let data = fs::metadata(path).expect("the file is there");
    data.permissions().mode().trailing_zeros() >= 6
}
