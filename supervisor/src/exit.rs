//! What the exit code of every command means. Part of the contract: numbers never change.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what it was asked to.
    Done = 0,
    /// It did, and the task it waited for failed.
    TaskFailed = 1,
    /// It was asked for something that makes no sense.
    Usage = 2,
    /// What it was asked about is not known.
    NotFound = 3,
    /// The store does not answer or cannot be used.
    StoreAway = 4,
    /// It was refused: a known uuid, a full store, a job left alone as asked.
    Refused = 5,
    /// The job has not ended yet.
    NotEnded = 6,
    /// The supervisor was stopped and gave jobs back.
    Released = 7,
    /// `doctor` found nothing worse than a warning.
    FoundWarning = 8,
    /// `doctor` found an error.
    FoundError = 9,
    /// The supervisor could not do its work: no fault of the caller's or of a task's.
    Internal = 70,
    /// The wait was longer than allowed.
    WaitedTooLong = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table that every `--help` ends with.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  the task failed (submit --wait, result)
    2  wrong usage
    3  not found
    4  the store cannot be reached or used
    5  refused (known uuid or unique key, held lock, full store, left alone as asked)
    6  the job has not ended yet
    7  stopped, with jobs given back
    8  the worst finding is a warning (doctor)
    9  the worst finding is an error (doctor)
   70  internal error
  124  waited too long";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_exit_code() {
        for exit in [
            Exit::Done,
            Exit::TaskFailed,
            Exit::Usage,
            Exit::NotFound,
            Exit::StoreAway,
            Exit::Refused,
            Exit::NotEnded,
            Exit::Released,
            Exit::FoundWarning,
            Exit::FoundError,
            Exit::Internal,
            Exit::WaitedTooLong,
        ] {
            let code = format!("{:>5}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&code)), "{code}");
        }
    }
}
