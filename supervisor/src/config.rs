//! From what was typed to what is meant. Everything is checked here, once; nothing later asks
//! the environment again.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use bulkhead_shared::backend::{self, Missing};
use bulkhead_shared::name::{NameError, Namespace, QueueName, TaskName};
use bulkhead_shared::redis::evidence;

pub(crate) use crate::cli::{LogFormat, LogLevel, Sandbox, Spawn, TaskOutput, TaskUser};
use crate::cli::{RunArgs, StoreArgs};
use crate::sandbox::probe::FEATURES;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub(crate) struct RunConfig {
    /// Tasks at once.
    pub processes: NonZeroU16,
    /// The program with the tasks; absolute.
    pub child: PathBuf,
    /// In strict order; `None` for those of the child's own tasks and `default`.
    pub queues: Option<Vec<QueueName>>,
    /// `None` for all of the child's.
    pub tasks: Option<Vec<TaskName>>,
    /// Jobs of one process; 0 is no limit.
    pub tasks_per_process: u32,
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
    /// What they may do.
    pub sandbox: Sandbox,
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

/// The variable that names the store.
const STORE_VARIABLE: &str = "BULKHEAD_STORE";
/// The variables that name the stores of a move.
pub(crate) const FROM_VARIABLE: &str = "BULKHEAD_FROM";
pub(crate) const TO_VARIABLE: &str = "BULKHEAD_TO";
/// The variable that names the namespace.
const NAMESPACE_VARIABLE: &str = "BULKHEAD_NAMESPACE";
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
    #[error("the environment variable {NAMESPACE_VARIABLE} names no namespace")]
    Namespace(#[source] NameError),
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

/// The supervisor's environment, read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// That of this process.
    pub(crate) fn read() -> Self {
        Self(std::env::vars_os().collect())
    }

    fn find(&self, name: &OsStr) -> Option<&OsStr> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// The fault to inject, for tests.
    pub(crate) fn fault(&self) -> Result<Option<&str>, ConfigError> {
        self.text(bulkhead_shared::fault::VARIABLE)
    }

    /// The file that turns the clock, for tests.
    pub(crate) fn test_clock(&self) -> Option<PathBuf> {
        let file = self.find(OsStr::new(bulkhead_shared::turned::VARIABLE))?;
        (!file.is_empty()).then(|| file.into())
    }

    /// A variable's value as text; an empty one counts as not set.
    fn text(&self, variable: &'static str) -> Result<Option<&str>, ConfigError> {
        let value = self.find(OsStr::new(variable)).filter(|v| !v.is_empty());
        let text = value.map(|v| v.to_str().ok_or(ConfigError::NotText { variable }));
        text.transpose()
    }
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
        Ok(Self {
            processes: run.processes.unwrap_or_else(cpus),
            child: program_path(run.child)?,
            queues: run.queues.map(unique),
            tasks: run.tasks.map(unique),
            tasks_per_process: run.tasks_per_process,
            groups: run.groups.get(),
            group_floor: run.group_floor.min(run.groups.get()),
            threads: run.threads.get(),
            async_tasks: run.async_tasks.get(),
            thread_stack: run.thread_stack.0,
            spawn: run.spawn,
            sandbox: run.sandbox,
            task_user: run.task_user,
            memory: run.memory.into_option(),
            env: task_environment(&run.env, environment)?,
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

/// Which store is meant: the argument, else the file, else the environment, else the default.
pub(crate) fn store_options(
    args: StoreArgs,
    environment: &Environment,
    missing: Missing,
) -> Result<backend::Options, ConfigError> {
    let url = url_of(args.store, args.store_file, STORE_VARIABLE, environment)?;
    let url = url.unwrap_or_else(|| backend::DEFAULT_URL.into());
    let of_environment = || {
        let name = environment.text(NAMESPACE_VARIABLE)?.map(Namespace::new);
        let namespace = name.transpose().map_err(ConfigError::Namespace)?;
        Ok(namespace.unwrap_or_default())
    };
    Ok(backend::Options {
        url,
        namespace: args.namespace.map_or_else(of_environment, Ok)?,
        missing,
        durability: args.durability.into(),
        group_access: args.store_group,
    })
}

/// The URL that was typed, or that is in a file, or in the environment; in this order.
pub(crate) fn url_of(
    typed: Option<String>,
    file: Option<PathBuf>,
    variable: &'static str,
    environment: &Environment,
) -> Result<Option<String>, ConfigError> {
    Ok(match (typed, file) {
        (Some(url), _) if has_password(&url) => {
            let option = match variable {
                FROM_VARIABLE => "--from",
                TO_VARIABLE => "--to",
                _ => "--store",
            };
            return Err(ConfigError::PasswordInArgument { option, variable });
        }
        (Some(url), _) => Some(url),
        (None, Some(path)) => Some(url_in_file(path)?),
        (None, None) => environment.text(variable)?.map(Into::into),
    })
}

/// Whether `scheme://user:password@...` is written out.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // A password may hold any of the characters that end an authority, if carelessly written.
    let user = [authority, rest]
        .iter()
        .find_map(|part| part.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, pw)| !pw.is_empty()))
        || rest.to_ascii_lowercase().contains("password=")
}

fn url_in_file(path: PathBuf) -> Result<String, ConfigError> {
    match fs::read_to_string(&path) {
        Ok(text) => match text.lines().next().map(str::trim) {
            Some(url) if !url.is_empty() => Ok(url.into()),
            _ => Err(ConfigError::StoreFileEmpty { path }),
        },
        Err(source) => Err(ConfigError::StoreFile { path, source }),
    }
}

/// The program with the tasks: the one named, else `child` beside our own.
pub(crate) fn child_path(named: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let path = match named {
        Some(path) => path,
        None => std::env::current_exe()
            .map_err(ConfigError::OwnPath)?
            .with_file_name("child"),
    };
    Ok(absolute(path))
}

/// A program that is missing may still come, also while the supervisor runs; a path that can
/// name none is a mistake.
fn program_path(named: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) if path.as_os_str().is_empty() || path.is_dir() => {
            Err(ConfigError::NoProgram { path })
        }
        named => child_path(named),
    }
}

fn existing_directory(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_dir() {
        Ok(absolute(path))
    } else {
        Err(ConfigError::NoDirectory { path })
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn unique<T: PartialEq>(names: Vec<T>) -> Vec<T> {
    let mut seen = Vec::with_capacity(names.len());
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// PATH, LANG, LC_* and TZ of `environment`, then what `--env` says, the last word counting.
fn task_environment(
    named: &[OsString],
    environment: &Environment,
) -> Result<Vec<(OsString, OsString)>, ConfigError> {
    let is_usual = |name: &OsStr| {
        ["PATH", "LANG", "TZ"].iter().any(|usual| name == *usual)
            || name.as_bytes().starts_with(b"LC_")
    };
    let mut env: Vec<_> = environment.0.clone();
    env.retain(|(name, _)| is_usual(name));
    for text in named {
        let mut parts = text.as_bytes().splitn(2, |&byte| byte == b'=');
        let name = OsStr::from_bytes(parts.next().unwrap_or_default());
        if name.is_empty() {
            return Err(ConfigError::EnvName {
                text: text.to_string_lossy().into_owned(),
            });
        }
        let value = parts
            .next()
            .map(OsStr::from_bytes)
            .or_else(|| environment.find(name));
        env.retain(|(known, _)| known != name);
        // A variable that is to be copied and is not set here stays unset there.
        env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    Ok(env)
}

fn without(environment: &Environment) -> Result<Vec<String>, ConfigError> {
    let text = environment.text(WITHOUT_VARIABLE)?.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
    words
        .map(|word| {
            if FEATURES.contains(&word) {
                Ok(word.into())
            } else {
                Err(ConfigError::Without { word: word.into() })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
