//! What a trigger means, in words.

use std::fmt;

use super::fields::Field;
use super::{Cron, Trigger};
use crate::units::show_duration;

const MONTHS: [&str; 13] = [
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => f.write_str(&words(cron)),
            Self::Every(every) => write!(
                f,
                "every {}, counted from 1970-01-01T00:00Z",
                show_duration(*every)
            ),
            Self::At(at) => write!(f, "once, at {at}"),
            Self::Start => f.write_str("when a supervisor starts"),
        }
    }
}

fn words(cron: &Cron) -> String {
    let fields = cron.fields();
    let only = |field: Field| {
        let mut numbers = field.numbers();
        numbers.next().filter(|_| numbers.next().is_none())
    };
    let mut text = match (only(fields.hour), only(fields.minute), only(fields.second)) {
        (Some(hour), Some(minute), Some(0)) => format!("at {hour:02}:{minute:02}"),
        (Some(hour), Some(minute), Some(second)) => {
            format!("at {hour:02}:{minute:02}:{second:02}")
        }
        _ => {
            let mut parts = Vec::new();
            if only(fields.second) != Some(0) {
                parts.push(part("second", fields.second, 60, &[]));
            }
            parts.push(part("minute", fields.minute, 60, &[]));
            parts.push(part("hour", fields.hour, 24, &[]));
            format!("at {}", parts.join(" of "))
        }
    };
    let (day, weekday) = (fields.day, fields.weekday);
    let all_days = day.numbers().count() == 31;
    let all_weekdays = weekday.numbers().count() == 7;
    let either = !day.is_open && !weekday.is_open;
    let days = part("day", day, 31, &[]);
    let weekdays = list(weekday, &DAYS);
    text.push_str(&match (all_days, all_weekdays) {
        (true, true) => ", every day".into(),
        (false, true) => format!(", on {days} of the month"),
        (true, false) => format!(", on {weekdays}"),
        (false, false) if either => format!(", on {days} of the month and on {weekdays}"),
        (false, false) => format!(", on {days} of the month if it is {weekdays}"),
    });
    if fields.month.numbers().count() < 12 {
        text.push_str(&format!(", in {}", list(fields.month, &MONTHS)));
    }
    format!("{text}, by the clocks of {}", cron.zone_name())
}

fn part(what: &str, field: Field, all: usize, names: &[&str]) -> String {
    let count = field.numbers().count();
    if count == all {
        format!("every {what}")
    } else {
        let plural = if count > 1 { "s" } else { "" };
        format!("{what}{plural} {}", list(field, names))
    }
}

fn list(field: Field, names: &[&str]) -> String {
    let show = |number: u8| match names.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None => number.to_string(),
    };
    let shown: Vec<_> = field.numbers().map(show).collect();
    shown.join(", ")
}
