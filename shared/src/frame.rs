//! The frames between a supervisor, its zygotes and its task processes.
//!
//! The rules: a struct never changes; new data is a new variant at the end of its enum. The
//! bytes are tested against golden files. How they are packed is the business of [`crate::codec`].

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::ask::{Ask, Reply};
use crate::isolation::Setup;
use crate::outcome::shorten;

/// Opens every pipe from a child and every zygote's socket: fixed bytes outside the codec.
pub const MAGIC: [u8; 4] = *b"BLKH";

/// The wire's major version: N and N-1 are served.
pub const MAJOR: u16 = 1;

/// The wire's minor version: for people to read, and for what older zygotes do not know.
pub const MINOR: u16 = 9;

/// The minor version from which on a zygote starts wardens.
pub const WARDENS: u16 = 8;

/// The minor version from which on a zygote can be told the group of its tasks.
pub const GIDS: u16 = 9;

/// Length of the hello in bytes.
pub const HELLO_LEN: usize = 8;

/// The hello this version sends: magic, major, minor (little endian).
#[must_use]
pub fn hello() -> [u8; HELLO_LEN] {
    let [a, b] = MAJOR.to_le_bytes();
    let [c, d] = MINOR.to_le_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    [m0, m1, m2, m3, a, b, c, d]
}

/// Why the first bytes of a child are not a hello.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Something else speaks there.
    #[error(
        "it is not a Bulkhead child: it did not say hello (call `bulkhead_child::run` first thing in `main`)"
    )]
    Foreign,
    /// A version this supervisor does not serve.
    #[error("it speaks protocol version {theirs}, this supervisor {ours} and {} (rebuild the child with a matching release)", ours - 1)]
    Version {
        /// The child's.
        theirs: u16,
        /// The newest served.
        ours: u16,
    },
}

/// Checks a hello; the minor version of who says it.
///
/// # Errors
/// [`HelloError`] says whether it is foreign or of another version.
pub fn check_hello(bytes: [u8; HELLO_LEN]) -> Result<u16, HelloError> {
    let [m0, m1, m2, m3, a, b, c, d] = bytes;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(HelloError::Foreign);
    }
    let theirs = u16::from_le_bytes([a, b]);
    if theirs == MAJOR || theirs + 1 == MAJOR {
        Ok(u16::from_le_bytes([c, d]))
    } else {
        Err(HelloError::Version {
            theirs,
            ours: MAJOR,
        })
    }
}

/// One job for a task process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Names this call: the answer repeats it.
    pub nonce: u64,
    /// The job.
    pub uuid: [u8; 16],
    /// The task.
    pub task: String,
    /// The queue it came from.
    pub queue: String,
    /// Counted from 1.
    pub attempt: u32,
    /// For the task's own fenced writes.
    pub fence: u64,
    /// Until SIGTERM, in milliseconds from now.
    pub timeout_ms: u64,
    /// RLIMIT_DATA for this job in bytes, if it is to be lowered.
    pub memory: Option<u64>,
    /// The message's header, JSON.
    pub header: ByteBuf,
    /// The message's payload.
    pub payload: ByteBuf,
}

/// What a task process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTask {
    /// Run this.
    Run(Run),
    /// Be a group from now on: several jobs at once. The first message of such a process.
    Group(Group),
    /// Ask this call to stop; its answer is awaited all the same.
    Stop {
        /// The call.
        nonce: u64,
    },
    /// The answer to an ask.
    Reply {
        /// The call.
        nonce: u64,
        /// Which ask of it.
        id: u32,
        /// What it is told.
        reply: Reply,
    },
    /// A secret that call `nonce` may know; comes before its `Run`.
    Secret {
        /// The call.
        nonce: u64,
        /// What it is asked for by.
        name: String,
        /// The secret.
        value: ByteBuf,
    },
    /// Call `nonce` is to run this command instead of a function; comes before its `Run`.
    Command {
        /// The call.
        nonce: u64,
        /// A [`crate::command::CommandSpec`] as JSON.
        spec: ByteBuf,
    },
    /// Resource limits that call `nonce` is to have from its start; comes before its `Run`, to a
    /// process that has run nothing and will run nothing else.
    Limits {
        /// The call.
        nonce: u64,
        /// Each lowers what there is: number as in `setrlimit`, soft, hard.
        limits: Vec<(u32, u64, u64)>,
    },
}

/// How a process runs several jobs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Jobs on threads at once.
    pub threads: u32,
    /// Stack of each thread, in bytes.
    pub stack: u64,
    /// A thread without a job ends after this, in milliseconds.
    pub idle_ms: u64,
}

/// What a reused process says a job consumed, or a warden its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedUsage {
    /// CPU time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// Peak resident memory since the job began, KiB; `None` where the kernel cannot tell.
    pub max_rss_kb: Option<u64>,
}

/// A task's failure as its process reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `panic`, `error`, `arguments`, `unknown-task`.
    pub name: String,
    /// The text.
    pub text: String,
    /// Where, if known.
    pub traceback: Option<String>,
    /// The same job would fail the same way.
    pub is_final: bool,
}

/// Longest name of a failure, in bytes.
pub const FAILURE_NAME_LIMIT: usize = 256;

/// Longest text and traceback of a failure, in bytes: they are stored with the verdict.
pub const FAILURE_TEXT_LIMIT: usize = 64 << 10;

impl Failure {
    /// The same, with what is over the limits cut off.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        shorten(&mut self.name, FAILURE_NAME_LIMIT);
        shorten(&mut self.text, FAILURE_TEXT_LIMIT);
        if let Some(traceback) = &mut self.traceback {
            shorten(traceback, FAILURE_TEXT_LIMIT);
        }
        self
    }
}

/// How a call ended, as its process reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The task returned these bytes.
    Returned(ByteBuf),
    /// It failed.
    Failed(Failure),
    /// It sleeps: the job is to be run again.
    Snoozed {
        /// At this time, in milliseconds since 1970.
        until_ms: u64,
        /// Or when this signal has come.
        signal: Option<String>,
    },
}

/// What a task can decline when a call of it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declined {
    /// Another attempt.
    Retry,
    /// Its callback.
    Callback,
}

/// What a task process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTask {
    /// It is sandboxed and waits for a job.
    Ready,
    /// Details for the status of call `nonce`: JSON.
    Progress {
        /// The call.
        nonce: u64,
        /// JSON, at most 64 KiB.
        details: ByteBuf,
    },
    /// Call `nonce` has ended.
    Done {
        /// The call.
        nonce: u64,
        /// How.
        answer: Answer,
        /// What it consumed, by its own account.
        usage: ReportedUsage,
    },
    /// The process cannot go on because an allocation failed; it ends by itself right after.
    AllocationFailed {
        /// The call.
        nonce: u64,
        /// Bytes that were asked for.
        bytes: u64,
    },
    /// The sandbox could not be set up; the process ends right after.
    SetupFailed {
        /// What was being done.
        step: String,
        /// Why it failed.
        errno: i32,
    },
    /// The task does not want what would follow the end of call `nonce`, which comes next.
    Declined {
        /// The call.
        nonce: u64,
        /// What it does not want.
        what: Declined,
    },
    /// Call `nonce` asks for something, and waits for [`ToTask::Reply`].
    Ask {
        /// The call.
        nonce: u64,
        /// Told apart by this.
        id: u32,
        /// For what.
        ask: Ask,
    },
    /// The process made a system call that its profile ends it for; it ends by itself right after.
    Forbidden {
        /// The call that it runs.
        nonce: u64,
        /// The system call's number on this processor.
        syscall: i32,
    },
    /// Call `nonce` has passed the events it was given, up to this one; its timeout begins anew.
    Passed {
        /// The call.
        nonce: u64,
        /// The position of the last one.
        position: u64,
    },
    /// Call `nonce` makes two of the events that it was given as one: those up to this one, and those
    /// behind it. A failure is one of the first part then.
    Parted {
        /// The call.
        nonce: u64,
        /// The position of the last event of the first part.
        position: u64,
    },
}

/// How a task that runs below an init of ours ended; written by the init, never by the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReport {
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// The code it ended with, if no signal did.
    pub code: i32,
}

/// What a zygote is told, over its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToZygote<'a> {
    /// What all its tasks have in common; the first message.
    Setup(Setup),
    /// Start a task process. Descriptors, in order: job pipe (read), result pipe (write), stdout,
    /// stderr, then the cgroup directory, or where the init reports, as the containment asks.
    #[serde(borrow)]
    Fork(Fork<'a>),
    /// End; the tasks started so far live on. (When the socket closes without it, they are killed.)
    Retire,
    /// Start a warden, an init that stays above one task process after the other, and the first of
    /// these, as a user that is not root. As `Fork`; where the init reports is a socket that keeps packets
    /// apart: there it says `Ended` for each task and hears `Fork` for the next, whose descriptors lack
    /// the report. It ends when that socket closes. For zygotes from [`WARDENS`] on.
    Warden(Fork<'a>),
    /// The group of all its tasks that change their user; else each has that of its user's number. Said
    /// before the first of them. For zygotes from [`GIDS`] on.
    Gid(u32),
}

/// One task process to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork<'a> {
    /// Echoed in the answer.
    pub generation: u64,
    /// The user it runs as, if it changes.
    pub uid: Option<u32>,
    /// Its private directory; `HOME` and `TMPDIR`.
    #[serde(borrow)]
    pub home: Option<&'a str>,
    /// RLIMIT_DATA in bytes, if limited: the most that any of its jobs may have.
    pub memory: Option<u64>,
    /// Jobs it may run; 0 is no limit.
    pub jobs: u32,
}

/// What a zygote says, over its socket, after its hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromZygote {
    /// A task it has: a [`crate::task::TaskSpec`] as JSON.
    Task(ByteBuf),
    /// All tasks are said and the setup is applied.
    Ready,
    /// The setup failed; it ends right after.
    Unfit {
        /// What was being done.
        step: String,
        /// Why it failed.
        errno: i32,
    },
    /// A process was started; its pidfd comes along.
    Forked {
        /// As asked.
        generation: u64,
        /// In the supervisor's pid namespace.
        pid: i32,
    },
    /// None was.
    ForkFailed {
        /// As asked.
        generation: u64,
        /// Why.
        errno: i32,
    },
    /// What a warden says: a task has ended, and all that it had started.
    Ended {
        /// As asked.
        generation: u64,
        /// How the task itself ended.
        report: InitReport,
        /// What all of them consumed.
        usage: ReportedUsage,
        /// What the warden's own end would count by now: itself, and all below it so far.
        whole: ReportedUsage,
    },
}

#[cfg(test)]
mod tests;
