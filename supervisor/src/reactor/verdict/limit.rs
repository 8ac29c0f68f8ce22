//! Which limit of its profile a task came up against, by what the kernel and the task said. Pure.

#![forbid(unsafe_code)]

use std::time::Duration;

use bulkhead_shared::limits::Limits;
use bulkhead_shared::outcome::{Cause, ErrorDetails};
use bulkhead_shared::units::{Size, show_duration};

use crate::process::limits::Bumps;
use crate::sandbox::plan::Plan;
use crate::sandbox::seccomp;
use crate::watch::Exceeded;

/// What is known of an attempt that did not return.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Evidence<'a> {
    /// The signal that ended the task, if one did.
    pub signal: i32,
    /// It was ours.
    pub is_killed: bool,
    /// What its processes used.
    pub cpu: Duration,
    /// What the task said of its failure.
    pub text: Option<&'a str>,
    /// The system call that it should not have made, by its own account.
    pub forbidden: Option<i32>,
    /// What its cgroups counted.
    pub bumps: Bumps,
    /// Bytes it may have.
    pub memory: Option<u64>,
    /// What its message lowers of its profile.
    pub limits: Limits,
}

/// Whether a system call can have been forbidden. Without a filter the signal is any signal.
fn filters(plan: &Plan) -> bool {
    let walls = plan.setup.walls.as_deref();
    walls.is_some_and(|walls| !walls.own_filter.is_empty() || !walls.inherited_filter.is_empty())
}

/// The limit that explains the end, if one does.
pub(super) fn explain(evidence: &Evidence<'_>, plan: &Plan) -> Option<(Cause, ErrorDetails)> {
    let profile = plan.profile.as_str();
    let errno = evidence.text.and_then(errno_in);
    let said = |number: i32| errno == Some(number);
    let is = |signal: i32| evidence.signal == signal && !evidence.is_killed;
    if evidence.bumps.killed > 0 {
        return Some((Cause::OutOfMemory, out_of_memory(evidence)));
    }
    let own = evidence.limits;
    let limits = own.or(plan.limits);
    let raise = |own: Option<u64>, name: &str| match own {
        Some(_) => format!("its message asks for that: raise `{name}` there, or leave it out"),
        None => format!("raise `{name}` of the profile `{profile}`"),
    };
    let found = if let Some(limit) = limits.cpu_time()
        && (is(libc::SIGXCPU) || is(libc::SIGKILL) && evidence.cpu >= limit)
    {
        let text = format!(
            "used more CPU time than its limit of {} ({})",
            show_duration(limit),
            raise(own.cpu_time_s, "cpu-time")
        );
        details(
            "cpu-time",
            text,
            Some(millis(limit)),
            Some(millis(evidence.cpu)),
        )
    } else if let Some(limit) = limits.file_size
        && (is(libc::SIGXFSZ) || said(libc::EFBIG))
    {
        let text = format!(
            "wrote a file larger than its limit of {} ({})",
            Size(limit),
            raise(own.file_size, "file-size")
        );
        details("file-size", text, Some(limit), None)
    } else if is(libc::SIGSYS) && filters(plan) {
        let name = evidence.forbidden.and_then(seccomp::name);
        let which = name.map_or_else(|| "a system call".into(), |name| format!("`{name}`"));
        let text = format!(
            "made {which}, which the profile `{profile}` forbids (name it in `allow-syscalls` if \
             it is needed, or let it fail with `on-forbidden = \"error\"`)"
        );
        details("forbidden-syscall", text, None, None)
    } else if let Some(limit) = limits.processes
        && (evidence.bumps.refused > 0 || said(libc::EAGAIN))
    {
        let text = format!(
            "could not start a process or thread beyond its limit of {limit} ({})",
            raise(own.processes, "processes")
        );
        details("processes", text, Some(limit), None)
    } else if let Some(limit) = plan.tmp
        && said(libc::ENOSPC)
    {
        let text = format!(
            "filled its private directory of {} (raise `tmp`, or `tmp-files`, of the profile \
             `{profile}`)",
            Size(limit)
        );
        details("disk-full", text, Some(limit), None)
    } else if let Some(limit) = limits.open_files
        && said(libc::EMFILE)
    {
        let text = format!(
            "opened more files than its limit of {limit} ({})",
            raise(own.open_files, "open-files")
        );
        details("open-files", text, Some(limit), None)
    } else {
        return None;
    };
    let mut found = found;
    if let Some(said) = evidence.text {
        found.text = format!("{}; the task said: {said}", found.text);
    }
    Some((Cause::Limit, found))
}

fn details(name: &str, text: String, limit: Option<u64>, peak: Option<u64>) -> ErrorDetails {
    ErrorDetails {
        limit,
        peak,
        ..ErrorDetails::new(name, text)
    }
}

fn millis(length: Duration) -> u64 {
    bulkhead_shared::time::millis(length)
}

fn out_of_memory(evidence: &Evidence<'_>) -> ErrorDetails {
    let Bumps { killed, peak, .. } = evidence.bumps;
    let who: String = match (evidence.signal, killed) {
        (libc::SIGKILL, _) => "the task was killed".into(),
        (_, 1) => "a process that the task had started was killed".into(),
        (_, n) => format!("{n} processes that the task had started were killed"),
    };
    memory(&who, evidence.memory, peak)
}

/// Where no cgroup keeps the limit, and all processes of the task were seen above it.
pub(super) fn exceeded(exceeded: Exceeded) -> ErrorDetails {
    let Exceeded { bytes, limit } = exceeded;
    let who = "the task was killed, whose processes had too much together";
    memory(who, Some(limit), Some(bytes))
}

fn memory(who: &str, limit: Option<u64>, peak: Option<u64>) -> ErrorDetails {
    let show = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".into(), |b| Size(b).to_string());
    let (limit_text, peak_text) = (show(limit), show(peak));
    let text = format!(
        "out of memory: {who}; limit {limit_text}, peak {peak_text} (raise it with the task's \
         `memory` option, the profile's, or --memory)"
    );
    details("out-of-memory", text, limit, peak)
}

/// What to look at when a task was refused something that its profile may be the reason of.
pub(super) fn hint(text: &str, plan: &Plan) -> Option<String> {
    plan.setup.walls.as_ref()?;
    let refused = [
        libc::EPERM,
        libc::EACCES,
        libc::EROFS,
        libc::ENOSYS,
        libc::ENETUNREACH,
        libc::EAFNOSUPPORT,
    ];
    let errno = errno_in(text)?;
    let is_hidden = errno == libc::ENOENT && plan.setup.walls.as_ref()?.root.is_some();
    (refused.contains(&errno) || is_hidden).then(|| {
        format!(
            "the profile `{0}` may be the reason (`supervisor sandbox explain {0}` tells what it \
             allows)",
            plan.profile
        )
    })
}

/// The number of the system's error that a text speaks of, as Rust and Python write it.
fn errno_in(text: &str) -> Option<i32> {
    let behind = |words: &str| {
        let (_, rest) = text.rsplit_once(words)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let number = ["os error ", "Os { code: ", "[Errno "]
        .into_iter()
        .find_map(behind);
    number.or_else(|| {
        let named = [
            ("EAGAIN:", libc::EAGAIN),
            ("EFBIG:", libc::EFBIG),
            ("ENOSPC:", libc::ENOSPC),
            ("EMFILE:", libc::EMFILE),
            ("EPERM:", libc::EPERM),
            ("EACCES:", libc::EACCES),
            ("EROFS:", libc::EROFS),
            ("ENETUNREACH:", libc::ENETUNREACH),
            ("ENOENT:", libc::ENOENT),
        ];
        let found = named.into_iter().find(|(name, _)| text.contains(name));
        found.map(|(_, number)| number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_error_is_found_in_what_languages_write() {
        for (text, number) in [
            ("writing: No space left on device (os error 28)", Some(28)),
            (
                "called `unwrap()`: Os { code: 11, kind: WouldBlock }",
                Some(11),
            ),
            ("OSError: [Errno 27] File too large", Some(27)),
            ("EMFILE: Too many open files", Some(24)),
            ("out of paper", None),
            ("os error none", None),
        ] {
            assert_eq!(errno_in(text), number, "{text}");
        }
    }
}
