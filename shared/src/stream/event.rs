//! One event of a partition, and how it is told apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fields;

/// Names an event within its partition; each one is greater than those before it. Written
/// `1700000000000-3`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct EventId {
    /// When it was stored, in milliseconds since 1970, unless its sender chose the id.
    pub ms: u64,
    /// Tells those of one millisecond apart.
    pub seq: u64,
}

/// Why a text is not an [`EventId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an event's id (write milliseconds since 1970, a dash and a number, such as `1700000000000-0`)"
)]
pub struct EventIdError {
    text: String,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let number = |part: &str| {
            let is_plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| is_plain)
        };
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        match (number(ms), number(seq)) {
            (Some(ms), Some(seq)) => Ok(Self { ms, seq }),
            _ => Err(EventIdError {
                text: text.chars().take(64).collect(),
            }),
        }
    }
}

/// Where an event lies in its partition. The default is before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// Counted from 1, without gaps; never given twice in a partition.
    pub position: u64,
    /// The event's id.
    pub id: EventId,
}

/// An event, as a processor is given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where it lies.
    pub place: Place,
    /// Its record: named fields in the order in which they were sent.
    pub fields: Fields,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EventId { ms: 17, seq: 3 };
        assert_eq!(id.to_string(), "17-3");
        assert_eq!("17-3".parse(), Ok(id));
        assert_eq!("17".parse(), Ok(EventId { ms: 17, seq: 0 }));
        for text in [
            "",
            "-",
            "17-",
            "-3",
            "a-3",
            "+1-3",
            "17-3-4",
            "18446744073709551616-0",
        ] {
            let error = text.parse::<EventId>().unwrap_err().to_string();
            assert!(error.contains("is not an event's id"), "{error}");
        }
    }
}
