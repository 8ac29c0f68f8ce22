//! From what was seen of a process to the outcome of its job.

mod limit;

use std::time::Duration;

use bulkhead_shared::frame::Declined;
use bulkhead_shared::outcome::{Cause, Ended, ErrorDetails, Outcome, Output, Usage, UsageSource};
use bulkhead_shared::policy::Policy;
use bulkhead_shared::time::{Now, millis};
use bulkhead_shared::units::{Size, show_duration};

use super::place::{Answered, Process, Reported, Running};
use crate::pool::End;
use crate::process::exit::{Exit, signal_name};
use crate::process::limits::Bumps;
use crate::sandbox::plan::Plan;

/// A process killed by somebody else with at least this part of its limit in use ran out of memory.
const NEAR_LIMIT: f64 = 0.95;

/// What an attempt ran under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under<'a> {
    pub policy: &'a Policy,
    /// How long this run could take.
    pub left: Duration,
    pub plan: &'a Plan,
    /// What its cgroups counted.
    pub bumps: Bumps,
}

/// Composes the end of the attempt that `running` was.
pub(super) fn compose(
    process: &mut Process,
    running: Running,
    end: End,
    under: Under<'_>,
    now: Now,
) -> Ended {
    let usage = usage(process, &running, now);
    let output = match process.is_group {
        true => shared_output(process, end),
        false => output(process),
    };
    let started_at = Some(running.started.wall);
    let pid = u32::try_from(process.pid).ok().filter(|pid| *pid != 0);
    let declined = running.declined;
    let has_progressed = running.asked.recorded;
    let end = overslept(&running, end, under.left, now);
    let forbidden = running.forbidden;
    let outcome = outcome(process, running, end, under.policy);
    let outcome = by_limit(process, outcome, (end, forbidden), under);
    let outcome = with_hint(outcome, under.plan);
    // A process that died after it had declined has not answered.
    let has_own_failure = matches!(
        outcome,
        Outcome::Failed {
            cause: Cause::Error,
            ..
        }
    );
    Ended {
        outcome,
        usage,
        output: Some(output),
        started_at,
        finished_at: now.wall,
        pid,
        has_progressed,
        wants_callback: declined != Some(Declined::Callback),
        wants_retry: declined != Some(Declined::Retry) || !has_own_failure,
    }
}

/// A job that goes to sleep after its deadline has passed it: it would never meet it again.
fn overslept(running: &Running, end: End, left: Duration, now: Now) -> End {
    let sleeps = matches!(running.answer, Some((Answered::Snoozed(..), _)));
    let ran = now.mono.saturating_duration_since(running.started.mono);
    match end {
        End::Returned if sleeps && ran >= left => End::TimedOut,
        end => end,
    }
}

/// The same outcome, or the limit of its profile that explains it.
fn by_limit(
    process: &Process,
    outcome: Outcome,
    (end, forbidden): (End, Option<i32>),
    under: Under<'_>,
) -> Outcome {
    let Outcome::Failed {
        error,
        is_final: false,
        ..
    } = &outcome
    else {
        return outcome;
    };
    // Whoever shared a process with others is not known to have done it.
    if !matches!(end, End::Failed | End::Crashed | End::Returned) || process.is_group {
        return outcome;
    }
    let exit = process.exit;
    let evidence = limit::Evidence {
        signal: end_of_task(process).map_or(0, |(signal, _)| signal),
        is_killed: process.is_killed,
        cpu: exit.map_or(Duration::ZERO, |exit| exit.cpu_user + exit.cpu_system),
        text: (end == End::Failed).then_some(error.text.as_str()),
        forbidden,
        bumps: under.bumps,
        memory: under.policy.memory,
        limits: under.policy.limits,
    };
    match limit::explain(&evidence, under.plan) {
        Some((cause, error)) => failed(cause, ended_by(process, error)),
        None => outcome,
    }
}

/// A refusal is the task's own failure; its profile may be the reason.
fn with_hint(mut outcome: Outcome, plan: &Plan) -> Outcome {
    if let Outcome::Failed {
        cause: Cause::Error,
        error,
        ..
    } = &mut outcome
        && let Some(hint) = limit::hint(&error.text, plan)
    {
        error.text = format!("{} ({hint})", error.text);
    }
    outcome
}

fn outcome(process: &Process, running: Running, end: End, policy: &Policy) -> Outcome {
    let answer = running.answer.map(|(answer, _)| answer);
    match (end, answer) {
        (End::Returned, Some(Answered::Returned(result))) => Outcome::Returned(result),
        (End::Returned, Some(Answered::Snoozed(until, signal))) => {
            Outcome::Snoozed { until, signal }
        }
        (End::Failed, Some(Answered::Failed(failure))) => {
            let unknown = failure.name == "unknown-task";
            let cause = if unknown {
                Cause::UnknownTask
            } else {
                Cause::Error
            };
            let mut error = ErrorDetails::new(&failure.name, failure.text);
            error.traceback = failure.traceback;
            Outcome::Failed {
                cause,
                error,
                is_final: failure.is_final,
            }
        }
        (End::Released | End::Forgotten, _) => Outcome::Released,
        // The one whose allocation failed is known.
        (End::Displaced, _) if running.failed_allocation.is_some() => {
            crash(process, running.failed_allocation, policy)
        }
        (End::Displaced, _) => Outcome::Displaced,
        (End::TimedOut, _) => {
            let text = format!(
                "ran longer than its timeout of {}",
                show_duration(policy.timeout)
            );
            failed(
                Cause::Timeout,
                ended_by(process, ErrorDetails::new("timeout", text)),
            )
        }
        (End::Expired, _) => {
            let text = "was still running when the job's life (`expires`) was over";
            failed(
                Cause::Expired,
                ended_by(process, ErrorDetails::new("expired", text)),
            )
        }
        (End::Revoked, _) => failed(
            Cause::Revoked,
            ErrorDetails::new("revoked", "a user revoked the job"),
        ),
        (End::Unkillable, _) => {
            let text = "a process or file of the attempt is left and cannot be removed (look for \
                        a process in state D; the slot is retired)";
            failed(Cause::Sandbox, ErrorDetails::new("unkillable", text))
        }
        (End::Protocol, _) => {
            if let Some(exceeded) = process.exceeded {
                let error = limit::exceeded(exceeded);
                return failed(Cause::OutOfMemory, ended_by(process, error));
            }
            let reason = process.violation.as_deref();
            let text = reason.unwrap_or("closed its result pipe without an answer");
            failed(
                Cause::Protocol,
                ended_by(process, ErrorDetails::new("protocol", text)),
            )
        }
        (End::Crashed | End::Returned | End::Failed, _) => {
            crash(process, running.failed_allocation, policy)
        }
    }
}

fn failed(cause: Cause, error: ErrorDetails) -> Outcome {
    Outcome::Failed {
        cause,
        error,
        is_final: false,
    }
}

/// How the task itself ended: signal and code.
fn end_of_task(process: &Process) -> Option<(i32, i32)> {
    match (process.report, process.exit) {
        (Some(report), _) => Some((report.signal, report.code)),
        (None, Some(Exit { signal, code, .. })) => Some((signal, code)),
        (None, None) => None,
    }
}

fn ended_by(process: &Process, mut error: ErrorDetails) -> ErrorDetails {
    match end_of_task(process) {
        Some((0, code)) => error.exit_code = Some(code),
        Some((signal, _)) => error.signal = Some(signal_name(signal)),
        None => {}
    }
    error
}

fn crash(process: &Process, failed_allocation: Option<u64>, policy: &Policy) -> Outcome {
    let (signal, code) = end_of_task(process).unwrap_or((0, 0));
    let peak = process.exit.and_then(|exit| exit.max_rss_kb);
    let peak = peak.map(|peak| peak * 1024);
    if let Some(error) = out_of_memory(process, signal, failed_allocation, policy.memory, peak) {
        return failed(Cause::OutOfMemory, ended_by(process, error));
    }
    let text = match signal {
        0 => format!("exited with code {code} before it returned"),
        signal => format!("killed by {}", signal_name(signal)),
    };
    failed(
        Cause::Crash,
        ended_by(process, ErrorDetails::new("crash", text)),
    )
}

fn out_of_memory(
    process: &Process,
    signal: i32,
    failed_allocation: Option<u64>,
    limit: Option<u64>,
    peak: Option<u64>,
) -> Option<ErrorDetails> {
    let show = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".into(), |b| Size(b).to_string());
    #[expect(
        clippy::cast_precision_loss,
        reason = "a comparison to one part in twenty"
    )]
    let is_near = match (limit, peak) {
        (Some(limit), Some(peak)) => peak as f64 >= limit as f64 * NEAR_LIMIT,
        _ => false,
    };
    let text = match (signal, failed_allocation) {
        (libc::SIGABRT, Some(bytes)) => format!("could not allocate {}", Size(bytes)),
        (libc::SIGKILL, _) if is_near && !process.is_killed => "killed near its limit".into(),
        _ => return None,
    };
    let (limit_text, peak_text) = (show(limit), show(peak));
    let text = format!(
        "out of memory: {text}; limit {limit_text}, peak {peak_text} (raise it with the task's \
         `memory` option or --memory)"
    );
    Some(ErrorDetails {
        limit,
        peak,
        ..ErrorDetails::new("out-of-memory", text)
    })
}

fn usage(process: &Process, running: &Running, now: Now) -> Usage {
    let wall = now.mono.saturating_duration_since(running.started.mono);
    let wall_ms = Some(millis(wall));
    let to_ms = |micros: u64| Some(millis(Duration::from_micros(micros)));
    let reported = running.answer.as_ref().map(|&(_, reported)| reported);
    if process.is_group {
        // The kernel's account is of all who rode in it; the peak, too, is of the whole process.
        let peak = process.exit.and_then(|exit| exit.max_rss_kb);
        return Usage {
            wall_ms,
            cpu_user_ms: reported.and_then(|reported| to_ms(reported.cpu_user_us)),
            cpu_system_ms: reported.and_then(|reported| to_ms(reported.cpu_system_us)),
            max_rss_kb: reported.and_then(|reported| reported.max_rss_kb).or(peak),
            source: Some(UsageSource::Shared),
        };
    }
    match (process.exit, reported) {
        (Some(exit), _) => {
            // Of a reused process the kernel knows the whole; what earlier jobs took is theirs.
            let earlier = process.reported;
            let micros = |whole: Duration, earlier: u64| {
                let whole = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
                to_ms(whole.saturating_sub(earlier))
            };
            let alone = process.served <= u32::from(reported.is_some());
            let peak = reported.and_then(|reported| reported.max_rss_kb);
            Usage {
                wall_ms,
                cpu_user_ms: micros(exit.cpu_user, earlier.cpu_user_us),
                cpu_system_ms: micros(exit.cpu_system, earlier.cpu_system_us),
                max_rss_kb: if alone { exit.max_rss_kb } else { peak },
                source: Some(UsageSource::Waitid),
            }
        }
        (
            None,
            Some(Reported {
                cpu_user_us,
                cpu_system_us,
                max_rss_kb,
            }),
        ) => Usage {
            wall_ms,
            cpu_user_ms: to_ms(cpu_user_us),
            cpu_system_ms: to_ms(cpu_system_us),
            max_rss_kb,
            source: Some(UsageSource::Reported),
        },
        (None, None) => Usage {
            wall_ms,
            ..Usage::default()
        },
    }
}

fn output(process: &mut Process) -> Output {
    let link = &mut process.link;
    let (stdout_bytes, stderr_bytes) = (link.out.total(), link.err.total());
    let (stdout, stderr) = (link.out.text(), link.err.text());
    let truncated = link.out.is_cut() || link.err.is_cut();
    Output {
        stdout,
        stderr,
        stdout_bytes,
        stderr_bytes,
        truncated,
        shared: false,
    }
}

/// A group's output is of all its jobs: it is shown with a job that failed, and said to be shared;
/// to copy it for every job that went well would cost more than the job.
fn shared_output(process: &mut Process, end: End) -> Output {
    let output = match end {
        End::Returned => Output::default(),
        _ => output(process),
    };
    Output {
        shared: true,
        ..output
    }
}
