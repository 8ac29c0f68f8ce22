//! What must be true of both logs.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bulkhead_shared::Uuid;
use bulkhead_tests::work::Job;

use crate::attempts::{Attempt, Attempts};
use crate::evidence::{Evidence, Transition};
use crate::overlap;
use crate::story::Story;

/// What was found, for people.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    jobs: usize,
    transitions: usize,
    attempts: usize,
    writes: usize,
    /// Leases that others took when they had ended.
    lost: usize,
    /// Leases given back before anything had begun.
    released: u64,
    /// Jobs that were given up because they were lost too often.
    given_up: usize,
    pub(crate) overlap: overlap::Overlap,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            jobs,
            transitions,
            attempts,
            writes,
            lost,
            released,
            given_up,
            overlap,
        } = self;
        write!(
            f,
            "{jobs} jobs, {transitions} transitions, {attempts} attempts, {writes} writes, \
             {lost} leases lost and {released} released, {given_up} jobs given up, \
             {} writes refused, the last {:.3} s late",
            overlap.refused, overlap.longest
        )
    }
}

/// Checks all laws.
pub(crate) fn hold(jobs: &[Job], evidence: &Evidence, attempts: &Attempts) -> Figures {
    let transitions = evidence.all();
    let mut figures = Figures {
        jobs: jobs.len(),
        transitions: transitions.len(),
        writes: attempts.writes.len(),
        overlap: overlap::measure(&attempts.writes),
        ..Figures::default()
    };
    let mut stories: HashMap<Uuid, Vec<&Transition>> = HashMap::new();
    for transition in transitions {
        stories.entry(transition.uuid).or_default().push(transition);
    }
    assert_eq!(stories.len(), jobs.len(), "jobs that nobody submitted");
    let mut claims = HashSet::new();
    for job in jobs {
        let story = Story {
            job,
            transitions: stories.get(&job.uuid).map_or(&[], Vec::as_slice),
            attempts,
        };
        story.is_in_order();
        figures.lost += story.takes_only_what_is_over();
        story.agrees_with_the_attempts();
        figures.given_up += usize::from(story.ends_as_it_must());
        let last = story.transitions.last().expect("it has ended");
        figures.released += last.counts.released;
        let claimed = story.transitions.iter().filter(|step| step.is_claim());
        claims.extend(claimed.map(|claim| (job.uuid, claim.new.fence)));
    }
    assert_eq!(evidence.leases().len(), 0, "leases that nobody holds");
    figures.attempts = every_attempt_has_a_claim(attempts, &claims);
    figures
}

/// An attempt runs only under a lease that the store gave; how many there were.
fn every_attempt_has_a_claim(attempts: &Attempts, claims: &HashSet<Attempt>) -> usize {
    let begun = attempts.writes.iter().filter(|write| write.is_begin);
    begun
        .inspect(|write| {
            let attempt = write.attempt;
            assert!(claims.contains(&attempt), "{attempt:?} ran without a claim");
        })
        .count()
}
