//! Who holds locks, in the form stores keep.

use std::sync::OnceLock;

use uuid::Uuid;

use crate::name::{LockOwner, NameError};

/// Begins owners that are jobs, and attempts at them. Their locks fall when they end.
const JOB: &str = "job:";
const ATTEMPT: &str = "task:";

/// Whose a lock is: who else may release it, and finds it taken already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Everything on this host.
    Host,
    /// This process.
    #[default]
    Process,
    /// This thread.
    Thread,
    /// One attempt at a job. The lock falls with it.
    Task {
        /// The job.
        job: Uuid,
        /// The job's fence during the attempt.
        fence: u64,
    },
}

/// How an owner's locks depend on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// They end with this attempt.
    Attempt {
        /// The job.
        job: Uuid,
        /// Its fence during the attempt.
        fence: u64,
    },
    /// They end with this job.
    Job(Uuid),
}

impl Level {
    /// The owner that the caller is on this level.
    ///
    /// # Errors
    /// [`NameError`] if the host's name has characters that no name may have.
    pub fn owner(self) -> Result<LockOwner, NameError> {
        let text = match self {
            Self::Host => format!("host:{}", host()),
            Self::Process => process(),
            Self::Thread => format!("{}/{}", process(), nix::unistd::gettid()),
            Self::Task { job, fence } => format!("{ATTEMPT}{job}/{fence}"),
        };
        LockOwner::new(&text)
    }
}

impl Tenure {
    /// What `owner` depends on, if it is a job or an attempt.
    #[must_use]
    pub fn of(owner: &LockOwner) -> Option<Self> {
        let text = owner.as_str();
        if let Some(job) = text.strip_prefix(JOB) {
            return Uuid::try_parse(job).ok().map(Self::Job);
        }
        let (job, fence) = text.strip_prefix(ATTEMPT)?.split_once('/')?;
        Some(Self::Attempt {
            job: Uuid::try_parse(job).ok()?,
            fence: fence.parse().ok()?,
        })
    }

    /// The owner that stands for it.
    #[must_use]
    pub fn owner(self) -> LockOwner {
        let text = match self {
            Self::Job(job) => format!("{JOB}{job}"),
            Self::Attempt { job, fence } => format!("{ATTEMPT}{job}/{fence}"),
        };
        LockOwner::new(&text).expect("hexadecimal digits, `-`, `:` and `/` may be in a name")
    }

    /// The job.
    #[must_use]
    pub const fn job(self) -> Uuid {
        match self {
            Self::Job(job) | Self::Attempt { job, .. } => job,
        }
    }
}

/// The host's name, as far as names may have its characters.
fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    if name.is_empty() {
        "localhost".into()
    } else {
        name
    }
}

/// This process. A number of its own keeps it apart from a later one with the same pid.
fn process() -> String {
    static TOKEN: OnceLock<(u32, u32)> = OnceLock::new();
    let pid = std::process::id();
    let (made_in, token) = *TOKEN.get_or_init(|| (pid, Uuid::new_v4().as_fields().0));
    // A fork of the one that made the token is another process.
    let fork = if made_in == pid { "" } else { "+" };
    format!("process:{}/{pid}{fork}/{token:08x}", host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_apart_and_a_thread_is_not_its_neighbour() {
        let job = Uuid::now_v7();
        let levels = [
            Level::Host,
            Level::Process,
            Level::Thread,
            Level::Task { job, fence: 3 },
        ];
        let owners = levels.map(|level| level.owner().unwrap());
        for (index, owner) in owners.iter().enumerate() {
            assert_eq!(owners.iter().position(|other| other == owner), Some(index));
        }
        let other = std::thread::spawn(|| Level::Thread.owner().unwrap());
        assert_ne!(other.join().unwrap(), owners[2]);
        let same = std::thread::spawn(|| Level::Process.owner().unwrap());
        assert_eq!(same.join().unwrap(), owners[1]);
    }

    #[test]
    fn the_owners_that_jobs_are_can_be_read_back() {
        let job = Uuid::now_v7();
        for tenure in [Tenure::Job(job), Tenure::Attempt { job, fence: 7 }] {
            assert_eq!(Tenure::of(&tenure.owner()), Some(tenure));
        }
        let as_level = Level::Task { job, fence: 7 }.owner().unwrap();
        assert_eq!(
            Tenure::of(&as_level),
            Some(Tenure::Attempt { job, fence: 7 })
        );
        assert_eq!(Tenure::of(&Level::Host.owner().unwrap()), None);
    }
}
