//! What a stream is, and what its processor asks for.

use serde::{Deserialize, Serialize};

use crate::name::StreamName;

/// Partitions of a stream, unless it says otherwise.
pub const DEFAULT_PARTITIONS: u16 = 16;

/// Partitions that a stream may have.
pub const PARTITIONS_MOST: u16 = 1_024;

/// Events that a partition keeps, about, unless its stream says otherwise.
pub const DEFAULT_SIZE: u64 = 50_000;

/// Events that a partition may keep.
pub const SIZE_MOST: u64 = 100_000_000;

/// Events read ahead for one partition, unless its processor says otherwise.
pub const DEFAULT_PREFETCH: u32 = 8;

/// Events that may be read ahead for one partition.
pub const PREFETCH_MOST: u32 = 10_000;

/// Largest record, names and values of its fields together, in bytes.
pub const RECORD_LIMIT: usize = 1 << 20;

/// Fields that a record may have.
pub const FIELDS_MOST: usize = 256;

/// What happens to a record for which its partition has no room: none of those that it keeps have
/// been passed by all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Full {
    /// The sender waits.
    #[default]
    Block,
    /// The sender is told at once.
    Error,
    /// The oldest events go, also those that a processor has not seen.
    DropOldest,
}

impl Full {
    /// The name it is written and stored under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Error => "error",
            Self::DropOldest => "drop-oldest",
        }
    }

    /// What is called so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Block, Self::Error, Self::DropOldest];
        all.into_iter().find(|one| one.as_str() == name)
    }
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// Unique within a namespace.
    pub name: StreamName,
    /// How many partitions it has; never changed.
    pub partitions: u16,
    /// How many events each keeps, about.
    pub size: u64,
    /// What happens when a partition is full.
    #[serde(default)]
    pub full: Full,
}

/// Why a stream or a processor cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of}: {what} is {given} (it can be {least} to {most})")]
pub struct SpecError {
    of: String,
    what: &'static str,
    given: u64,
    least: u64,
    most: u64,
}

impl StreamSpec {
    /// A stream with the usual numbers.
    #[must_use]
    pub const fn new(name: StreamName) -> Self {
        Self {
            name,
            partitions: DEFAULT_PARTITIONS,
            size: DEFAULT_SIZE,
            full: Full::Block,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`SpecError`] names the number and its range.
    pub fn check(&self) -> Result<(), SpecError> {
        let of = || format!("stream `{}`", self.name);
        within(
            of,
            "partition_count",
            self.partitions.into(),
            1,
            PARTITIONS_MOST.into(),
        )?;
        within(of, "partition_size", self.size, 1, SIZE_MOST)
    }
}

fn within(
    of: impl Fn() -> String,
    what: &'static str,
    given: u64,
    least: u64,
    most: u64,
) -> Result<(), SpecError> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(SpecError {
            of: of(),
            what,
            given,
            least,
            most,
        }),
    }
}

/// What becomes of an event that a processor fails at: by an error, a panic, a crash, a timeout,
/// its memory, a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionPolicy {
    /// The partition rests until another supervisor holds it, or somebody releases it.
    #[default]
    Halt,
    /// The partition rests until somebody releases it.
    Quarantine,
    /// The event is passed.
    Ignore,
    /// The event is given again, as often and as late as the processor's `max_retries` and `backoff`
    /// say; then the last resort.
    Retry {
        /// What follows the last try.
        then: LastResort,
    },
    /// The event is put away, and passed.
    DeadLetter,
}

/// What follows the last try at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastResort {
    /// As [`ExceptionPolicy::Halt`].
    Halt,
    /// As [`ExceptionPolicy::Quarantine`].
    #[default]
    Quarantine,
    /// As [`ExceptionPolicy::Ignore`].
    Ignore,
    /// As [`ExceptionPolicy::DeadLetter`].
    DeadLetter,
}

/// What a child says about a processor, beside what it says of every task. The task's timeout is
/// that of one event, its retries and backoff are those of [`ExceptionPolicy::Retry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorSpec {
    /// Whose events it passes; it is made if it is not there.
    pub stream: StreamSpec,
    /// What becomes of an event it fails at.
    #[serde(default)]
    pub exception_policy: ExceptionPolicy,
    /// How many events are read ahead for each partition.
    #[serde(default)]
    pub prefetch: Option<u32>,
    /// How long a partition is held without a sign of life from its supervisor, in milliseconds.
    #[serde(default)]
    pub lock_expiry_ms: Option<u64>,
    /// How long it may go on with the event in hand when its partition is to be given away, or its
    /// supervisor drains, in milliseconds.
    #[serde(default)]
    pub grace_period_ms: Option<u64>,
    /// How long a supervisor that has just come waits before it takes partitions, in milliseconds.
    #[serde(default)]
    pub join_delay_ms: Option<u64>,
}

impl ProcessorSpec {
    /// A processor with the usual numbers.
    #[must_use]
    pub const fn new(stream: StreamSpec) -> Self {
        Self {
            stream,
            exception_policy: ExceptionPolicy::Halt,
            prefetch: None,
            lock_expiry_ms: None,
            grace_period_ms: None,
            join_delay_ms: None,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`SpecError`] names the number and its range.
    pub fn check(&self) -> Result<(), SpecError> {
        self.stream.check()?;
        let of = || format!("a processor of stream `{}`", self.stream.name);
        let prefetch = self.prefetch.unwrap_or(DEFAULT_PREFETCH);
        within(
            of,
            "prefetch_count",
            prefetch.into(),
            1,
            PREFETCH_MOST.into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_named() {
        let mut spec = ProcessorSpec::new(StreamSpec::new(StreamName::new("orders").unwrap()));
        assert_eq!(spec.check(), Ok(()));
        spec.prefetch = Some(0);
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains("prefetch_count is 0"), "{error}");
        spec.stream.partitions = PARTITIONS_MOST + 1;
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains("partition_count is 1025"), "{error}");
        spec.stream.partitions = 1;
        spec.stream.size = 0;
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains("stream `orders`: partition_size"), "{error}");
    }

    #[test]
    fn what_happens_when_it_is_full_has_one_name() {
        for full in [Full::Block, Full::Error, Full::DropOldest] {
            assert_eq!(Full::from_name(full.as_str()), Some(full));
            let json = serde_json::to_value(full).unwrap();
            assert_eq!(json, full.as_str());
        }
        assert_eq!(Full::from_name("wait"), None);
    }

    #[test]
    fn a_policy_is_written_as_people_write_it() {
        let json = |policy: ExceptionPolicy| serde_json::to_string(&policy).unwrap();
        assert_eq!(json(ExceptionPolicy::DeadLetter), r#""dead-letter""#);
        let retry = ExceptionPolicy::Retry {
            then: LastResort::DeadLetter,
        };
        assert_eq!(json(retry), r#"{"retry":{"then":"dead-letter"}}"#);
    }
}
