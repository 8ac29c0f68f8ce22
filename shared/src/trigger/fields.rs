//! The fields of a cron expression: sets of small numbers, with names.

use super::TriggerError;

/// One field of an expression and what it allows.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    first: u8,
    last: u8,
    names: &'static [&'static str],
    allowed: &'static str,
    example: &'static str,
}

const SECOND: Kind = Kind {
    name: "second",
    first: 0,
    last: 59,
    names: &[],
    allowed: "0-59",
    example: "`0`, `*/10` or `0,30`",
};
const MINUTE: Kind = Kind {
    name: "minute",
    ..SECOND
};
const HOUR: Kind = Kind {
    name: "hour",
    last: 23,
    allowed: "0-23",
    example: "`3`, `*/2` or `8-18`",
    ..SECOND
};
const DAY: Kind = Kind {
    name: "day of month",
    first: 1,
    last: 31,
    allowed: "1-31",
    example: "`1`, `*` or `1,15`",
    ..SECOND
};
const MONTH: Kind = Kind {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    allowed: "1-12 or jan-dec",
    example: "`*`, `jan` or `6-8`",
};
const WEEKDAY: Kind = Kind {
    name: "day of week",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    allowed: "0-7 or sun-sat, where 0 and 7 are Sunday",
    example: "`*`, `mon-fri` or `0`",
};

/// A field: the numbers in it, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) bits: u64,
    /// It begins with `*`: whoever wrote it meant all of them, or each so many.
    pub(super) is_open: bool,
}

impl Field {
    pub(super) const fn has(self, value: u8) -> bool {
        self.bits >> value & 1 == 1
    }

    /// The first number in it from `from` on.
    pub(super) fn next(self, from: u8) -> Option<u8> {
        let rest = self.bits.checked_shr(from.into()).unwrap_or(0);
        let ahead = u8::try_from(rest.trailing_zeros()).ok()?;
        (rest != 0).then(|| from + ahead)
    }

    /// The numbers in it.
    pub(super) fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |value| self.has(*value))
    }
}

/// The six fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) second: Field,
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day: Field,
    pub(super) month: Field,
    /// Bit 0 is Sunday; bit 7 is not set.
    pub(super) weekday: Field,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Self, TriggerError> {
        let text = match nickname(text.trim())? {
            Some(meant) => meant,
            None => text.trim(),
        };
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, rest) = match parts.len() {
            5 => ("0", &parts[..]),
            6 => (parts[0], &parts[1..]),
            count => {
                let text = text.chars().take(100).collect();
                return Err(TriggerError::Fields { text, count });
            }
        };
        let mut weekday = parse(&WEEKDAY, rest[4])?;
        if weekday.has(7) {
            weekday.bits = weekday.bits & !(1 << 7) | 1;
        }
        Ok(Self {
            second: parse(&SECOND, second)?,
            minute: parse(&MINUTE, rest[0])?,
            hour: parse(&HOUR, rest[1])?,
            day: parse(&DAY, rest[2])?,
            month: parse(&MONTH, rest[3])?,
            weekday,
        })
    }
}

fn nickname(text: &str) -> Result<Option<&'static str>, TriggerError> {
    if !text.starts_with('@') {
        return Ok(None);
    }
    match text.to_ascii_lowercase().as_str() {
        "@hourly" => Ok(Some("0 * * * *")),
        "@daily" | "@midnight" => Ok(Some("0 0 * * *")),
        "@weekly" => Ok(Some("0 0 * * 0")),
        "@monthly" => Ok(Some("0 0 1 * *")),
        "@yearly" | "@annually" => Ok(Some("0 0 1 1 *")),
        _ => Err(TriggerError::Nickname {
            text: text.chars().take(100).collect(),
        }),
    }
}

fn parse(kind: &Kind, text: &str) -> Result<Field, TriggerError> {
    let wrong = |reason| TriggerError::Field {
        field: kind.name,
        text: text.chars().take(100).collect(),
        reason,
        allowed: kind.allowed,
        example: kind.example,
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step: u8 = step
                    .parse()
                    .map_err(|_| wrong("has a step that is no number"))?;
                (range, Some(step))
            }
        };
        if step == Some(0) {
            return Err(wrong("has a step of zero"));
        }
        let (first, last) = if range == "*" {
            (kind.first, if kind.last == 7 { 6 } else { kind.last })
        } else if let Some((first, last)) = range.split_once('-') {
            let value = |text| value(kind, text).ok_or_else(|| wrong("is not understood"));
            (value(first)?, value(last)?)
        } else {
            let first = value(kind, range).ok_or_else(|| wrong("is not understood"))?;
            // `5/10` is 5, 15, 25 and so on.
            (first, if step.is_some() { kind.last } else { first })
        };
        if first > last {
            return Err(wrong("has a range that ends before it begins"));
        }
        for value in (first..=last).step_by(step.unwrap_or(1).into()) {
            bits |= 1 << value;
        }
    }
    Ok(Field {
        bits,
        is_open: text.starts_with('*'),
    })
}

fn value(kind: &Kind, text: &str) -> Option<u8> {
    let lower = text.to_ascii_lowercase();
    let named = kind.names.iter().position(|name| *name == lower);
    let value = match named {
        Some(place) => u8::try_from(place).ok()? + kind.first,
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    (kind.first..=kind.last).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_steps_ranges_and_both_sundays_are_read() {
        let fields = Fields::parse("*/20 5/25 8-10 1,15 JAN-mar,12 sun,5-7").unwrap();
        let numbers = |field: Field| field.numbers().collect::<Vec<_>>();
        assert_eq!(numbers(fields.second), [0, 20, 40]);
        assert_eq!(numbers(fields.minute), [5, 30, 55]);
        assert_eq!(numbers(fields.hour), [8, 9, 10]);
        assert_eq!(numbers(fields.day), [1, 15]);
        assert_eq!(numbers(fields.month), [1, 2, 3, 12]);
        assert_eq!(numbers(fields.weekday), [0, 5, 6]);
        assert_eq!(Fields::parse("@daily"), Fields::parse("0 0 0 * * *"));
        assert_eq!(fields.hour.next(11), None);
        assert_eq!(fields.hour.next(9), Some(9));
    }

    #[test]
    fn each_wrong_field_is_named_with_what_is_allowed() {
        for (text, words) in [
            ("* * * *", ["4 fields", "minute hour"]),
            ("", ["0 fields", "@daily"]),
            ("* * * * * * *", ["7 fields", "second"]),
            ("60 * * * *", ["minute `60`", "0-59"]),
            ("* 24 * * *", ["hour `24`", "0-23"]),
            ("* * 0 * *", ["day of month `0`", "1-31"]),
            ("* * * 13 *", ["month `13`", "jan-dec"]),
            ("* * * * 8", ["day of week `8`", "sun-sat"]),
            ("* * * * mo", ["day of week `mo`", "mon-fri"]),
            ("*/0 * * * *", ["minute `*/0`", "zero"]),
            ("*/x * * * *", ["minute `*/x`", "no number"]),
            ("9-5 * * * *", ["minute `9-5`", "ends before"]),
            ("1,,2 * * * *", ["minute `1,,2`", "not understood"]),
            ("-1 * * * *", ["minute `-1`", "not understood"]),
            ("+1 * * * *", ["minute `+1`", "not understood"]),
            ("* * L * *", ["day of month `L`", "1-31"]),
            ("999999999999 * * * *", ["minute", "0-59"]),
            ("@noon", ["`@noon`", "@daily"]),
        ] {
            let error = Fields::parse(text).unwrap_err().to_string();
            assert!(
                words.iter().all(|word| error.contains(word)),
                "{text}: {error}"
            );
        }
    }
}
