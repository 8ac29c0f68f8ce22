//! What may be typed. These structs are the manual: their comments are the `--help`.

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::backend::Durability;
use bulkhead_shared::name::{Namespace, QueueName, TaskName};
use bulkhead_shared::units::{Size, duration};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Run tasks, each in an isolated process of its own, and look after their jobs.
///
/// Without a command the supervisor runs. Durations are written `250ms`, `30s`, `5m`, `2h`,
/// sizes `64KiB`, `1GiB`. Data goes to standard output, talk to standard error.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, after_help = crate::exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Read options from this file (default: `bulkhead.toml` in the working directory, if it is
    /// there; also BULKHEAD_CONFIG).
    ///
    /// What is typed goes before the environment, that before the file. Every option of `run` and of
    /// the store is a key of the file, and a variable: `--log-level` is `log-level` and
    /// BULKHEAD_LOG_LEVEL. Only `--env` has no variable; in the file it is the table `[env]`.
    /// `supervisor config show` tells what is in force, and from where.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it is typed once"
)]
pub(crate) enum Command {
    /// Run tasks until told to stop (the default).
    ///
    /// The first TERM or INT drains: nothing new is started, what runs may finish for --grace.
    /// The second stops at once and gives the jobs back.
    #[command(after_help = crate::exit::HELP)]
    Run(RunArgs),
    #[command(after_help = crate::exit::HELP)]
    Submit(commands::submit::SubmitArgs),
    #[command(after_help = crate::exit::HELP)]
    Status(commands::status::StatusArgs),
    #[command(after_help = crate::exit::HELP)]
    Result(commands::result::ResultArgs),
    #[command(after_help = crate::exit::HELP)]
    Revoke(commands::revoke::RevokeArgs),
    #[command(after_help = crate::exit::HELP)]
    Signal(commands::signal::SignalArgs),
    #[command(after_help = crate::exit::HELP)]
    Journal(commands::journal::JournalArgs),
    #[command(after_help = crate::exit::HELP)]
    Jobs(commands::jobs::JobsArgs),
    #[command(after_help = crate::exit::HELP)]
    Remove(commands::remove::RemoveArgs),
    #[command(after_help = crate::exit::HELP)]
    Clear(commands::clear::ClearArgs),
    #[command(after_help = crate::exit::HELP, args_conflicts_with_subcommands = true)]
    Queues(commands::queues::QueuesArgs),
    #[command(after_help = crate::exit::HELP)]
    Tasks(commands::tasks::TasksArgs),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Dlq(commands::dlq::Dlq),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Schedule(commands::schedule::Schedule),
    #[command(after_help = crate::exit::HELP)]
    Fleet(commands::fleet::FleetArgs),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Stream(commands::stream::Stream),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Lock(commands::lock::Lock),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Sandbox(commands::sandbox::Sandbox),
    #[command(after_help = crate::exit::HELP)]
    Doctor(commands::doctor::DoctorArgs),
    #[command(after_help = crate::exit::HELP)]
    Migrate(commands::migrate::MigrateArgs),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Config(commands::config::ConfigCommand),
    #[command(subcommand, after_help = crate::exit::HELP)]
    Child(commands::child::ChildCommand),
}

/// Which store, taken by every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreArgs {
    /// Use the store at URL: `sqlite:PATH` (default `sqlite:bulkhead.db`) or `redis://HOST:PORT/0`.
    ///
    /// A URL with a password is refused here, because every process of the machine can read it:
    /// put it into the environment variable BULKHEAD_STORE or into a file for --store-file.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "store_file")]
    pub store: Option<String>,
    /// Read the store's URL from the first line of a file (also BULKHEAD_STORE_FILE).
    #[arg(long, global = true, value_name = "PATH")]
    pub store_file: Option<PathBuf>,
    /// Keep to this namespace of the store (default `bulkhead`; also BULKHEAD_NAMESPACE).
    #[arg(long, global = true, value_name = "NAME")]
    pub namespace: Option<Namespace>,
    /// Say what an acknowledged write survives.
    #[arg(long, global = true, value_enum, default_value = "normal")]
    pub durability: DurabilityArg,
    /// Let the store's group read and write its files (0660 instead of 0600).
    #[arg(long, global = true)]
    pub store_group: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// The death of any process; a power cut may take the last writes.
    Normal,
    /// A power cut, at the price of a disk flush for each write.
    Full,
}

impl From<DurabilityArg> for Durability {
    fn from(arg: DurabilityArg) -> Self {
        match arg {
            DurabilityArg::Normal => Self::Normal,
            DurabilityArg::Full => Self::Full,
        }
    }
}

/// How to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Run up to N tasks at once, each in its process (default: the number of CPUs).
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub processes: Option<NonZeroU16>,
    /// Take the tasks from this program (default: `child` beside the supervisor).
    #[arg(long, value_name = "PATH", help_heading = "Work")]
    pub child: Option<PathBuf>,
    /// Serve these queues, the earlier ones first (default: those of the child's own tasks, and
    /// `default`).
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Work")]
    pub queues: Option<Vec<QueueName>>,
    /// Serve these tasks only (default: all of the child's).
    #[arg(long, value_name = "X,Y", value_delimiter = ',', help_heading = "Work")]
    pub tasks: Option<Vec<TaskName>>,
    /// End with code 0 when the watched queues have no job left that waits or runs.
    #[arg(long, help_heading = "Work")]
    pub burst: bool,

    /// Replace a process after M jobs; 0 is never.
    #[arg(
        long,
        value_name = "M",
        default_value_t = 1,
        help_heading = "Processes"
    )]
    pub tasks_per_process: u32,
    /// Process up to N partitions of streams at once, each in a process of its own, beside the jobs; 0 is
    /// none.
    ///
    /// A process starts when there is something in its partition. Where there is something in more
    /// partitions than there are processes, they take turns.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        help_heading = "Processes"
    )]
    pub stream_processes: u16,
    /// Run tasks that are made for threads or are `async fn` in up to N group processes.
    ///
    /// A group starts when there is work for it and ends when it has had none for 10s.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Groups")]
    pub groups: NonZeroU16,
    /// Confine groups by this profile (default: that of --sandbox). Under it a process must run more
    /// than one job: it cannot be `strict`.
    #[arg(long, value_name = "PROFILE", help_heading = "Groups")]
    pub group_sandbox: Option<String>,
    /// Keep N groups also when they have nothing to do.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Groups")]
    pub group_floor: u16,
    /// Run up to T jobs at once on threads of each group.
    #[arg(long, value_name = "T", default_value = "8", help_heading = "Groups")]
    pub threads: NonZeroU16,
    /// Run up to M `async fn` jobs at once in each group.
    #[arg(long, value_name = "M", default_value = "100", help_heading = "Groups")]
    pub async_tasks: NonZeroU16,
    /// Give each thread of a group a stack of this size; it counts only as far as it is used.
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = stack,
        help_heading = "Groups")]
    pub thread_stack: Size,
    /// Start processes by fork from a prepared one, or each by fork and exec.
    #[arg(long, value_enum, default_value = "fork", help_heading = "Processes")]
    pub spawn: Spawn,
    /// Confine tasks by this profile unless their queue or they themselves have another: `none`
    /// (trusted, debugging), `process`, `strict` (nobody trusts them), or one of the configuration
    /// file.
    ///
    /// `supervisor sandbox explain PROFILE` says what it does here. Where the host cannot give what
    /// is asked for, nothing starts.
    #[arg(
        long,
        value_name = "PROFILE",
        default_value = "process",
        help_heading = "Processes"
    )]
    pub sandbox: String,
    /// Start also where the host cannot give all that profiles ask for: each verdict says what was
    /// missing.
    #[arg(long, help_heading = "Processes")]
    pub sandbox_best_effort: bool,
    /// Run tasks as: `auto` (a user of its own for each process, if that can be done), `keep`
    /// (the supervisor's user) or the NAME of a user.
    #[arg(long, value_name = "USER", value_parser = task_user, default_value = "auto",
        help_heading = "Processes")]
    pub task_user: TaskUser,
    /// Limit the memory of each process; `none` is no limit.
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "1GiB",
        help_heading = "Processes")]
    pub memory: Limit<u64>,
    /// Give tasks this environment variable; NAME alone copies the supervisor's. May be repeated.
    ///
    /// Tasks see PATH, LANG, LC_*, TZ and what is named here, nothing else.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Processes")]
    pub env: Vec<OsString>,
    /// Start tasks in this directory (default: the one the supervisor was started in).
    #[arg(long, value_name = "DIR", help_heading = "Processes")]
    pub cwd: Option<PathBuf>,

    /// Wait this long between SIGTERM and SIGKILL, unless the job or its task says otherwise.
    #[arg(long, value_name = "D", value_parser = duration, default_value = "1s",
        help_heading = "Times")]
    pub patience: Duration,
    /// Let running tasks finish for this long after the first TERM or INT.
    #[arg(long, value_name = "D", value_parser = duration, default_value = "30s",
        help_heading = "Times")]
    pub grace: Duration,
    /// Hold jobs for this long without a sign of life before others may take them; at least 1s.
    #[arg(long, value_name = "D", value_parser = lease, default_value = "30s",
        help_heading = "Times")]
    pub lease: Duration,
    /// End ready jobs whose task nobody has known for this long; `never` lets them wait.
    #[arg(long, value_name = "D", value_parser = unknown_after, default_value = "5s",
        help_heading = "Times")]
    pub unknown_after: Limit<Duration>,

    /// Keep the tasks' last output with their jobs, or write it to the log as well.
    #[arg(long, value_enum, default_value = "capture", help_heading = "Talk")]
    pub task_output: TaskOutput,
    /// Write the log for people or for programs.
    #[arg(long, value_enum, default_value = "pretty", help_heading = "Talk")]
    pub log_format: LogFormat,
    /// Leave out of the log what matters less than this.
    #[arg(long, value_enum, default_value = "info", help_heading = "Talk")]
    pub log_level: LogLevel,
}

/// How processes are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spawn {
    /// Forked from a prepared process: fast.
    Fork,
    /// Forked and exec'd: each with an address layout of its own.
    Exec,
    /// Forked and exec'd by `launcher`, beside the supervisor: for tasks in any language.
    Launch,
}

/// Whom tasks run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskUser {
    /// A user of its own for each process where that can be done, else the supervisor's.
    Auto,
    /// The supervisor's user.
    Keep,
    /// This user.
    Name(String),
}

/// What becomes of tasks' output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskOutput {
    /// Into the log too.
    Log,
    /// Kept with the job only.
    Capture,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What the log leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Everything.
    Off,
    /// What nobody has to act on.
    Error,
    /// What went as planned.
    Warn,
    /// Each transition.
    Info,
    /// The finest steps.
    Debug,
    /// Nothing.
    Trace,
}

/// A value, or none by the user's own word. An `Option` would mean "not typed" to clap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit<T> {
    /// This.
    At(T),
    /// None.
    None,
}

impl<T> Limit<T> {
    pub(crate) fn into_option(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::None => None,
        }
    }
}

fn task_user(text: &str) -> Result<TaskUser, String> {
    match text {
        "" => Err("a user needs a name (or use `auto` or `keep`)".into()),
        "auto" => Ok(TaskUser::Auto),
        "keep" => Ok(TaskUser::Keep),
        name => Ok(TaskUser::Name(name.into())),
    }
}

/// No process starts with less.
const LEAST_MEMORY: Size = Size(16 << 20);

/// What the runtime itself needs, and a little more.
const LEAST_STACK: Size = Size(64 << 10);

fn stack(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|e| format!("{e}"))?;
    if size < LEAST_STACK {
        return Err(format!("a thread needs at least {LEAST_STACK}"));
    }
    Ok(size)
}

fn memory(text: &str) -> Result<Limit<u64>, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let size: Size = text.parse().map_err(|e| format!("{e}, or `none`"))?;
    if size < LEAST_MEMORY {
        return Err(format!(
            "no process starts with less than {LEAST_MEMORY} (raise it, or use `none`)"
        ));
    }
    Ok(Limit::At(size.0))
}

/// Renewals come every third of it, and a third of a second is what a busy machine may need.
const LEAST_LEASE: Duration = Duration::from_secs(1);

fn lease(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(lease) if lease < LEAST_LEASE => Err("a lease takes at least `1s`".into()),
        Ok(lease) => Ok(lease),
        Err(error) => Err(error.to_string()),
    }
}

fn unknown_after(text: &str) -> Result<Limit<Duration>, String> {
    if text == "never" {
        return Ok(Limit::None);
    }
    duration(text)
        .map(Limit::At)
        .map_err(|e| format!("{e}, or `never`"))
}

/// Refuses options of `run` in front of `command`, where they would be ignored.
pub(crate) fn refuse_stray_run_options(
    matches: &clap::ArgMatches,
    command: &str,
) -> Result<(), clap::Error> {
    let run = RunArgs::augment_args(clap::Command::new("run"));
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let stray = run
        .get_arguments()
        .find(|argument| typed(argument.get_id().as_str()));
    match stray.and_then(clap::Arg::get_long) {
        None => Ok(()),
        Some(option) => Err(Cli::command().error(
            ErrorKind::ArgumentConflict,
            format!("--{option} belongs to `run`, not before `{command}` (leave it out, or write `supervisor run --{option} ...`)"),
        )),
    }
}
