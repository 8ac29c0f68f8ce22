//! Jobs, times and figures as people like to read them.

mod flow;

use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::outcome::{Cause, ErrorDetails, Output, Usage};
use bulkhead_shared::status::{AttemptStatus, JobStatus, Sleeping};
use bulkhead_shared::units::Size;

use super::journal;

/// Lines of a job's journal that are shown with it.
const JOURNAL_SHOWN: usize = 10;

/// A length of time, rounded: `250ms`, `1.2s`, `3m12s`, `2h5m`, `3d4h`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let two = |n: u64, unit: &str, part: u64, small: &str| match part {
        0 => format!("{n}{unit}"),
        part => format!("{n}{unit}{part}{small}"),
    };
    match millis / 1000 {
        0 => format!("{millis}ms"),
        s @ 1..60 => match millis % 1000 / 100 {
            0 => format!("{s}s"),
            tenths => format!("{s}.{tenths}s"),
        },
        s @ 60..3600 => two(s / 60, "m", s % 60, "s"),
        s @ 3600..86400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        s => two(s / 86400, "d", s % 86400 / 3600, "h"),
    }
}

/// A length of time from its milliseconds.
pub(crate) fn millis(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// A time and how far it is from `now`.
pub(crate) fn time(time: Timestamp, now: Timestamp) -> String {
    format!("{time} ({})", distance(time, now))
}

/// How far `time` is from `now`.
pub(crate) fn distance(time: Timestamp, now: Timestamp) -> String {
    if time > now {
        format!("in {}", duration(time.since(now)))
    } else {
        format!("{} ago", duration(now.since(time)))
    }
}

/// Text from a task, without what a terminal would obey.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// What was consumed: `wall 12ms, cpu 3ms, peak 4MiB`.
pub(crate) fn usage(usage: &Usage) -> Option<String> {
    let cpu = match (usage.cpu_user_ms, usage.cpu_system_ms) {
        (None, None) => None,
        (user, system) => Some(user.unwrap_or(0).saturating_add(system.unwrap_or(0))),
    };
    let peak = usage.max_rss_kb.map(|kb| Size(kb.saturating_mul(1024)));
    let parts = [
        usage.wall_ms.map(|ms| format!("wall {}", millis(ms))),
        cpu.map(|ms| format!("cpu {}", millis(ms))),
        peak.map(|size| format!("peak {size}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A failure in one line, without the name that `cause` has told already.
pub(crate) fn error(error: &ErrorDetails, cause: Option<Cause>) -> String {
    let name = Some(error.name.as_str()).filter(|name| cause.map(Cause::as_str) != Some(name));
    let mut text = match (name.unwrap_or_default(), error.text.as_str()) {
        ("", text) => text.to_owned(),
        (name, "") => name.to_owned(),
        (name, text) => format!("{name}: {text}"),
    };
    let figure = |n: u64| match cause {
        Some(Cause::OutOfMemory) => Size(n).to_string(),
        _ => n.to_string(),
    };
    let more = [
        error
            .signal
            .as_ref()
            .map(|signal| format!("signal {signal}")),
        error.exit_code.map(|code| format!("exit code {code}")),
        error.limit.map(|limit| format!("limit {}", figure(limit))),
        error.peak.map(|peak| format!("peak {}", figure(peak))),
    ];
    let more: Vec<_> = more.into_iter().flatten().collect();
    if !more.is_empty() {
        text.push_str(&format!(" [{}]", more.join(", ")));
    }
    safe(&text).replace('\n', " ")
}

/// How one attempt ended, in one line: `attempt 1 failed: crash: ... (wall 12ms)`.
pub(crate) fn attempt(attempt: &AttemptStatus) -> String {
    let mut text = match (attempt.cause, attempt.n) {
        (None, n) => format!("attempt {n} returned"),
        (Some(cause), 0) => format!("ended before its first attempt: {cause}"),
        (Some(cause), n) => format!("attempt {n} failed: {cause}"),
    };
    if let Some(details) = &attempt.error {
        text.push_str(&format!(": {}", error(details, attempt.cause)));
    }
    if let Some(figures) = usage(&attempt.usage) {
        text.push_str(&format!(" ({figures})"));
    }
    text
}

/// A job in full.
pub(crate) fn job(job: &JobStatus, now: Timestamp) -> String {
    let text = |value: &Option<String>| value.as_deref().map(safe);
    let when = |at: Option<Timestamp>| at.map(|at| time(at, now));
    let status = match job.cause {
        Some(cause) => format!("{} ({cause})", job.status),
        None => job.status.to_string(),
    };
    let attempt_number = job.attempt.map(|n| match job.retries {
        Some(retries @ 1..) => format!("{n} (retries: {retries})"),
        _ => n.to_string(),
    });
    let fields = [
        ("job", Some(job.uuid.to_string())),
        ("task", job.task.as_ref().map(ToString::to_string)),
        ("queue", job.queue.as_ref().map(ToString::to_string)),
        ("status", Some(status)),
        ("attempt", attempt_number),
        (
            "priority",
            job.priority.map(|priority| priority.to_string()),
        ),
        ("submitted", when(job.submitted_at)),
        ("started", when(job.started_at)),
        ("finished", when(job.finished_at)),
        ("next", when(job.next_at)),
        ("sleep", job.sleeping.as_ref().map(sleeping)),
        ("error", job.error.as_ref().map(|e| error(e, job.cause))),
        ("usage", usage(&job.usage)),
        ("progress", job.progress.as_ref().map(ToString::to_string)),
        ("isolation", text(&job.isolation)),
        ("host", text(&job.host)),
        ("pid", job.pid.map(|pid| pid.to_string())),
        ("note", text(&job.note)),
    ];
    let mut page = String::new();
    for (name, value) in fields {
        if let Some(value) = value {
            page.push_str(&format!("{name:9}  {value}\n"));
        }
    }
    page.push_str(&blocks(job));
    if let Some(view) = &job.journal {
        let lines = journal::lines(view, now);
        // The last ones say where it stands; `supervisor journal` has them all.
        let first = lines.len().saturating_sub(JOURNAL_SHOWN);
        page.push_str(&block("journal", &lines[first..].join("\n")));
    }
    if let Some(view) = &job.flow {
        page.push_str(&flow::page(view, job.uuid));
    }
    page
}

/// What a job sleeps for.
pub(crate) fn sleeping(sleeping: &Sleeping) -> String {
    match &sleeping.signal {
        Some(signal) => safe(&format!("asleep, or until the signal `{signal}`")),
        None => "asleep".into(),
    }
}

/// The parts of a job that take several lines.
fn blocks(job: &JobStatus) -> String {
    let mut page = String::new();
    let traceback = job
        .error
        .as_ref()
        .and_then(|error| error.traceback.as_deref());
    page.push_str(&block("traceback", traceback.unwrap_or_default()));
    if let Some(Output { stdout, stderr, .. }) = &job.output {
        page.push_str(&block("stdout", stdout));
        page.push_str(&block("stderr", stderr));
    }
    if job.attempts.len() > 1 {
        let lines: Vec<_> = job.attempts.iter().map(attempt).collect();
        page.push_str(&block("attempts", &lines.join("\n")));
    }
    page
}

fn block(name: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut block = format!("{name}\n");
    for line in safe(text).lines() {
        block.push_str(&format!("    {line}\n"));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_two_units() {
        let shown = [250, 1200, 59_000, 192_000, 7_500_000, 273_600_000, 0].map(millis);
        assert_eq!(
            shown,
            ["250ms", "1.2s", "59s", "3m12s", "2h5m", "3d4h", "0ms"]
        );
    }

    #[test]
    fn text_of_tasks_cannot_command_the_terminal() {
        assert_eq!(safe("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\n");
    }

    #[test]
    fn a_failure_is_one_line_with_everything_known() {
        let details = ErrorDetails {
            signal: Some("SIGSEGV".into()),
            ..ErrorDetails::new("crash", "by a\nsignal")
        };
        assert_eq!(error(&details, None), "crash: by a signal [signal SIGSEGV]");
        assert_eq!(
            error(&details, Some(Cause::Crash)),
            "by a signal [signal SIGSEGV]"
        );
        let details = ErrorDetails {
            limit: Some(1 << 30),
            ..ErrorDetails::new("memory", "too much")
        };
        assert_eq!(
            error(&details, Some(Cause::OutOfMemory)),
            "memory: too much [limit 1GiB]"
        );
    }
}
