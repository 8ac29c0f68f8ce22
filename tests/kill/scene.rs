//! A store under witness, its jobs, and the supervisors that were there.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::client::Client;
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::work::{self, Job, Kind};
use bulkhead_tests::{cgroups_of_run, until};

use crate::evidence::{Lines, Witness};
use crate::laws;

/// Longer than any test: only the lock on the start-file can give a dead supervisor's jobs away.
pub(crate) const LONG_LEASE: &str = "10m";

/// A store with triggers.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) place: &'a Place,
    pub(crate) witness: Witness,
    pub(crate) lines: Lines,
    pub(crate) jobs: Vec<Job>,
    /// Owners whose leases others may take: they were killed, or stopped for too long.
    pub(crate) robbed: HashSet<i64>,
    /// Names of all runs there were, as their directories have them.
    runs: HashSet<String>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        // Lets the users of tasks pass on their way to the lines.
        let _ = place.temporary();
        drop(Client::open(&place.url()).unwrap());
        let witness = Witness::install(&place.store());
        let lines = Lines::create(place.path("lines"));
        Self {
            place,
            witness,
            lines,
            jobs: Vec::new(),
            robbed: HashSet::new(),
            runs: HashSet::new(),
        }
    }

    /// Submits jobs in this order.
    pub(crate) fn submit(&mut self, kinds: impl IntoIterator<Item = Kind>) -> Vec<Uuid> {
        let kinds: Vec<Kind> = kinds.into_iter().collect();
        let message = |kind: &Kind| work::message(*kind, self.lines.path(), None);
        let messages: Vec<Message> = kinds.iter().map(message).collect();
        let client = Client::open(&self.place.url()).unwrap();
        client.submit_many(&messages).unwrap();
        let uuids: Vec<Uuid> = messages.iter().map(|message| message.uuid).collect();
        let jobs = uuids.iter().zip(kinds);
        self.jobs
            .extend(jobs.map(|(&uuid, kind)| Job { uuid, kind }));
        uuids
    }

    /// Starts a supervisor; `fault` is armed, if it is not empty.
    pub(crate) fn start(&self, processes: u16, lease: &str, fault: &str) -> Supervisor<'a> {
        self.start_with(processes, lease, ("BULKHEAD_TEST_FAULT", fault))
    }

    /// Starts a supervisor with one variable more in its environment.
    pub(crate) fn start_with(
        &self,
        processes: u16,
        lease: &str,
        (name, value): (&str, &str),
    ) -> Supervisor<'a> {
        let processes = processes.to_string();
        let arguments = ["--processes", &processes, "--lease", lease];
        let quiet = ["--patience", "100ms", "--log-level", "warn"];
        Supervisor::at(self.place)
            .tasks_of("chaos-child")
            .args(arguments)
            .args(quiet)
            .env(name, value)
            .start()
    }

    /// Lets the jobs that wait for it go on.
    pub(crate) fn open_gate(&self, number: usize) {
        let directory = self.place.path("");
        std::fs::write(work::gate(&directory, number), "").unwrap();
    }

    /// Jobs that run now: leased by somebody who was not killed, with the line of just that
    /// attempt in the file.
    pub(crate) fn running(&mut self) -> HashSet<Uuid> {
        let leases = self.witness.leases();
        self.lines.refresh();
        let runs = leases.into_iter().filter(|(uuid, fence, owner)| {
            !self.robbed.contains(owner) && self.lines.has(&(*uuid, *fence))
        });
        runs.map(|(uuid, ..)| uuid).collect()
    }

    /// Waits until all of these run at the same time.
    pub(crate) fn wait_until_running(&mut self, jobs: &[Uuid], within: Duration) {
        let what = format!("{} jobs to run", jobs.len());
        until(&what, within, || {
            let running = self.running();
            jobs.iter().all(|job| running.contains(job)).then_some(())
        });
    }

    /// Waits until every job has an ending.
    pub(crate) fn wait_for_endings(&self, within: Duration) {
        let all = i64::try_from(self.jobs.len()).unwrap();
        until("an ending for every job", within, || {
            (self.witness.endings() >= all).then_some(())
        });
    }

    /// Remembers that the newest supervisor was killed; how many jobs it ran. It must be dead.
    pub(crate) fn bury(&mut self) -> usize {
        let running = self.running().len();
        self.robbed.insert(self.witness.newest_owner());
        self.note_runs();
        running
    }

    /// The directory in which every run of a supervisor has its own.
    fn base(&self) -> PathBuf {
        let me = nix::unistd::geteuid();
        self.place.temporary().join(format!("bulkhead-{me}"))
    }

    fn present_runs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.base()).into_iter().flatten();
        let directories = entries.map(Result::unwrap).filter(|e| e.path().is_dir());
        directories
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }

    /// Remembers the runs that have a directory now.
    pub(crate) fn note_runs(&mut self) {
        self.runs.extend(self.present_runs());
    }

    /// Holds everything against everything, once all jobs have ended and all supervisors too, the
    /// last one of its own accord.
    pub(crate) fn judge(&mut self) -> laws::Figures {
        self.lines.refresh();
        assert_eq!(self.present_runs(), [""; 0], "runs left behind");
        for run in &self.runs {
            let left = cgroups_of_run(run);
            assert!(left.is_empty(), "left behind: {left:?}");
        }
        assert_eq!(self.witness.leases(), []);
        assert_eq!(self.witness.integrity(), "ok");
        laws::hold(&self.jobs, &self.witness, &self.lines, &self.robbed)
    }

    /// A supervisor clears up after all dead ones and ends when nothing is left to do.
    pub(crate) fn finish(&mut self) -> laws::Figures {
        let mut last = Supervisor::at(self.place)
            .tasks_of("chaos-child")
            .args(["--burst", "--log-level", "warn"])
            .start();
        assert_eq!(last.code(), 0, "{}", last.log());
        last.leaves_nothing();
        drop(last);
        self.judge()
    }
}

/// Waits until a supervisor has died, of a fault that was injected.
pub(crate) fn wait_for_death(supervisor: &mut Supervisor<'_>) {
    until("the supervisor's death by a fault", PATIENCE, || {
        (!supervisor.is_alive()).then_some(())
    });
}
