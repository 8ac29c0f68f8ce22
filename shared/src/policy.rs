//! The rules one job runs under: the message's word, else its task's, else the supervisor's.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::backoff::Backoff;
use crate::limits::Limits;
use crate::message::Header;
use crate::task::TaskSpec;

/// How often a job may run again after its own failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// At most this often.
    Times(u32),
    /// Without end.
    Unlimited,
}

impl Retries {
    /// Whether another attempt is allowed after `used` retries.
    #[must_use]
    pub const fn allows(self, used: u32) -> bool {
        match self {
            Self::Times(most) => used < most,
            Self::Unlimited => true,
        }
    }

    /// The smaller of this budget and `most`.
    #[must_use]
    pub fn at_most(self, most: u32) -> u32 {
        match self {
            Self::Times(times) => times.min(most),
            Self::Unlimited => most,
        }
    }
}

/// How [`Retries::Unlimited`] is written in JSON: `null` would be taken for nothing said.
const UNLIMITED: &str = "unlimited";

impl Serialize for Retries {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(times) => s.serialize_u32(*times),
            Self::Unlimited => s.serialize_str(UNLIMITED),
        }
    }
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(RetriesVisitor)
    }
}

struct RetriesVisitor;

impl serde::de::Visitor<'_> for RetriesVisitor {
    type Value = Retries;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a number of retries or \"{UNLIMITED}\"")
    }

    fn visit_u64<E: serde::de::Error>(self, times: u64) -> Result<Retries, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Unsigned(times), &self);
        u32::try_from(times).map(Retries::Times).map_err(wrong)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Retries, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
        if text == UNLIMITED {
            Ok(Retries::Unlimited)
        } else {
            Err(wrong())
        }
    }
}

/// How long the end of a job is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The result for this long, in milliseconds; zero keeps no result. The verdict stays at
    /// least [`VERDICT_KEPT`].
    For {
        /// Milliseconds.
        ms: u64,
    },
    /// Until it is removed.
    Forever,
}

/// A uuid, its verdict and usage are remembered at least this long after the end.
pub const VERDICT_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

const USUAL_KEEP: Keep = Keep::For {
    ms: VERDICT_KEPT.as_secs() * 1000,
};

/// What a supervisor assumes where neither message nor task says anything.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Longest run of one attempt.
    pub timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub patience: Duration,
    /// Memory of a task process, in bytes; `None` for no limit.
    pub memory: Option<u64>,
    /// The sandbox profile.
    pub profile: String,
}

/// The rules of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Longest run of one attempt.
    pub timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub patience: Duration,
    /// Attempts after the first.
    pub max_retries: Retries,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// How long the end is kept.
    pub result_ttl: Keep,
    /// Memory of the process, in bytes; `None` for no limit.
    pub memory: Option<u64>,
    /// What the job may consume besides: the message's word. Whoever knows the profile keeps of it
    /// what is lower.
    pub limits: Limits,
    /// The sandbox profile.
    pub profile: String,
}

/// Retries of a task that says nothing: three, as in the reference.
pub const DEFAULT_RETRIES: Retries = Retries::Times(3);

impl Policy {
    /// Resolves what `header` and `spec` leave open. `spec` is absent for a task nobody knows.
    #[must_use]
    pub fn resolve(header: &Header, spec: Option<&TaskSpec>, defaults: &Defaults) -> Self {
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        let of_spec = |f: fn(&TaskSpec) -> Option<u64>| spec.and_then(f);
        let profile = header
            .profile
            .clone()
            .or_else(|| spec.and_then(|s| s.profile.clone()));
        Self {
            timeout: ms(header.timeout_ms.or_else(|| of_spec(|s| s.timeout_ms)))
                .unwrap_or(defaults.timeout),
            patience: ms(header.patience_ms.or_else(|| of_spec(|s| s.patience_ms)))
                .unwrap_or(defaults.patience),
            max_retries: header
                .max_retries
                .or_else(|| spec.and_then(|s| s.max_retries))
                .unwrap_or(DEFAULT_RETRIES),
            backoff: header
                .backoff
                .or_else(|| spec.and_then(|s| s.backoff))
                .unwrap_or_default(),
            result_ttl: header
                .result_ttl
                .or_else(|| spec.and_then(|s| s.result_ttl))
                .unwrap_or(USUAL_KEEP),
            memory: header
                .memory
                .or_else(|| of_spec(|s| s.memory))
                .or(defaults.memory),
            limits: header.limits,
            profile: profile.unwrap_or_else(|| defaults.profile.clone()),
        }
    }
}
