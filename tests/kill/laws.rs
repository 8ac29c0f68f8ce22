//! What must be true of the two logs, whatever was killed when.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bulkhead_shared::Uuid;
use bulkhead_shared::retry::LOST_BUDGET;
use bulkhead_tests::work::Job;

use crate::evidence::{Counts, LEASED, Lines, SUCCEEDED, Transition, Witness};

/// What was found, for people.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) jobs: usize,
    pub(crate) transitions: usize,
    pub(crate) lines: usize,
    /// Leases taken away from dead or stopped supervisors.
    pub(crate) robbed: usize,
    /// Leases given back before anything had begun.
    pub(crate) released: i64,
    /// Jobs that were given up because they lost too many supervisors.
    pub(crate) given_up: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            jobs,
            transitions,
            lines,
            robbed,
            released,
            given_up,
        } = self;
        write!(
            f,
            "{jobs} jobs, {transitions} transitions, {lines} lines, {robbed} leases lost and \
             {released} released, {given_up} jobs given up"
        )
    }
}

/// Checks all laws.
pub(crate) fn hold(
    jobs: &[Job],
    witness: &Witness,
    lines: &Lines,
    robbed: &HashSet<i64>,
) -> Figures {
    let transitions = witness.transitions();
    let mut figures = Figures {
        jobs: jobs.len(),
        transitions: transitions.len(),
        lines: lines.all().len(),
        ..Figures::default()
    };
    let mut stories: HashMap<Uuid, Vec<&Transition>> = HashMap::new();
    for transition in &transitions {
        stories.entry(transition.uuid).or_default().push(transition);
    }
    assert_eq!(stories.len(), jobs.len(), "jobs that nobody submitted");
    let mut claims = HashSet::new();
    for job in jobs {
        let story = Story {
            job,
            transitions: &stories[&job.uuid],
            lines,
        };
        story.is_in_order();
        figures.robbed += story.takes_only_from(robbed);
        story.agrees_with_the_lines();
        figures.given_up += usize::from(story.ends_as_it_must());
        let last = story.transitions.last().expect("it has ended");
        figures.released += last.counts.released;
        let claimed = story.transitions.iter().filter(|step| step.is_claim());
        claims.extend(claimed.map(|claim| (job.uuid, claim.fence.unsigned_abs())));
    }
    every_line_has_a_claim(lines, &claims);
    figures
}

/// An attempt runs only under a lease that the store gave, and never after a newer one.
fn every_line_has_a_claim(lines: &Lines, claims: &HashSet<(Uuid, u64)>) {
    let mut newest: HashMap<Uuid, u64> = HashMap::new();
    for line in lines.all() {
        assert!(claims.contains(line), "{line:?} ran without a claim");
        let (uuid, fence) = *line;
        let before = newest.insert(uuid, fence);
        assert!(
            before.is_none_or(|before| before < fence),
            "job {uuid}: attempt {fence} started after {before:?}"
        );
    }
}

struct Story<'a> {
    job: &'a Job,
    transitions: &'a [&'a Transition],
    lines: &'a Lines,
}

impl Story<'_> {
    /// Submitted once; each claim under a fence of its own, one above the last; each settlement
    /// under the newest; one ending, and nothing after it.
    fn is_in_order(&self) {
        let Some((first, rest)) = self.transitions.split_first() else {
            panic!("{:?} was never stored", self.job);
        };
        assert_eq!((first.old, first.fence), (None, 0), "{first:?}");
        let mut last = first;
        for step in rest {
            let about = || format!("{:?}: {last:?} then {step:?}", self.job);
            assert!(!last.is_ending(), "moved after its end: {}", about());
            assert_eq!(step.old, Some(last.state), "{}", about());
            assert_eq!(step.old_fence, Some(last.fence), "{}", about());
            assert_eq!(step.old_owner, last.owner, "{}", about());
            let raised = i64::from(step.is_claim());
            assert_eq!(step.fence, last.fence + raised, "{}", about());
            assert_eq!(step.owner.is_some(), step.is_claim(), "{}", about());
            last = step;
        }
        let endings = self.transitions.iter().filter(|step| step.is_ending());
        assert_eq!(endings.count(), 1, "{:?}: {:?}", self.job, self.transitions);
    }

    /// A job that is leased goes to somebody else only if its owner was killed or stopped.
    fn takes_only_from(&self, robbed: &HashSet<i64>) -> usize {
        let taken = self
            .transitions
            .iter()
            .filter(|step| step.is_claim() && step.old == Some(LEASED));
        taken
            .inspect(|step| {
                let owner = step.old_owner.expect("a leased job has one");
                assert!(
                    robbed.contains(&owner),
                    "supervisor {owner} lived and lost a job: {step:?}"
                );
            })
            .count()
    }

    /// What was settled as run did run, and what was given back had not begun. Attempts that ran
    /// and were not settled belonged to those who were robbed: the next step is a claim.
    fn agrees_with_the_lines(&self) {
        let mut before = Counts::default();
        for step in self.transitions {
            if step.is_settlement() {
                let ran = self.lines.has(&(self.job.uuid, step.fence.unsigned_abs()));
                let must = must_have_run(before, step);
                assert_eq!(
                    must, ran,
                    "{:?}: {step:?} of {:?}",
                    self.job, self.transitions
                );
                before = step.counts;
            }
        }
    }

    /// The right end after the right number of tries; whether it was given up as lost.
    fn ends_as_it_must(&self) -> bool {
        let last = self.transitions.last().expect("looked at before");
        let fate = self.job.kind.fate();
        let Counts {
            errors,
            crashes,
            lost,
            ..
        } = last.counts;
        let about = || format!("{:?} must be {fate:?}: {:?}", self.job, self.transitions);
        if lost >= i64::from(LOST_BUDGET) {
            assert_eq!(last.cause.as_deref(), Some("lost"), "{}", about());
            return true;
        }
        assert_eq!(last.cause.as_deref(), fate.cause, "{}", about());
        let succeeded = last.state == SUCCEEDED;
        assert_eq!(succeeded, fate.cause.is_none(), "{}", about());
        assert_eq!(crashes, i64::from(fate.crashes), "{}", about());
        let expected = fate.errors.map(i64::from);
        assert!(expected.is_none_or(|e| e == errors), "{}", about());
        let rescues = self
            .transitions
            .iter()
            .filter(|step| step.is_claim() && step.old == Some(LEASED));
        // A rescuer may die before it has settled its rescue: that lease is lost in its stead.
        assert!(
            lost <= i64::try_from(rescues.count()).unwrap(),
            "{}",
            about()
        );
        false
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
            assert_eq!(step.state, SUCCEEDED, "ended without a count: {step:?}");
            true
        }
        (1, 0, 0, 0) | (0, 1, 0, 0) => true,
        (0, 0, 1, 0) | (0, 0, 0, 1) => false,
        _ => panic!("one attempt was counted as {counted:?}: {step:?}"),
    }
}
