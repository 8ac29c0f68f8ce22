//! From what was typed to what is meant. Everything is checked here, once; nothing later asks
//! the environment again.

mod environment;
pub(crate) mod extras;
pub(crate) mod file;
mod options;
pub(crate) mod profiles;
mod secrets;
mod store;
mod tasks;
mod values;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::backend::{self, Missing};
use bulkhead_shared::name::{QueueName, TaskName};
use bulkhead_shared::redis::evidence;
use clap::ArgMatches;

pub(crate) use self::environment::Environment;
use self::extras::Extras;
use self::file::{File, FileError, ReadError};
pub(crate) use self::options::{Setting, Source};
pub(crate) use self::store::{store_options, url_of};
use self::store::{store_url, url_of_file, without_password};
use self::values::{absolute, existing_directory, task_environment, unique, without};
pub(crate) use crate::cli::{LogFormat, LogLevel, Spawn, TaskOutput, TaskUser};
use crate::cli::{RunArgs, StoreArgs};
use crate::sandbox::probe::FEATURES;
use crate::sandbox::profile::Profiles;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub(crate) struct RunConfig {
    /// Tasks at once.
    pub processes: NonZeroU16,
    /// The program with the tasks; absolute.
    pub child: PathBuf,
    /// The program that starts it for each process, if it is not to do that itself.
    pub launcher: Option<PathBuf>,
    /// In strict order; `None` for those of the child's own tasks and `default`.
    pub queues: Option<Vec<QueueName>>,
    /// `None` for all of the child's.
    pub tasks: Option<Vec<TaskName>>,
    /// Jobs of one process; 0 is no limit.
    pub tasks_per_process: u32,
    /// Partitions of streams at once.
    pub stream_processes: u16,
    /// Group processes at once.
    pub groups: u16,
    /// Groups that are kept without work.
    pub group_floor: u16,
    /// Threads of a group.
    pub threads: u16,
    /// Futures of a group.
    pub async_tasks: u16,
    /// Stack of a group's thread, in bytes.
    pub thread_stack: u64,
    /// How processes are started.
    pub spawn: Spawn,
    /// The profile of tasks for which nothing says another.
    pub sandbox: String,
    /// The profile of groups.
    pub group_sandbox: String,
    /// Where the host cannot give what a profile asks for, less is enough.
    pub best_effort: bool,
    /// All profiles there are.
    pub profiles: Profiles,
    /// Profiles that the file gives to queues and tasks.
    pub profile_of_queue: HashMap<QueueName, String>,
    pub profile_of_task: HashMap<TaskName, String>,
    /// Whom they run as.
    pub task_user: TaskUser,
    /// Memory of each, in bytes.
    pub memory: Option<u64>,
    /// The whole environment of tasks.
    pub env: Vec<(OsString, OsString)>,
    /// Where they start; absolute. `None` for where the supervisor was started.
    pub cwd: Option<PathBuf>,
    /// From SIGTERM to SIGKILL.
    pub patience: Duration,
    /// How long a drain lets tasks finish.
    pub grace: Duration,
    /// How long jobs are held without renewal.
    pub lease: Duration,
    /// When a ready job of an unknown task ends; `None` is never.
    pub unknown_after: Option<Duration>,
    /// End when nothing is left to do.
    pub burst: bool,
    /// What becomes of tasks' output.
    pub task_output: TaskOutput,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What it leaves out.
    pub log_level: LogLevel,
    /// What tasks are given beside their jobs, and those that are commands.
    pub extras: Extras,
    /// Which store.
    pub store: backend::Options,
    /// Features of the kernel that the probes are to deny, from [`WITHOUT_VARIABLE`].
    pub without: Vec<String>,
    /// A fault to inject, for tests.
    pub fault: Option<String>,
    /// Whether a Redis store is to keep evidence, for tests.
    pub evidence: bool,
    /// The file that turns the clock, for tests.
    pub test_clock: Option<PathBuf>,
}

/// The variables that name the store, and the file that has its URL in it.
const STORE_VARIABLE: &str = "BULKHEAD_STORE";
const STORE_FILE_VARIABLE: &str = "BULKHEAD_STORE_FILE";
/// The variables that name the stores of a move.
pub(crate) const FROM_VARIABLE: &str = "BULKHEAD_FROM";
pub(crate) const TO_VARIABLE: &str = "BULKHEAD_TO";
/// The variable that makes probes say no.
const WITHOUT_VARIABLE: &str = "BULKHEAD_WITHOUT";

/// Why what was typed cannot be meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    #[error(
        "{option} has a password in it, and every process of this machine can read arguments (put the URL into the environment variable {variable}, or into a file of mode 0600 and name that with {option}-file)"
    )]
    PasswordInArgument {
        option: &'static str,
        variable: &'static str,
    },
    #[error(
        "the environment variables {STORE_VARIABLE} and {STORE_FILE_VARIABLE} both name a store (leave one of them out)"
    )]
    TwoStores,
    #[error("`migrate` takes no --store (name the source with --from and the target with --to)")]
    StoreOfMove,
    #[error(
        "`migrate` needs a source and a target (write --from URL --to URL; here {variable} is not set either)"
    )]
    NoStoreOfMove { variable: &'static str },
    #[error("cannot read the store's URL from `{}` (its first line must be the URL)", path.display())]
    StoreFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has no URL in its first line (write one, such as `sqlite:/var/lib/bulkhead.db`)", path.display())]
    StoreFileEmpty { path: PathBuf },
    #[error("the environment variable {variable} is not UTF-8 (set it again)")]
    NotText { variable: &'static str },
    #[error(
        "there is no profile `{name}` for --{option} (there are {known}; others are declared in the configuration file, as `[profile.{name}]`)"
    )]
    NoProfile {
        option: &'static str,
        name: String,
        known: String,
    },
    #[error(
        "groups cannot be under the profile `{name}`, where each job has a process of its own (name another one for --group-sandbox)"
    )]
    AloneInGroups { name: String },
    #[error(
        "--processes {processes}, --groups {groups} and --stream-processes {stream_processes} are {sum} processes, with the one for a job that rides alone, and a supervisor has at most {} (lower one of them, or start more supervisors)",
        u16::MAX
    )]
    TooManyProcesses {
        processes: u16,
        groups: u16,
        stream_processes: u16,
        sum: u32,
    },
    #[error("the environment variable {variable} {reason}")]
    Variable { variable: String, reason: String },
    #[error(transparent)]
    Typed(#[from] clap::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{first}{}", if *more == 0 { String::new() } else { format!(" (and {more} more: `supervisor config check` tells them all)") })]
    File { first: FileError, more: usize },
    #[error("--child `{}` names no program (write the path of one, not of a directory)", path.display())]
    NoProgram { path: PathBuf },
    #[error("the supervisor cannot find its own program (name the tasks' with --child PATH)")]
    OwnPath(#[source] io::Error),
    #[error("there is no directory `{}` (make it, or leave --cwd out)", path.display())]
    NoDirectory { path: PathBuf },
    #[error("--env `{text}` names no variable (write NAME=VALUE, or NAME to copy it)")]
    EnvName { text: String },
    #[error("{WITHOUT_VARIABLE} has the unknown word `{word}` (known: {})", FEATURES.join(", "))]
    Without { word: String },
}

impl From<FileError> for ConfigError {
    fn from(first: FileError) -> Self {
        Self::File { first, more: 0 }
    }
}

/// What a run is to do, and where each option is from.
pub(crate) type Configured = (RunConfig, Vec<Setting>);

/// What a configuration is made of, to make it once more when the file has changed.
#[derive(Debug)]
pub(crate) struct Again {
    matches: ArgMatches,
    variables: Environment,
    named: Option<PathBuf>,
    has_file: bool,
}

impl Again {
    pub(crate) fn new(
        matches: ArgMatches,
        environment: &Environment,
        named: Option<PathBuf>,
    ) -> Self {
        Self {
            matches,
            variables: Environment {
                variables: environment.variables.clone(),
                file: None,
            },
            named,
            has_file: environment.file.is_some(),
        }
    }

    /// Whether there is a file that can change.
    pub(crate) const fn has_file(&self) -> bool {
        self.has_file
    }

    /// Reads the file, and checks everything.
    pub(crate) fn read(&self) -> Result<Configured, ConfigError> {
        let environment = self.variables.clone().with_file(self.named.as_deref())?;
        let (store, _) = store_args(&self.matches, &environment)?;
        let typed = typed_of_run(&self.matches);
        let (run, _) = run_args(Some(typed), &environment)?;
        let config = RunConfig::new(store, run, &environment)?;
        Ok((config, settings(&self.matches, &environment)?))
    }
}

/// Options of a run stand before all commands, or after `run`.
fn typed_of_run(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand_matches("run").unwrap_or(matches)
}

/// The names of all options that a file can have.
#[cfg(test)]
pub(crate) fn option_names() -> Vec<String> {
    [options::names::<StoreArgs>(), options::names::<RunArgs>()].concat()
}

/// All that is wrong with what a file says, in the order of its lines.
pub(crate) fn problems(file: &File) -> Vec<FileError> {
    let names = [options::names::<StoreArgs>(), options::names::<RunArgs>()].concat();
    let known = names.iter().map(String::as_str).chain(options::TABLES);
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    known.dedup();
    let mut found = file.table.strangers(&known);
    found.extend(options::examine::<StoreArgs>(file));
    found.extend(options::examine::<RunArgs>(file));
    found.extend(options::env_table(file).err());
    found.extend(url_of_file(file).err());
    found.extend(extras::problems(file));
    found.extend(profiles::problems(file));
    found.sort_by_key(|error| (error.line, error.column));
    found
}

/// The options of a command that runs nothing, completed from everywhere.
pub(crate) fn store_args(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<(StoreArgs, Vec<Setting>), ConfigError> {
    options::complete(Some(matches), environment)
}

/// The options of a run, completed from everywhere. `typed` is `None` where none can be typed.
pub(crate) fn run_args(
    typed: Option<&ArgMatches>,
    environment: &Environment,
) -> Result<(RunArgs, Vec<Setting>), ConfigError> {
    options::complete(typed, environment)
}

impl RunConfig {
    /// Checks what was typed.
    pub(crate) fn new(
        store: StoreArgs,
        run: RunArgs,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let cpus = || {
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            u16::try_from(cpus)
                .ok()
                .and_then(NonZeroU16::new)
                .unwrap_or(NonZeroU16::MAX)
        };
        let fault = environment.fault()?;
        let env = task_environment(&run.env, environment)?;
        let extras = extras::read(environment, &path_of(&env))?;
        let child = match run.child {
            // Commands need no program of tasks.
            None if !extras.specs.is_empty() => beside_us("launcher")?,
            named => program_path(named)?,
        };
        let of_file = profiles::of_file(environment.file())?;
        let _ = of_file.check("sandbox", &run.sandbox)?;
        if let Some(name) = &run.group_sandbox
            && of_file.check("group-sandbox", name)?.single_use
        {
            return Err(ConfigError::AloneInGroups { name: name.clone() });
        }
        let processes = run.processes.unwrap_or_else(cpus);
        // A burst ends when its queues are empty, and streams never are.
        let stream_processes = if run.burst { 0 } else { run.stream_processes };
        let (own, groups) = (processes.get(), run.groups.get());
        // Their places are numbered, and there is one more group, for those who ride alone.
        let sum = u32::from(own) + u32::from(groups) + 1 + u32::from(stream_processes);
        if sum > u32::from(u16::MAX) {
            return Err(ConfigError::TooManyProcesses {
                processes: own,
                groups,
                stream_processes,
                sum,
            });
        }
        Ok(Self {
            processes,
            child,
            launcher: matches!(run.spawn, Spawn::Launch)
                .then(|| beside_us("launcher"))
                .transpose()?,
            queues: run.queues.map(unique),
            tasks: run.tasks.map(unique),
            tasks_per_process: run.tasks_per_process,
            stream_processes,
            groups: run.groups.get(),
            group_floor: run.group_floor.min(run.groups.get()),
            threads: run.threads.get(),
            async_tasks: run.async_tasks.get(),
            thread_stack: run.thread_stack.0,
            spawn: run.spawn,
            group_sandbox: run.group_sandbox.unwrap_or_else(|| run.sandbox.clone()),
            sandbox: run.sandbox,
            best_effort: run.sandbox_best_effort,
            profiles: of_file.profiles,
            profile_of_queue: of_file.queues,
            profile_of_task: of_file.tasks,
            task_user: run.task_user,
            memory: run.memory.into_option(),
            env,
            extras,
            cwd: run.cwd.map(existing_directory).transpose()?,
            patience: run.patience,
            grace: run.grace,
            lease: run.lease,
            unknown_after: run.unknown_after.into_option(),
            burst: run.burst,
            task_output: run.task_output,
            log_format: run.log_format,
            log_level: run.log_level,
            store: store_options(store, environment, Missing::Create)?,
            without: without(environment)?,
            fault: fault.map(Into::into),
            evidence: environment.text(evidence::VARIABLE)? == Some("1"),
            test_clock: environment.test_clock(),
        })
    }
}

/// Every option with its value and its source, in the order of the manual.
pub(crate) fn settings(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Vec<Setting>, ConfigError> {
    let (store, mut settings) = store_args(matches, environment)?;
    let (url, source) = store_url(store.store, store.store_file, environment)?;
    let store = Setting {
        name: options::STORE[0].into(),
        value: Some(without_password(&url)),
        source,
    };
    settings.insert(0, store);
    settings.extend(run_args(Some(typed_of_run(matches)), environment)?.1);
    settings.extend(extras::settings(environment)?);
    settings.extend(environment.file().into_iter().flat_map(profiles::settings));
    Ok(settings)
}

/// The program with the tasks: the one named, else that of the environment or the configuration
/// file, else `child` beside our own.
pub(crate) fn child_path(
    named: Option<PathBuf>,
    environment: &Environment,
) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) => own_or(Some(path)),
        None => own_or(run_args(None, environment)?.0.child),
    }
}

fn own_or(named: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) => Ok(absolute(path)),
        None => beside_us("child"),
    }
}

fn beside_us(name: &str) -> Result<PathBuf, ConfigError> {
    let own = std::env::current_exe().map_err(ConfigError::OwnPath)?;
    Ok(absolute(own.with_file_name(name)))
}

/// Where programs are looked for, as tasks do.
fn path_of(env: &[(OsString, OsString)]) -> String {
    let found = env.iter().find(|(name, _)| name == "PATH");
    let usual = "/usr/local/bin:/usr/bin:/bin";
    found.map_or_else(
        || usual.into(),
        |(_, path)| path.to_string_lossy().into_owned(),
    )
}

/// A program that is missing may still come, also while the supervisor runs; a path that can
/// name none is a mistake.
fn program_path(named: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) if path.as_os_str().is_empty() || path.is_dir() => {
            Err(ConfigError::NoProgram { path })
        }
        named => own_or(named),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
