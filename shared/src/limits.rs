//! Limits that a message sets for its own job, beside its memory: each counts where it is lower
//! than that of the job's profile.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{LONGEST, Size, UnitError, duration};

/// What one job may consume. The words and the meaning are those of profiles.
///
/// ```
/// use bulkhead_shared::limits::Limits;
/// let limits: Limits = "cpu-time=1m".parse().unwrap();
/// assert_eq!(limits.cpu_time_s, Some(60));
/// assert!("cpu-time=10ms".parse::<Limits>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Processes and threads at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// CPU time of each process, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time_s: Option<u64>,
    /// Bytes of one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// Open descriptors of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

/// Why there is no such limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No task can live with it.
    #[error(
        "`{name}` is {found}, and no task gets along with less than {least} (raise it, or leave it out)"
    )]
    TooLow {
        /// Which.
        name: &'static str,
        /// What was given.
        found: u64,
        /// What it must be at least.
        least: u64,
    },
    /// The kernel counts CPU time in seconds.
    #[error("`cpu-time` is counted in whole seconds (write at least `1s`)")]
    CpuTime,
    /// More CPU time than ten years.
    #[error("`cpu-time` is longer than ten years (check the unit)")]
    TooLong,
    /// Not a name and a value.
    #[error("`{text}` is no limit (write its name and its value, such as `cpu-time=10s`)")]
    Shape {
        /// What was given.
        text: String,
    },
    /// No limit has this name.
    #[error(
        "there is no limit `{name}` (there are `processes`, `cpu-time`, `file-size` and `open-files`; memory has an option of its own)"
    )]
    Unknown {
        /// What was given.
        name: String,
    },
    /// The value is not what this limit is counted in.
    #[error("`{name}`: {source}")]
    Unit {
        /// Which.
        name: &'static str,
        /// What is wrong with its value.
        source: UnitError,
    },
    /// The value is no number.
    #[error("`{name}` is `{text}` (write a whole number)")]
    Number {
        /// Which.
        name: &'static str,
        /// What was given.
        text: String,
    },
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self {
        processes: None,
        cpu_time_s: None,
        file_size: None,
        open_files: None,
    };

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// CPU time of each process.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        self.cpu_time_s.map(Duration::from_secs)
    }

    /// The limit of this name alone, from a value as people write it.
    ///
    /// # Errors
    /// [`LimitError`] names the limit and the way out.
    pub fn one(name: &str, value: &str) -> Result<Self, LimitError> {
        let number = |name| {
            let number = value.parse().map_err(|_| LimitError::Number {
                name,
                text: value.into(),
            });
            number.map(Some)
        };
        let unit = |name| move |source| LimitError::Unit { name, source };
        let mut limits = Self::NONE;
        match name {
            "processes" => limits.processes = number("processes")?,
            "open-files" => limits.open_files = number("open-files")?,
            "cpu-time" => {
                let time = duration(value).map_err(unit("cpu-time"))?;
                limits.cpu_time_s = Some(time.as_secs());
            }
            "file-size" => {
                let size: Size = value.parse().map_err(unit("file-size"))?;
                limits.file_size = Some(size.0);
            }
            name => return Err(LimitError::Unknown { name: name.into() }),
        }
        limits.check()?;
        Ok(limits)
    }

    /// These, and those of `others` that are not among them.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            processes: self.processes.or(others.processes),
            cpu_time_s: self.cpu_time_s.or(others.cpu_time_s),
            file_size: self.file_size.or(others.file_size),
            open_files: self.open_files.or(others.open_files),
        }
    }

    /// Those that are lower than `others`, where no limit is the highest: the rest changes nothing.
    #[must_use]
    pub fn below(self, others: Self) -> Self {
        let lower = |own: Option<u64>, other: Option<u64>| {
            own.filter(|own| other.is_none_or(|other| *own < other))
        };
        Self {
            processes: lower(self.processes, others.processes),
            cpu_time_s: lower(self.cpu_time_s, others.cpu_time_s),
            file_size: lower(self.file_size, others.file_size),
            open_files: lower(self.open_files, others.open_files),
        }
    }

    /// Refuses what no task could live with, and what nobody means.
    ///
    /// # Errors
    /// The first [`LimitError`].
    pub fn check(&self) -> Result<(), LimitError> {
        let least = [
            ("processes", self.processes, 2),
            ("file-size", self.file_size, 1),
            ("open-files", self.open_files, 16),
        ];
        for (name, found, least) in least {
            if let Some(found) = found.filter(|found| *found < least) {
                return Err(LimitError::TooLow { name, found, least });
            }
        }
        match self.cpu_time_s {
            Some(0) => Err(LimitError::CpuTime),
            Some(seconds) if seconds > LONGEST.as_secs() => Err(LimitError::TooLong),
            _ => Ok(()),
        }
    }
}

impl FromStr for Limits {
    type Err = LimitError;
    /// Reads one: `name=value`.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let parts = text.split_once('=');
        let (name, value) = parts.ok_or_else(|| LimitError::Shape { text: text.into() })?;
        Self::one(name.trim(), value.trim())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_limits() -> impl Strategy<Value = Limits> {
        let one = || prop::option::of(prop_oneof![0..40_u64, any::<u64>()]);
        (one(), one(), one(), one()).prop_map(|(processes, cpu_time_s, file_size, open_files)| {
            Limits {
                processes,
                cpu_time_s,
                file_size,
                open_files,
            }
        })
    }

    const fn each(limits: Limits) -> [Option<u64>; 4] {
        let Limits {
            processes,
            cpu_time_s,
            file_size,
            open_files,
        } = limits;
        [processes, cpu_time_s, file_size, open_files]
    }

    proptest! {
        #[test]
        fn what_is_lower_counts_and_nothing_is_loosened(
            asked in any_limits(), allowed in any_limits()
        ) {
            let lowered = asked.below(allowed);
            for ((asked, allowed), lowered) in
                each(asked).into_iter().zip(each(allowed)).zip(each(lowered))
            {
                let lowest = [asked, allowed].into_iter().flatten().min();
                prop_assert_eq!(lowered.or(allowed), lowest);
            }
            prop_assert!(allowed.below(allowed).is_empty());
        }

        #[test]
        fn any_limits_are_told_and_read_again(limits in any_limits()) {
            let json = serde_json::to_string(&limits).unwrap();
            prop_assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
            let is_sound = each(limits).into_iter().flatten().all(|one| one >= 16)
                && limits.cpu_time_s.is_none_or(|seconds| seconds <= LONGEST.as_secs());
            prop_assert!(!is_sound || limits.check().is_ok());
        }
    }

    #[test]
    fn each_limit_is_read_by_the_name_that_profiles_give_it() {
        let all = [
            "processes=4",
            "cpu-time=1m30s",
            "file-size=2KiB",
            "open-files= 64",
        ];
        let read = all.map(|text| text.parse::<Limits>().unwrap());
        let together = read.into_iter().fold(Limits::NONE, Limits::or);
        assert_eq!(each(together), [Some(4), Some(90), Some(2048), Some(64)]);
        let twice = read[0].or("processes=9".parse().unwrap());
        assert_eq!(twice.processes, Some(4));
    }

    #[test]
    fn what_no_task_could_live_with_is_refused_with_a_way_out() {
        for (text, word) in [
            ("processes=1", "less than 2"),
            ("processes=many", "whole number"),
            ("open-files=0", "less than 16"),
            ("file-size=0", "less than 1"),
            ("file-size=big", "`64KiB`"),
            ("cpu-time=999ms", "at least `1s`"),
            ("cpu-time=9999999d", "ten years"),
            ("cpu-time=5", "`30s`"),
            ("cpu-time", "`cpu-time=10s`"),
            ("memory=1GiB", "option of its own"),
        ] {
            let error = text.parse::<Limits>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = Limits {
            cpu_time_s: Some(u64::MAX),
            ..Limits::NONE
        };
        assert_eq!(long.check(), Err(LimitError::TooLong));
    }
}
