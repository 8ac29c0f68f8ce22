//! How long a failed job waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A rule that turns the number of a job's incidents into a wait.
///
/// The default is exponential: base 4, factor 10 s, at least 60 s, at most 1 h, nothing before
/// the first incident.
///
/// ```
/// use bulkhead_shared::backoff::Backoff;
/// use std::time::Duration;
/// let backoff = Backoff::default();
/// assert_eq!(backoff.wait(0), Duration::ZERO);
/// assert_eq!(backoff.wait(1), Duration::from_secs(60));
/// assert_eq!(backoff.wait(2), Duration::from_secs(160));
/// assert_eq!(backoff.wait(9), Duration::from_secs(3600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The formula.
    pub algorithm: Algorithm,
    /// Shortest wait, in milliseconds; none if absent.
    #[serde(default)]
    pub floor_ms: Option<u64>,
    /// Longest wait, in milliseconds; none if absent.
    #[serde(default)]
    pub ceiling_ms: Option<u64>,
    /// No wait at zero incidents, whatever the floor.
    #[serde(default)]
    pub zero_override: bool,
}

/// The formulas a [`Backoff`] knows; `i` is the number of incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Algorithm {
    /// Always the same.
    Constant {
        /// The wait, in milliseconds.
        constant_ms: u64,
    },
    /// `factor * i`.
    Linear {
        /// What is multiplied, in milliseconds.
        factor_ms: u64,
    },
    /// `factor * base^i`.
    Exponential {
        /// What is raised.
        base: u32,
        /// What is multiplied, in milliseconds.
        factor_ms: u64,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Algorithm::Exponential {
            base: 4,
            factor_ms: 10_000,
        })
    }
}

impl Backoff {
    /// `algorithm` between the usual floor of 60 s and ceiling of 1 h.
    #[must_use]
    pub const fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            floor_ms: Some(60_000),
            ceiling_ms: Some(3_600_000),
            zero_override: true,
        }
    }

    /// Always exactly `wait`, without floor or ceiling.
    #[must_use]
    pub fn constant(wait: Duration) -> Self {
        let constant_ms = crate::time::millis(wait);
        Self {
            algorithm: Algorithm::Constant { constant_ms },
            floor_ms: None,
            ceiling_ms: None,
            zero_override: true,
        }
    }

    /// The wait after `incidents` incidents, without jitter.
    #[must_use]
    pub fn wait(&self, incidents: u32) -> Duration {
        if self.zero_override && incidents == 0 {
            return Duration::ZERO;
        }
        let wait = match self.algorithm {
            Algorithm::Constant { constant_ms } => constant_ms,
            Algorithm::Linear { factor_ms } => factor_ms.saturating_mul(u64::from(incidents)),
            Algorithm::Exponential { base, factor_ms } => {
                factor_ms.saturating_mul(u64::from(base).saturating_pow(incidents))
            }
        };
        let wait = wait
            .max(self.floor_ms.unwrap_or(0))
            .min(self.ceiling_ms.unwrap_or(u64::MAX));
        Duration::from_millis(wait).min(crate::units::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn bare(algorithm: Algorithm) -> Backoff {
        Backoff {
            algorithm,
            floor_ms: None,
            ceiling_ms: None,
            zero_override: false,
        }
    }

    fn waits(backoff: Backoff) -> [u128; 4] {
        [0, 1, 2, 3].map(|incidents| backoff.wait(incidents).as_millis())
    }

    const LINEAR: Algorithm = Algorithm::Linear { factor_ms: 30 };

    #[test]
    fn each_algorithm_follows_its_formula() {
        let constant = Algorithm::Constant { constant_ms: 7 };
        let exponential = Algorithm::Exponential {
            base: 4,
            factor_ms: 10,
        };
        assert_eq!(waits(bare(constant)), [7, 7, 7, 7]);
        assert_eq!(waits(bare(LINEAR)), [0, 30, 60, 90]);
        assert_eq!(waits(bare(exponential)), [10, 40, 160, 640]);
    }

    #[test]
    fn floor_and_ceiling_hold_also_at_zero_unless_that_is_to_be_no_wait() {
        let bounded = Backoff {
            floor_ms: Some(40),
            ceiling_ms: Some(80),
            ..bare(LINEAR)
        };
        assert_eq!(waits(bounded), [40, 40, 60, 80]);
        let at_once = Backoff {
            zero_override: true,
            ..bounded
        };
        assert_eq!(waits(at_once), [0, 40, 60, 80]);
    }

    #[test]
    fn a_backoff_survives_json() {
        for backoff in [Backoff::default(), bare(LINEAR)] {
            let json = serde_json::to_string(&backoff).unwrap();
            assert_eq!(serde_json::from_str::<Backoff>(&json).unwrap(), backoff);
        }
    }
}
