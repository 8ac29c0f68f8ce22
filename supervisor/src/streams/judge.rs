//! What becomes of an event that a processor failed at. Pure.

use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::backoff::{Algorithm, Backoff};
use bulkhead_shared::outcome::{Cause, ErrorDetails};
use bulkhead_shared::policy::{DEFAULT_RETRIES, Retries};
use bulkhead_shared::stream::keep::{Rest, Trouble};
use bulkhead_shared::stream::{ExceptionPolicy, LastResort, Place, ProcessorSpec};
use bulkhead_shared::task::TaskSpec;

/// The waits between tries, if a processor says nothing: 1 s, 2 s, 4 s, to a minute. Nobody else comes
/// meanwhile, so they are shorter than a job's.
const BACKOFF: Backoff = Backoff {
    algorithm: Algorithm::Exponential {
        base: 2,
        factor_ms: 500,
    },
    floor_ms: None,
    ceiling_ms: Some(60_000),
    zero_override: true,
};

/// Bytes that are kept of a failure: it stands in every view of its stream, and with each event of a
/// batch that is put away for it.
const KEPT: usize = 2 << 10;

/// The rules of a processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub policy: ExceptionPolicy,
    pub max_retries: Retries,
    pub backoff: Backoff,
}

impl Rules {
    /// Those that a processor is declared with.
    pub(super) fn of(spec: &TaskSpec, processor: &ProcessorSpec) -> Self {
        Self {
            policy: processor.exception_policy,
            max_retries: spec.max_retries.unwrap_or(DEFAULT_RETRIES),
            backoff: spec.backoff.unwrap_or(BACKOFF),
        }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is given again, after so long.
    Again(Duration),
    /// It is passed.
    Pass,
    /// It is put away, and passed.
    Bury,
    /// Its partition rests.
    Rest(Rest),
}

/// A failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    /// The first event that was not passed.
    pub place: Place,
    pub cause: Cause,
    pub error: &'a ErrorDetails,
    pub at: Timestamp,
}

/// Judges a failure; `before` is what was kept of the last one.
pub(super) fn judge(
    rules: &Rules,
    before: Option<&Trouble>,
    failure: Failure<'_>,
) -> (Trouble, Then) {
    let earlier = before.filter(|trouble| trouble.place == failure.place);
    let tries = earlier.map_or(0, |trouble| trouble.tries).saturating_add(1);
    let then = match rules.policy {
        ExceptionPolicy::Halt => Then::Rest(Rest::Halted),
        ExceptionPolicy::Quarantine => Then::Rest(Rest::Quarantined),
        ExceptionPolicy::Ignore => Then::Pass,
        ExceptionPolicy::DeadLetter => Then::Bury,
        ExceptionPolicy::Retry { then } => match rules.max_retries {
            Retries::Times(most) if tries > most => last(then),
            Retries::Times(_) | Retries::Unlimited => Then::Again(rules.backoff.wait(tries)),
        },
    };
    let rest = match then {
        Then::Rest(rest) => Some(rest),
        Then::Again(_) | Then::Pass | Then::Bury => None,
    };
    let trouble = Trouble {
        place: failure.place,
        tries,
        at: failure.at,
        cause: failure.cause.as_str().into(),
        error: kept(failure.error),
        rest,
    };
    (trouble, then)
}

/// What is kept of a failure, as JSON.
fn kept(error: &ErrorDetails) -> String {
    let mut error = error.clone();
    let mut most = KEPT;
    loop {
        let json = serde_json::to_string(&error).unwrap_or_else(|_| "{}".into());
        if json.len() <= KEPT || most == 0 {
            return json;
        }
        // What has to be escaped grows up to sixfold.
        most /= 2;
        error.shorten(most);
    }
}

const fn last(resort: LastResort) -> Then {
    match resort {
        LastResort::Halt => Then::Rest(Rest::Halted),
        LastResort::Quarantine => Then::Rest(Rest::Quarantined),
        LastResort::Ignore => Then::Pass,
        LastResort::DeadLetter => Then::Bury,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(policy: ExceptionPolicy) -> Rules {
        Rules {
            policy,
            max_retries: Retries::Times(2),
            backoff: BACKOFF,
        }
    }

    fn fail(rules: &Rules, before: Option<&Trouble>, position: u64) -> (Trouble, Then) {
        let error = ErrorDetails::new("killed", "by SIGSEGV");
        let place = Place {
            position,
            ..Place::default()
        };
        let failure = Failure {
            place,
            cause: Cause::Crash,
            error: &error,
            at: Timestamp::from_millis(7),
        };
        judge(rules, before, failure)
    }

    #[test]
    fn each_policy_has_its_way() {
        let then = |policy| fail(&rules(policy), None, 1).1;
        assert_eq!(then(ExceptionPolicy::Halt), Then::Rest(Rest::Halted));
        let quarantined = Then::Rest(Rest::Quarantined);
        assert_eq!(then(ExceptionPolicy::Quarantine), quarantined);
        assert_eq!(then(ExceptionPolicy::Ignore), Then::Pass);
        assert_eq!(then(ExceptionPolicy::DeadLetter), Then::Bury);
    }

    #[test]
    fn an_event_is_given_again_as_often_as_said_and_then_the_last_resort_follows() {
        for (resort, end) in [
            (LastResort::Halt, Then::Rest(Rest::Halted)),
            (LastResort::Quarantine, Then::Rest(Rest::Quarantined)),
            (LastResort::Ignore, Then::Pass),
            (LastResort::DeadLetter, Then::Bury),
        ] {
            let rules = rules(ExceptionPolicy::Retry { then: resort });
            let (first, then) = fail(&rules, None, 4);
            assert_eq!(then, Then::Again(Duration::from_secs(1)));
            let (second, then) = fail(&rules, Some(&first), 4);
            assert_eq!(then, Then::Again(Duration::from_secs(2)));
            let (third, then) = fail(&rules, Some(&second), 4);
            assert_eq!((third.tries, then), (3, end));
            // What another event failed with does not count.
            let (other, then) = fail(&rules, Some(&second), 5);
            assert_eq!(
                (other.tries, then),
                (1, Then::Again(Duration::from_secs(1)))
            );
        }
    }

    #[test]
    fn little_is_kept_of_a_long_failure_and_a_short_one_as_it_is() {
        let said = |text: &str| {
            let mut error = ErrorDetails::new("error", text);
            error.traceback = Some(text.into());
            error
        };
        let short = said("no such table");
        assert_eq!(kept(&short), serde_json::to_string(&short).unwrap());
        for (text, least) in [("x", 500), ("\0", 80), ("\u{2665}", 500)] {
            let json = kept(&said(&text.repeat(64 << 10)));
            assert!(json.len() <= KEPT, "{}", json.len());
            let error: ErrorDetails = serde_json::from_str(&json).unwrap();
            assert_eq!(error.name, "error");
            assert!(error.text.len() > least && error.text.ends_with("... (cut)"));
            assert_eq!(Some(error.text), error.traceback);
        }
    }

    #[test]
    fn without_an_end_an_event_is_tried_for_ever() {
        let rules = Rules {
            max_retries: Retries::Unlimited,
            ..rules(ExceptionPolicy::Retry {
                then: LastResort::Ignore,
            })
        };
        let mut trouble = fail(&rules, None, 1).0;
        trouble.tries = u32::MAX;
        let (trouble, then) = fail(&rules, Some(&trouble), 1);
        assert_eq!(trouble.tries, u32::MAX);
        assert_eq!(then, Then::Again(Duration::from_mins(1)));
    }
}
