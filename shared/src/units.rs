//! Lengths of time and sizes as people write them: `250ms`, `30s`, `5m`, `2h`; `64KiB`, `1GiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest duration taken anywhere: longer ones are typing errors. About ten years.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Why a text is not a length of time or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Not a length of time.
    #[error(
        "`{text}` is not a duration (write a number and a unit: `250ms`, `30s`, `5m`, `2h`, `7d`)"
    )]
    Duration {
        /// What was given.
        text: String,
    },
    /// More than [`LONGEST`].
    #[error("duration `{text}` is longer than ten years (check the unit)")]
    TooLong {
        /// What was given.
        text: String,
    },
    /// Not a size.
    #[error(
        "`{text}` is not a size (write a number and a unit: `4096`, `64KiB`, `512MiB`, `1GiB`)"
    )]
    Size {
        /// What was given.
        text: String,
    },
}

/// Reads a duration: one or more numbers with units, such as `1h30m` or `1.5s`.
///
/// # Errors
/// [`UnitError`] quotes the text and shows examples.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(bulkhead_shared::units::duration("250ms").unwrap(), Duration::from_millis(250));
/// assert!(bulkhead_shared::units::duration("-1s").is_err());
/// ```
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86400.0),
    ];
    let wrong = || UnitError::Duration { text: text.into() };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or_else(wrong)?;
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, scale) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        seconds += number * scale;
        rest = tail;
    }
    let too_long = || UnitError::TooLong { text: text.into() };
    match Duration::try_from_secs_f64(seconds) {
        _ if text.trim().is_empty() => Err(wrong()),
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(too_long()),
    }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    number.parse().ok().map(|number| (number, rest))
}

/// A duration as it is written: the largest unit that loses nothing.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = crate::time::millis(duration);
    match millis {
        0 => "0s".into(),
        m if m % 86_400_000 == 0 => format!("{}d", m / 86_400_000),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1000 == 0 => format!("{}s", m / 1000),
        m => format!("{m}ms"),
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Size { text: text.into() };
        let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
        let scale: u64 = match unit {
            "" | "B" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            "T" | "TiB" => 1 << 40,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        #[expect(clippy::cast_precision_loss, reason = "a unit is a small power")]
        let bytes = number * scale as f64;
        if !(bytes.is_finite() && (0.0..9e18).contains(&bytes)) {
            return Err(wrong());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "range checked"
        )]
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= scale {
                let tenths = self.0 * 10 / scale;
                return match tenths % 10 {
                    0 => write!(f, "{}{unit}", tenths / 10),
                    part => write!(f, "{}.{part}{unit}", tenths / 10),
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Durations as text in JSON, with serde's `with`.
pub mod duration_text {
    use super::{Duration, duration, show_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the duration as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&show_duration(*value))
    }

    /// Reads a duration from text.
    ///
    /// # Errors
    /// Text that is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!("1GiB".parse(), Ok(Size(1 << 30)));
        assert_eq!("1.5KiB".parse(), Ok(Size(1536)));
    }

    #[test]
    fn absurd_durations_and_sizes_are_refused() {
        for text in ["", "5", "s", "-1s", "1 s", "1y", "nan s", "."] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(matches!(
            duration("999999999d"),
            Err(UnitError::TooLong { .. })
        ));
        for text in ["", "GiB", "-1", "1XiB", "1e99"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }
}
