//! What must be true of one job, whatever failed when.

use bulkhead_shared::retry::LOST_BUDGET;
use bulkhead_tests::work::Job;

use crate::attempts::Attempts;
use crate::evidence::{Counts, Transition};

/// One job's way.
pub(crate) struct Story<'a> {
    pub(crate) job: &'a Job,
    pub(crate) transitions: &'a [&'a Transition],
    pub(crate) attempts: &'a Attempts,
}

impl Story<'_> {
    /// Accepted once; each claim under a fence of its own, one above the last; each settlement
    /// under the newest; one ending, and nothing after it.
    pub(crate) fn is_in_order(&self) {
        let Some((first, rest)) = self.transitions.split_first() else {
            panic!("{:?} was accepted and never stored", self.job);
        };
        assert_eq!(
            (&first.old, first.new.state, first.new.fence),
            (&None, 'R', 0),
            "{first:?}"
        );
        let mut last = first;
        for step in rest {
            let about = || format!("{:?}: {last:?} then {step:?}", self.job);
            assert!(!last.is_ending(), "moved after its end: {}", about());
            assert_eq!(step.old.as_ref(), Some(&last.new), "{}", about());
            let raised = u64::from(step.is_claim());
            assert_eq!(step.new.fence, last.new.fence + raised, "{}", about());
            assert_eq!(step.new.owner.is_some(), step.is_claim(), "{}", about());
            last = step;
        }
        let endings = self.transitions.iter().filter(|step| step.is_ending());
        assert_eq!(endings.count(), 1, "{:?}: {:?}", self.job, self.transitions);
    }

    /// A job that is leased goes to somebody else only when its lease has ended; how often it did.
    pub(crate) fn takes_only_what_is_over(&self) -> usize {
        let rescues = self.transitions.iter().filter(|step| step.is_rescue());
        rescues
            .inspect(|step| {
                let due = step.due.expect("a leased job has a lease");
                #[expect(clippy::cast_precision_loss, reason = "less than 2^53 ms have passed")]
                let at = step.at as f64;
                assert!(due <= at, "taken from somebody who held it: {step:?}");
            })
            .count()
    }

    /// What was settled as run did run, and what was given back had not begun. What succeeded had
    /// come to its end with every write accepted.
    pub(crate) fn agrees_with_the_attempts(&self) {
        let mut before = Counts::default();
        for step in self.transitions {
            if !step.is_settlement() {
                continue;
            }
            let attempt = (self.job.uuid, step.new.fence);
            let ran = self.attempts.has_begun(&attempt);
            let must = must_have_run(before, step);
            assert_eq!(
                must, ran,
                "{:?}: {step:?} of {:?}",
                self.job, self.transitions
            );
            let has_succeeded = step.new.state == 'S';
            assert!(
                !has_succeeded || self.attempts.has_ended(&attempt),
                "{:?} succeeded before its end: {step:?}",
                self.job
            );
            before = step.counts;
        }
    }

    /// The right end after the right number of tries; whether it was given up as lost.
    pub(crate) fn ends_as_it_must(&self) -> bool {
        let last = self.transitions.last().expect("looked at before");
        let fate = self.job.kind.fate();
        let Counts {
            errors,
            crashes,
            lost,
            ..
        } = last.counts;
        let about = || format!("{:?} must be {fate:?}: {:?}", self.job, self.transitions);
        if lost >= u64::from(LOST_BUDGET) {
            assert_eq!(last.cause, letter("lost"), "{}", about());
            return true;
        }
        let cause = fate.cause.map_or('-', letter);
        assert_eq!(last.cause, cause, "{}", about());
        let has_succeeded = last.new.state == 'S';
        assert_eq!(has_succeeded, fate.cause.is_none(), "{}", about());
        assert_eq!(crashes, u64::from(fate.crashes), "{}", about());
        let expected = fate.errors.map(u64::from);
        assert!(expected.is_none_or(|e| e == errors), "{}", about());
        let rescues = self.transitions.iter().filter(|step| step.is_rescue());
        // A rescuer may die before it has settled its rescue: that lease is lost in its stead.
        assert!(
            lost <= u64::try_from(rescues.count()).unwrap(),
            "{}",
            about()
        );
        false
    }
}

/// A cause as records have it.
fn letter(cause: &str) -> char {
    match cause {
        "error" => 'a',
        "timeout" => 'b',
        "crash" => 'c',
        "lost" => 'k',
        other => panic!("no job of these ends by `{other}`"),
    }
}

/// Whether the attempt that was settled so must have run. A rescue has a fence of its own, under
/// which nothing runs.
fn must_have_run(before: Counts, step: &Transition) -> bool {
    let Counts {
        errors,
        crashes,
        lost,
        released,
    } = step.counts;
    let counted = (
        errors - before.errors,
        crashes - before.crashes,
        lost - before.lost,
        released - before.released,
    );
    match counted {
        (0, 0, 0, 0) => {
            assert_eq!(step.new.state, 'S', "ended without a count: {step:?}");
            true
        }
        (1, 0, 0, 0) | (0, 1, 0, 0) => true,
        (0, 0, 1, 0) | (0, 0, 0, 1) => false,
        _ => panic!("one attempt was counted as {counted:?}: {step:?}"),
    }
}
