//! A running `supervisor` under a test: its log, its jobs, its end, and the certainty that no
//! process of its tasks is left.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_shared::pidfd::PidFd;
use serde_json::Value;

use crate::alive::{processes_of, until};
use crate::cli::{Place, program};
use crate::namespace::{ProcessLimit, spawn_in};

/// The patience of tests: long enough for the busiest machine, reached only by a broken test.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// How a supervisor is to be started.
#[derive(Debug)]
#[must_use = "nothing runs before `start`"]
pub struct Builder<'a> {
    place: &'a Place,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    program: Option<PathBuf>,
    child: Option<PathBuf>,
    stderr: Option<Stdio>,
    is_pid_1: bool,
    limit: Option<&'a ProcessLimit>,
}

impl<'a> Builder<'a> {
    /// Adds arguments of `run`.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(|a| a.as_ref().to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// Sets a variable of its environment, which has PATH, TMPDIR and BULKHEAD_STORE otherwise.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Takes the tasks from a copy of this program instead of one of `child`.
    pub fn tasks_of(mut self, name: &str) -> Self {
        self.program = Some(program(name));
        self
    }

    /// Takes the tasks from `path` as it is, whatever is there. The processes of tasks are those
    /// that run this path, so nobody else may use it.
    pub fn child(mut self, path: impl Into<PathBuf>) -> Self {
        self.child = Some(path.into());
        self
    }

    /// Sends its standard error there instead of to a file; [`Supervisor::log`] is empty then.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Makes it process 1 of a pid namespace. Needs root.
    pub fn as_pid_1(mut self) -> Self {
        self.is_pid_1 = true;
        self
    }

    /// Keeps it and all it starts below a number of processes.
    pub fn limited(mut self, limit: &'a ProcessLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Starts it; it may not be ready yet.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(self) -> Supervisor<'a> {
        let place = self.place;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tasks = self.child.unwrap_or_else(|| {
            let own = place.path(&format!("child-{number}"));
            copy(&self.program.unwrap_or_else(|| program("child")), &own);
            own
        });
        let log = place.path(&format!("supervisor-{number}.log"));
        let file = File::create(&log).expect("our own directory");
        let mut command = place.command_as_we_are(&["run"]);
        command
            .arg("--child")
            .arg(&tasks)
            .args(&self.arguments)
            .env("TMPDIR", place.temporary())
            .envs(self.environment)
            .stdout(Stdio::null())
            .stderr(self.stderr.unwrap_or_else(|| file.into()));
        if let Some(limit) = self.limit {
            limit.bind(&mut command);
        }
        let child = spawn_in(&mut command, self.is_pid_1, place.owner());
        let child = child.expect("the supervisor starts");
        Supervisor {
            place,
            child,
            tasks,
            log,
            ended: None,
        }
    }
}

/// Numbers supervisors, so that each has files of its own.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Copies a program by a process of its own: a descriptor open for writing in this process could
/// be inherited by what another test starts, and a program that is open for writing cannot be
/// executed.
///
/// # Panics
/// If it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let status = command.arg(from).arg(to).status().expect("cp is there");
    assert!(status.success(), "{} was not copied", from.display());
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(to, everybody).expect("our own file");
}

/// A running supervisor. Dropping it kills it, and fails the test if a process of a task is left.
#[derive(Debug)]
pub struct Supervisor<'a> {
    place: &'a Place,
    child: Child,
    tasks: PathBuf,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl<'a> Supervisor<'a> {
    /// Starts one with these arguments of `run`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(place: &'a Place, arguments: &[&str]) -> Self {
        Self::at(place).args(arguments).start()
    }

    /// One to be started at `place`.
    pub const fn at(place: &'a Place) -> Builder<'a> {
        Builder {
            place,
            arguments: Vec::new(),
            environment: Vec::new(),
            program: None,
            child: None,
            stderr: None,
            is_pid_1: false,
            limit: None,
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program its tasks come from.
    #[must_use]
    pub fn tasks(&self) -> &Path {
        &self.tasks
    }

    /// The living processes of its tasks, with its zygote and inits.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        processes_of(&self.tasks)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where its log is.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits until it has logged `words`.
    ///
    /// # Panics
    /// If it does not.
    pub fn says(&self, words: &str) {
        until(&format!("`{words}` in the log:"), PATIENCE, || {
            self.log().contains(words).then_some(())
        });
    }

    /// Waits until `look` finds something, as long as the supervisor runs.
    ///
    /// # Panics
    /// If it finds nothing, or the supervisor ends.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&Place) -> Option<T>) -> T {
        let place = self.place;
        until(what, PATIENCE, || {
            let found = look(place);
            assert!(
                found.is_some() || self.is_alive(),
                "the supervisor ended while a test waited for: {what}\n{}",
                self.log()
            );
            found
        })
    }

    /// Whether it runs still.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub fn is_alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("it is our child");
        }
        self.ended.is_none()
    }

    /// Sends it a signal, unless it has ended.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn signal(&mut self, signal: i32) {
        if self.is_alive() {
            // It is our child and not reaped yet, so the number is its own.
            let pid = i32::try_from(self.child.id()).expect("pids are small");
            let pidfd = PidFd::open(pid).expect("it is our child");
            pidfd.signal(signal).expect("it is our child");
        }
    }

    /// SIGTERM.
    pub fn term(&mut self) {
        self.signal(libc::SIGTERM);
    }

    /// Waits for its end and returns its exit code.
    ///
    /// # Panics
    /// If it does not end, or a signal ended it.
    pub fn code(&mut self) -> i32 {
        let code = until("the supervisor's end", PATIENCE, || {
            (!self.is_alive()).then_some(self.ended?.code())
        });
        code.unwrap_or_else(|| panic!("{:?}\n{}", self.ended, self.log()))
    }

    /// SIGTERM, and its exit code.
    ///
    /// # Panics
    /// As [`Supervisor::code`].
    pub fn stop(&mut self) -> i32 {
        self.term();
        self.code()
    }

    /// SIGKILL to the supervisor, and its end. Its tasks are left to what protects them.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        if self.is_alive() {
            self.child.kill().expect("it is our child");
            self.ended = Some(self.child.wait().expect("it is our child"));
        }
    }

    /// Waits until no process of its tasks is left.
    ///
    /// # Panics
    /// If some are.
    pub fn leaves_nothing(&self) {
        let mut left = Vec::new();
        until("the end of all processes of tasks", PATIENCE, || {
            left = self.processes();
            left.is_empty().then_some(())
        });
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            #[expect(
                clippy::print_stderr,
                reason = "a failed test shows what the supervisor said"
            )]
            {
                eprintln!("the log of the supervisor:\n{}", self.log());
            }
        } else {
            self.leaves_nothing();
        }
    }
}

impl Place {
    /// Where supervisors of this place keep what they have for a while; they leave nothing in it
    /// but their own base directory.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        let path = self.path("tmp");
        fs::create_dir_all(&path).expect("our own directory");
        self.belongs_to_owner(&path);
        // The users of tasks pass through both on the way to their homes.
        for path in [&path, &self.path("")] {
            let passable = fs::Permissions::from_mode(0o711);
            fs::set_permissions(path, passable).expect("our own directory");
        }
        path
    }

    /// Directories of runs that are still in [`Place::temporary`].
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn runs_left(&self) -> usize {
        let bases = fs::read_dir(self.temporary()).unwrap();
        bases
            .flat_map(|base| fs::read_dir(base.unwrap().path()).unwrap())
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir())
            .count()
    }

    /// All that `status` knows of a job.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn status(&self, uuid: &str) -> Value {
        self.run(&["status", "--json", uuid]).json()
    }

    /// Waits until `is_so` of a job's status, and returns that status.
    ///
    /// # Panics
    /// If it never is so.
    #[must_use]
    pub fn status_when(&self, uuid: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        until(&format!("job {uuid} to be {what}"), PATIENCE, || {
            last = self.status(uuid);
            is_so(&last).then(|| last.take())
        })
    }

    /// Waits until a job runs.
    ///
    /// # Panics
    /// If it never does.
    #[must_use]
    pub fn running(&self, uuid: &str) -> Value {
        self.status_when(uuid, "RUNNING with a pid", |status| {
            status["status"] == "RUNNING" && !status["pid"].is_null()
        })
    }

    /// Waits for a job's end and returns all that is known of it.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn ended(&self, uuid: &str) -> Value {
        let within = format!("{}s", PATIENCE.as_secs());
        let result = self.run(&["result", uuid, "--wait-timeout", &within]);
        assert!(
            [0, 1].contains(&result.code),
            "job {uuid} has not ended: {result:#?}\n{}",
            self.status(uuid)
        );
        self.status(uuid)
    }

    /// What a job returned.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn returned(&self, uuid: &str) -> Value {
        let status = self.ended(uuid);
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        self.run(&["result", uuid]).succeeds().json()
    }
}
