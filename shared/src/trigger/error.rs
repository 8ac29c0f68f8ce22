//! Why a trigger cannot be.

/// What is wrong with a trigger; the text names the part and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// Not five or six fields.
    #[error(
        "cron `{text}` has {count} fields (write five: minute hour day-of-month month day-of-week, or six with the second in front; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`)"
    )]
    Fields {
        /// The expression.
        text: String,
        /// How many it has.
        count: usize,
    },
    /// A field that makes no sense.
    #[error(
        "{field} `{text}` of the cron expression {reason} (allowed: {allowed}, such as {example})"
    )]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong.
        reason: &'static str,
        /// What may stand there.
        allowed: &'static str,
        /// One that is right.
        example: &'static str,
    },
    /// A nickname that nobody knows.
    #[error(
        "cron `{text}` is unknown (use `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`)"
    )]
    Nickname {
        /// What was given.
        text: String,
    },
    /// A date that no year has.
    #[error("cron `{text}` never fires: no month it names has such a day (check day and month)")]
    Never {
        /// The expression.
        text: String,
    },
    /// A zone that is not in the list.
    #[error("time zone `{name}` is unknown (write an IANA name, such as `Europe/Berlin` or `UTC`)")]
    Zone {
        /// What was given.
        name: String,
    },
    /// A zone where none can mean anything.
    #[error("`tz` means nothing with {with} (leave it out)")]
    StrayZone {
        /// What it stands beside.
        with: &'static str,
    },
    /// An interval that is too short, too long or no whole milliseconds.
    #[error("interval of {ms}ms is out of range (use 1s up to 3660d)")]
    Interval {
        /// What was given.
        ms: u64,
    },
    /// A date that cannot be read.
    #[error(
        "`at` is `{text}`, which is no time (write `2030-01-31T09:30:00Z`, or `2030-01-31T09:30` with a `tz`)"
    )]
    Date {
        /// What was given.
        text: String,
    },
    /// None of the kinds, or several.
    #[error("a trigger needs exactly one of `cron`, `every`, `at` and `at start` (here: {found})")]
    Kinds {
        /// Those that were given.
        found: String,
    },
    /// At start, but not on each supervisor.
    #[error(
        "a trigger at start fires on each supervisor, not on one (say `each`, or submit a job when you deploy)"
    )]
    StartOnOne,
    /// Too many missed firings.
    #[error("misfire `all` with {most} is out of range (use 1 up to {limit})")]
    Misfire {
        /// What was given.
        most: u32,
        /// The most.
        limit: u32,
    },
    /// Too much jitter.
    #[error("jitter of {ms}ms is longer than a day (shorten it)")]
    Jitter {
        /// What was given.
        ms: u64,
    },
}
