//! The only place that turns an outcome into a settlement. Pure: no clock, no I/O.
//!
//! | outcome | budget | then |
//! |---|---|---|
//! | error, timeout | `max_retries` | dead letters |
//! | crash, out of memory, limit, protocol, sandbox | the smaller of `max_retries` and [`CRASH_BUDGET`] | dead letters |
//! | lost lease | [`LOST_BUDGET`], apart from the others | dead letters as `lost` |
//! | displaced by another job of its group | none: not counted, but see [`DISPLACED_MOST`] | ready at its old place |
//! | released | none: not counted | ready at its old place |
//! | snoozed | none: not counted | delayed, or until a signal |
//! | final failure, expired | never repeated | dead letters |
//! | revoked | never repeated | ended, no dead letter |

use std::time::Duration;

use crate::Timestamp;
use crate::history::{Attempt, History};
use crate::name::Key;
use crate::outcome::{Cause, Ended, ErrorDetails, Outcome};
use crate::policy::{Keep, Policy, VERDICT_KEPT};

/// Retries after crashes: a task that takes its process down this often is poison.
pub const CRASH_BUDGET: u32 = 3;

/// Lost leases: a job that loses its supervisor this often is what kills it.
pub const LOST_BUDGET: u32 = 5;

/// A job that others took down with them this often runs alone the next time: so that it ends
/// whatever they do, and so that it is known if it was the one.
pub const DISPLACED_MOST: u32 = 3;

/// What is done about an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The job ends well.
    Succeed {
        /// The result, unless none is to be kept.
        result: Option<Vec<u8>>,
        /// When the result is forgotten; `None` is never.
        result_until: Option<Timestamp>,
        /// When the job is forgotten; `None` is never.
        purge_at: Option<Timestamp>,
    },
    /// It runs again, no earlier than this.
    Retry {
        /// The time.
        at: Timestamp,
    },
    /// It is ready again, at its old place.
    Release,
    /// It sleeps until then, or until the signal comes, and is then run again.
    Snooze {
        /// The time.
        until: Timestamp,
        /// What may wake it before.
        signal: Option<Key>,
    },
    /// It has failed and goes to the dead letters.
    Bury {
        /// Why.
        cause: Cause,
        /// When the job is forgotten; `None` is never.
        purge_at: Option<Timestamp>,
    },
    /// It has failed and is no dead letter.
    Drop {
        /// Why.
        cause: Cause,
        /// When the job is forgotten; `None` is never.
        purge_at: Option<Timestamp>,
    },
}

/// What the decision rests on, apart from the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The job's rules.
    pub policy: &'a Policy,
    /// Between 0 and 1: spreads retries that would otherwise come at once.
    pub jitter: f64,
    /// The host the attempt ran on.
    pub host: &'a str,
    /// How it was isolated.
    pub isolation: &'a str,
}

/// What becomes of a job after `ended`, and its history with that attempt in it.
#[must_use]
pub fn decide(mut history: History, ended: Ended, about: Circumstances<'_>) -> (Move, History) {
    let Ended {
        outcome,
        usage,
        output,
        started_at,
        finished_at,
        pid,
        wants_callback: _,
        wants_retry,
        has_progressed,
    } = ended;
    if has_progressed {
        history.crashes = 0;
        history.lost = 0;
    }
    history.is_asleep = false;
    history.sleeps_for = None;
    if outcome == Outcome::Released {
        history.released = history.released.saturating_add(1);
        return (Move::Release, history);
    }
    if outcome == Outcome::Displaced {
        history.displaced = history.displaced.saturating_add(1);
        return (Move::Release, history);
    }
    if let Outcome::Snoozed { until, signal } = outcome {
        history.snoozed = history.snoozed.saturating_add(1);
        history.ran_ms = history.ran_ms.saturating_add(usage.wall_ms.unwrap_or(0));
        history.sleeps_for = signal.as_ref().map(|signal| signal.as_str().to_owned());
        history.is_asleep = true;
        return (Move::Snooze { until, signal }, history);
    }
    history.displaced = 0;
    history.ran_ms = 0;
    let lost = outcome == Outcome::LeaseLost;
    if started_at.is_some() || lost {
        history.attempt = history.attempt.saturating_add(1);
    }
    history.output = output;
    history.isolation = Some(about.isolation.into());
    history.host = Some(about.host.into());
    history.pid = pid;
    let (cause, error, is_final, result) = match outcome {
        Outcome::Returned(result) => (None, None, true, Some(result)),
        Outcome::Failed {
            cause,
            error,
            is_final,
        } => (Some(cause), Some(error), is_final || !wants_retry, None),
        Outcome::Released | Outcome::Displaced | Outcome::Snoozed { .. } | Outcome::LeaseLost => {
            (Some(Cause::Lost), Some(lost_error()), false, None)
        }
    };
    let n = history.attempt;
    history.push(Attempt {
        n,
        cause,
        error,
        usage,
        started_at,
        finished_at,
    });
    let Some(cause) = cause else {
        return (
            succeed(result.unwrap_or_default(), finished_at, about.policy),
            history,
        );
    };
    let next = after_failure(cause, is_final, finished_at, &mut history, about);
    (next, history)
}

fn lost_error() -> ErrorDetails {
    ErrorDetails::new(
        "lost",
        "the supervisor that ran the job died or lost its lease",
    )
}

fn succeed(result: Vec<u8>, now: Timestamp, policy: &Policy) -> Move {
    let purge_at = purge_at(now, policy.result_ttl);
    let (result, result_until) = match policy.result_ttl {
        Keep::For { ms: 0 } => (None, None),
        Keep::For { ms } => (Some(result), Some(now.plus(Duration::from_millis(ms)))),
        Keep::Forever => (Some(result), None),
    };
    Move::Succeed {
        result,
        result_until,
        purge_at,
    }
}

fn purge_at(now: Timestamp, keep: Keep) -> Option<Timestamp> {
    match keep {
        Keep::For { ms } => Some(now.plus(VERDICT_KEPT.max(Duration::from_millis(ms)))),
        Keep::Forever => None,
    }
}

fn after_failure(
    cause: Cause,
    is_final: bool,
    now: Timestamp,
    history: &mut History,
    about: Circumstances<'_>,
) -> Move {
    let purge_at = purge_at(now, about.policy.result_ttl);
    let retries = about.policy.max_retries;
    let again = match cause {
        Cause::Revoked => return Move::Drop { cause, purge_at },
        Cause::Lost => {
            history.lost = history.lost.saturating_add(1);
            // A lost lease says nothing about the task: it keeps its place and does not wait.
            let spent = history.lost >= LOST_BUDGET;
            return if spent {
                Move::Bury { cause, purge_at }
            } else {
                Move::Release
            };
        }
        Cause::Expired | Cause::UnknownTask => false,
        Cause::Error | Cause::Timeout => {
            history.errors = history.errors.saturating_add(1);
            retries.allows(history.retries)
        }
        Cause::Crash | Cause::OutOfMemory | Cause::Limit | Cause::Protocol | Cause::Sandbox => {
            let crashes_before = history.crashes;
            history.crashes = crashes_before.saturating_add(1);
            retries.allows(history.retries) && crashes_before < retries.at_most(CRASH_BUDGET)
        }
    };
    if is_final || !again {
        return Move::Bury { cause, purge_at };
    }
    history.retries = history.retries.saturating_add(1);
    let wait = about.policy.backoff.wait(history.retries);
    // Never earlier than asked: jitter only adds, a tenth at the most.
    let jitter = wait.mul_f64(about.jitter.clamp(0.0, 1.0) / 10.0);
    Move::Retry {
        at: now.plus(wait + jitter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::outcome::Usage;
    use crate::policy::Retries;
    use proptest::prelude::*;

    fn policy(max_retries: Retries) -> Policy {
        Policy {
            timeout: Duration::from_secs(1),
            patience: Duration::from_secs(1),
            max_retries,
            backoff: Backoff::default(),
            result_ttl: Keep::For { ms: 1000 },
            memory: None,
            limits: crate::limits::Limits::NONE,
            profile: "process".into(),
        }
    }

    fn ended(outcome: Outcome, at: u64) -> Ended {
        Ended {
            outcome,
            usage: Usage::default(),
            output: None,
            started_at: Some(Timestamp::from_millis(at)),
            finished_at: Timestamp::from_millis(at),
            pid: Some(1),
            wants_callback: true,
            wants_retry: true,
            has_progressed: false,
        }
    }

    fn failed(cause: Cause) -> Outcome {
        Outcome::Failed {
            cause,
            error: ErrorDetails::default(),
            is_final: false,
        }
    }

    fn run(
        policy: &Policy,
        jitter: f64,
        outcomes: impl Iterator<Item = Outcome>,
    ) -> (Move, History) {
        let mut history = History::default();
        for outcome in outcomes {
            let about = Circumstances {
                policy,
                jitter,
                host: "h",
                isolation: "none",
            };
            let (next, after) = decide(history, ended(outcome, 1000), about);
            history = after;
            if !matches!(next, Move::Retry { .. } | Move::Release) {
                return (next, history);
            }
        }
        panic!("the job never ended")
    }

    #[test]
    fn a_crashing_job_is_buried_after_its_crash_budget_even_with_endless_retries() {
        let policy = policy(Retries::Unlimited);
        let (end, history) = run(&policy, 0.0, std::iter::repeat_n(failed(Cause::Crash), 50));
        assert!(matches!(
            end,
            Move::Bury {
                cause: Cause::Crash,
                ..
            }
        ));
        assert_eq!(history.attempt, CRASH_BUDGET + 1);
    }

    #[test]
    fn lost_leases_have_a_budget_of_their_own_and_do_not_use_up_retries() {
        let policy = policy(Retries::Times(0));
        let (end, history) = run(&policy, 0.0, std::iter::repeat_n(Outcome::LeaseLost, 50));
        assert!(matches!(
            end,
            Move::Bury {
                cause: Cause::Lost,
                ..
            }
        ));
        assert_eq!((history.lost, history.retries), (LOST_BUDGET, 0));
    }

    #[test]
    fn a_job_without_retries_still_survives_a_lost_lease_and_a_release() {
        let policy = policy(Retries::Times(0));
        let outcomes = [
            Outcome::LeaseLost,
            Outcome::Released,
            Outcome::Returned(vec![7]),
        ];
        let (end, history) = run(&policy, 0.0, outcomes.into_iter());
        assert!(matches!(end, Move::Succeed { result: Some(r), .. } if r == [7]));
        assert_eq!(history.released, 1);
    }

    #[test]
    fn a_failure_that_the_task_does_not_want_repeated_is_final() {
        let policy = policy(Retries::Unlimited);
        let about = Circumstances {
            policy: &policy,
            jitter: 0.0,
            host: "h",
            isolation: "none",
        };
        let declined = |outcome| Ended {
            wants_retry: false,
            ..ended(outcome, 1)
        };
        let (next, _) = decide(History::default(), declined(failed(Cause::Error)), about);
        assert!(matches!(next, Move::Bury { .. }));
        let (next, _) = decide(History::default(), declined(Outcome::LeaseLost), about);
        assert_eq!(
            next,
            Move::Release,
            "nobody asked the task about a lost lease"
        );
    }

    #[test]
    fn revoked_jobs_are_no_dead_letters() {
        let policy = policy(Retries::Times(3));
        let (end, _) = run(&policy, 0.0, std::iter::once(failed(Cause::Revoked)));
        assert!(matches!(
            end,
            Move::Drop {
                cause: Cause::Revoked,
                ..
            }
        ));
    }

    proptest! {
        #[test]
        fn a_failing_job_runs_exactly_once_more_than_its_retries(retries in 0u32..20) {
            let policy = policy(Retries::Times(retries));
            let (_, history) = run(&policy, 0.5, std::iter::repeat_n(failed(Cause::Error), 50));
            prop_assert_eq!(history.attempt, retries + 1);
            prop_assert!(history.attempts.len() <= crate::history::ATTEMPTS_KEPT);
        }

        #[test]
        fn a_retry_never_comes_earlier_than_asked(jitter in -1.0f64..2.0, before in 0u32..3) {
            let policy = policy(Retries::Times(9));
            let history = History { retries: before, ..History::default() };
            let about = Circumstances { policy: &policy, jitter, host: "h", isolation: "none" };
            let (next, _) = decide(history, ended(failed(Cause::Error), 5000), about);
            let asked = Timestamp::from_millis(5000).plus(policy.backoff.wait(before + 1));
            let latest = Timestamp::from_millis(5000).plus(policy.backoff.wait(before + 1) * 11 / 10);
            let Move::Retry { at } = next else { panic!("{next:?}") };
            prop_assert!(at >= asked && at <= latest);
        }
    }
}
