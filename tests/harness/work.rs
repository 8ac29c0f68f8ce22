//! Jobs of all kinds for `chaos-child`, and what each must come to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_shared::backoff::{Algorithm, Backoff};
use bulkhead_shared::policy::Retries;
use bulkhead_shared::retry::CRASH_BUDGET;
use bulkhead_shared::{Message, Uuid};

/// Between the attempts of a job that is tried again.
const BACKOFF: Backoff = Backoff {
    algorithm: Algorithm::Constant { constant_ms: 20 },
    floor_ms: None,
    ceiling_ms: None,
    zero_override: false,
};

/// Deadline of tasks that hang: short for them, long enough to write a line on a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);

/// From SIGTERM to SIGKILL: they do not listen.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Returns.
    Give,
    /// Takes a moment.
    Nap {
        /// How long.
        ms: u64,
    },
    /// Fails each time.
    Fail {
        /// How often it is tried again.
        retries: u32,
    },
    /// Fails twice, then returns.
    Recover,
    /// Dies of a signal each time.
    Crash {
        /// How often it is tried again.
        retries: u32,
    },
    /// Runs past its deadline, twice.
    Hang,
    /// Leaves a process behind.
    Escape,
    /// Returns when its gate is open.
    Hold {
        /// The gate's number.
        gate: usize,
    },
    /// Both.
    EscapeAndHold {
        /// The gate's number.
        gate: usize,
    },
}

/// How a job must end, if it is not lost too often, and how often its tries must be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The cause of its end; `None` if it is to succeed.
    pub cause: Option<&'static str>,
    /// Attempts that failed; `None` if it depends on how often it was lost.
    pub errors: Option<u32>,
    /// Attempts that crashed.
    pub crashes: u32,
}

impl Kind {
    /// The kind of the `n`-th job of a crowd.
    #[must_use]
    pub fn nth(n: usize) -> Self {
        match n % 200 {
            7 => Self::Hang,
            r if r % 10 == 1 => Self::Fail {
                retries: u32::from(r % 20 == 1) * 2,
            },
            r if r % 20 == 3 => Self::Recover,
            r if r % 20 == 5 => Self::Crash {
                retries: u32::from(r % 40 == 5) * 5,
            },
            r if r % 25 == 9 => Self::Escape,
            r if r % 4 == 2 => Self::Nap {
                ms: 5 + u64::try_from(r).unwrap() % 40,
            },
            _ => Self::Give,
        }
    }

    /// What such a job must come to.
    #[must_use]
    pub const fn fate(self) -> Fate {
        let (cause, errors, crashes) = match self {
            Self::Fail { retries } => (Some("error"), Some(retries + 1), 0),
            Self::Hang => (Some("timeout"), Some(2), 0),
            Self::Crash { retries } => {
                let most = if retries < CRASH_BUDGET {
                    retries
                } else {
                    CRASH_BUDGET
                };
                (Some("crash"), Some(0), most + 1)
            }
            Self::Recover => (None, None, 0),
            _ => (None, Some(0), 0),
        };
        Fate {
            cause,
            errors,
            crashes,
        }
    }
}

/// A job that was submitted.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its uuid.
    pub uuid: Uuid,
    /// What it does.
    pub kind: Kind,
}

/// Where the gate with this number is to stand.
#[must_use]
pub fn gate(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("gate-{number}"))
}

/// The message of a job whose attempts write to `lines`, and under their fence to the record
/// `place` of the register beside it, if there is one.
#[must_use]
pub fn message(kind: Kind, lines: &Path, place: Option<u64>) -> Message {
    let task = match kind {
        Kind::Give => "give",
        Kind::Nap { .. } => "nap",
        Kind::Fail { .. } => "fail",
        Kind::Recover => "recover",
        Kind::Crash { .. } => "crash",
        Kind::Hang => "hang",
        Kind::Escape | Kind::EscapeAndHold { .. } => "escape",
        Kind::Hold { .. } => "hold",
    };
    let target = (lines, place);
    let message = Message::new(task).arg(target).backoff(BACKOFF);
    let directory = lines.parent().expect("it lies in the test's directory");
    let message = match kind {
        Kind::Give | Kind::Escape => message,
        Kind::Nap { ms } => message.arg(ms),
        Kind::Fail { retries } | Kind::Crash { retries } => {
            message.max_retries(Retries::Times(retries))
        }
        Kind::Recover => message.arg(2).max_retries(Retries::Times(2)),
        Kind::Hang => message
            .timeout(DEADLINE)
            .patience(PATIENCE)
            .max_retries(Retries::Times(1)),
        Kind::Hold { gate: number } | Kind::EscapeAndHold { gate: number } => {
            message.arg(gate(directory, number))
        }
    };
    message.build().unwrap()
}
