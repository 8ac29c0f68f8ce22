//! Thousands of jobs of all kinds, and everything fails among them.

use std::time::Duration;

use bulkhead_shared::Uuid;
use bulkhead_shared::time::Now;
use bulkhead_tests::network;
use bulkhead_tests::work::Kind;

use crate::fleet::{Fleet, Ground};

/// Supervisors of the fleet.
const SEATS: usize = 4;

/// Jobs submitted at once, and jobs that may wait before there are more.
const BATCH: usize = 100;
const AHEAD: usize = 1000;

/// Jobs that wait for the end of a cut: more than half of what both hosts can run.
const HELD: usize = 10;

/// What is done to the fleet, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Kill,
    Cut,
    RestartServer,
}

/// How much is done.
#[derive(Debug)]
struct Extent {
    jobs: usize,
    kills: usize,
    restarts: usize,
    lease: &'static str,
    cut: Duration,
    patience: Duration,
}

impl Extent {
    fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks for the long form"
        )]
        let is_long = std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1");
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        if is_long {
            Self {
                jobs: 50_000,
                kills: 20,
                restarts: 2,
                lease: "5s",
                cut: Duration::from_secs(15),
                patience: minutes(30),
            }
        } else {
            Self {
                jobs: 5000,
                kills: 4,
                restarts: 1,
                lease: "2s",
                cut: Duration::from_secs(5),
                patience: minutes(3),
            }
        }
    }

    /// All deeds in an order of chance.
    fn deeds(&self, dice: &mut Dice) -> Vec<Deed> {
        let mut deeds = vec![Deed::Kill; self.kills];
        deeds.push(Deed::Cut);
        deeds.resize(deeds.len() + self.restarts, Deed::RestartServer);
        for index in (1..deeds.len()).rev() {
            deeds.swap(index, dice.below(index + 1));
        }
        deeds
    }
}

/// Chance: splitmix64.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let end = u64::try_from(end).unwrap();
        usize::try_from((bits ^ (bits >> 31)) % end).unwrap()
    }
}

/// The storm as it goes.
#[derive(Debug)]
struct Storm<'a> {
    fleet: Fleet<'a>,
    extent: &'a Extent,
    dice: Dice,
    /// Jobs that run at each kill.
    running: Vec<usize>,
}

impl Storm<'_> {
    /// Goes on until so many jobs have ended; there are always some that wait.
    fn advance(&mut self, endings: usize) {
        let jobs = self.extent.jobs;
        let what = format!("{endings} endings");
        self.fleet.until(&what, self.extent.patience, |fleet| {
            let submitted = fleet.jobs.len();
            if submitted < jobs && submitted < fleet.evidence.endings() + AHEAD {
                let end = jobs.min(submitted + BATCH);
                fleet.submit((submitted..end).map(Kind::nth));
            }
            fleet.evidence.endings() >= endings
        });
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Kill => self.kill(),
            Deed::Cut => self.cut(),
            Deed::RestartServer => self.fleet.restart_server(Duration::ZERO),
        }
    }

    /// Kills any supervisor; what it ran is taken over before, or after, another sits there.
    fn kill(&mut self) {
        let seat = self.dice.below(SEATS);
        let id = &self.fleet.seats[seat].id;
        let leases = self.fleet.evidence.leases().iter();
        let running = leases.filter(|(_, (owner, _))| owner == id).count();
        self.running.push(running);
        self.fleet.kill(seat);
        if self.dice.below(2) == 0 {
            self.fleet.start(seat);
        }
    }

    /// Cuts off a host that runs some jobs, for longer than a lease; what it ran goes on elsewhere
    /// meanwhile.
    fn cut(&mut self) {
        let fleet = &mut self.fleet;
        // Not with the first batch: those before have to go first.
        let held = fleet.submit([Kind::Hold { gate: 0 }; HELD]);
        fleet.until("jobs to run", self.extent.patience, |fleet| {
            held.iter().all(|job| fleet.runner(*job).is_some())
        });
        let at = |fleet: &Fleet<'_>, host| -> Vec<Uuid> {
            let owners = fleet.owners(host);
            let is_there = |job: &Uuid| fleet.runner(*job).is_some_and(|id| owners.contains(id));
            held.iter().copied().filter(is_there).collect()
        };
        let host = usize::from(at(fleet, 1).len() > at(fleet, 0).len());
        let (cut, there) = (fleet.owners(host), at(fleet, host));
        let since = Now::read().mono;
        fleet.cut(host);
        let patience = self.extent.patience;
        fleet.until("other supervisors to take over", patience, |fleet| {
            there.iter().all(|job| {
                let lease = fleet.evidence.leases().get(job);
                lease.is_none_or(|(owner, _)| !cut.contains(owner))
            })
        });
        fleet.until("the end of the cut", patience, |_| {
            Now::read().mono - since >= self.extent.cut
        });
        fleet.mend(host);
        fleet.open_gate(0);
        fleet.until_they_are_back(cut);
    }
}

#[test]
fn every_job_ends_once_whatever_fails_in_a_fleet() {
    if !network::can_be_made() {
        return;
    }
    let extent = Extent::read();
    let start = Now::read();
    let seed = start.wall.as_millis();
    let mut dice = Dice(seed);
    let deeds = extent.deeds(&mut dice);
    #[expect(
        clippy::print_stderr,
        reason = "what a failed test is to be repeated with"
    )]
    {
        eprintln!("seed {seed}: {deeds:?}");
    }
    let ground = Ground::new();
    let mut storm = Storm {
        fleet: Fleet::new(&ground, SEATS, extent.lease),
        extent: &extent,
        dice,
        running: Vec::new(),
    };
    let share = extent.jobs / (deeds.len() + 1);
    for (number, deed) in deeds.into_iter().enumerate() {
        storm.advance((number + 1) * share);
        for seat in storm.fleet.vacant() {
            storm.fleet.start(seat);
        }
        storm.perform(deed);
    }
    for seat in storm.fleet.vacant() {
        storm.fleet.start(seat);
    }
    storm.advance(extent.jobs);
    let (fleet, patience) = (&mut storm.fleet, extent.patience);
    fleet.until("an ending for every job", patience, |fleet| {
        fleet.evidence.endings() == fleet.jobs.len()
    });
    fleet.stop();
    let figures = fleet.judge();
    let seconds = (Now::read().mono - start.mono).as_secs_f32();
    let running = &storm.running;
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        eprintln!("{figures}, leased at each kill {running:?}, {seconds:.1} s");
    }
    assert_eq!(figures.overlap.refused, 0, "{figures}");
}
