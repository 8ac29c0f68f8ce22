//! Hosts, a server, supervisors, jobs, and what is known of them.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_shared::client::Client;
use bulkhead_shared::fault;
use bulkhead_shared::flow::Flow;
use bulkhead_shared::redis::evidence as kept;
use bulkhead_shared::time::Now;
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::cli::Place;
use bulkhead_tests::flow::Planned;
use bulkhead_tests::network::Network;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::work::{self, Job, Kind};
use bulkhead_tests::{cgroups_of_run, until};
use redis::Connection;

use crate::attempts::Attempts;
use crate::evidence::{Evidence, QUEUES};
use crate::laws;
use crate::server::{self, Server};

/// Slots of each supervisor.
pub(crate) const PROCESSES: &str = "4";

/// What there is before anything runs.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) network: Network,
    /// One for each host: what a host's supervisors have on its disk.
    places: Vec<Place>,
    /// What all hosts share, and the server's disk.
    common: Place,
}

impl Ground {
    /// Two hosts.
    pub(crate) fn new() -> Self {
        // Before anything is sent: producers are part of the evidence too.
        kept::keep();
        let common = Place::new();
        // Lets the users of tasks pass on their way to the register.
        let _ = common.temporary();
        let hosts = 2;
        Self {
            network: Network::new(hosts),
            places: (0..hosts)
                .map(|host| Place::with_store(&server::url(host)))
                .collect(),
            common,
        }
    }
}

/// A place for one supervisor after another, on one host.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) host: usize,
    /// Its name in the store and of its directory.
    pub(crate) id: String,
    supervisor: Option<Supervisor<'a>>,
}

/// Supervisors on all hosts.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    ground: &'a Ground,
    lease: &'a str,
    pub(crate) seats: Vec<Seat<'a>>,
    server: Server,
    connection: Option<Watch>,
    client: Client,
    pub(crate) evidence: Evidence,
    pub(crate) attempts: Attempts,
    pub(crate) jobs: Vec<Job>,
    /// Names of all runs there were.
    runs: HashSet<String>,
}

/// The connection that reads the evidence.
struct Watch(Connection);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl<'a> Fleet<'a> {
    /// A server and `seats` supervisors, spread over the hosts.
    pub(crate) fn new(ground: &'a Ground, seats: usize, lease: &'a str) -> Self {
        let directory = ground.common.path("server");
        fs::create_dir(&directory).unwrap();
        let server = Server::start(ground.network.middle.share(), directory);
        let client = Client::open(&server.url()).unwrap();
        let mut fleet = Self {
            ground,
            lease,
            seats: Vec::new(),
            server,
            connection: None,
            client,
            evidence: Evidence::default(),
            attempts: Attempts::create(ground.common.path("lines")),
            jobs: Vec::new(),
            runs: HashSet::new(),
        };
        for seat in 0..seats {
            fleet.join(seat % ground.places.len());
        }
        fleet
    }

    /// Starts one more supervisor, on this host.
    pub(crate) fn join(&mut self, host: usize) {
        self.seats.push(Seat {
            host,
            id: String::new(),
            supervisor: None,
        });
        self.start(self.seats.len() - 1);
    }

    /// Starts a supervisor at this seat and waits until its directory is there.
    pub(crate) fn start(&mut self, seat: usize) {
        self.start_with(seat, "");
    }

    /// Starts a supervisor that kills itself at `fault`.
    pub(crate) fn start_with(&mut self, seat: usize, fault: &str) {
        let host = self.seats[seat].host;
        let place = &self.ground.places[host];
        let lease = self.lease;
        let mut supervisor = self.ground.network.hosts[host].within(|| {
            Supervisor::at(place)
                .tasks_of("chaos-child")
                .args(["--processes", PROCESSES, "--lease", lease])
                .args(["--patience", "100ms", "--log-level", "warn"])
                .args(["--queues", &QUEUES.join(",")])
                .env(kept::VARIABLE, "1")
                .env(fault::VARIABLE, fault)
                .start()
        });
        let id = supervisor.wait_for("its directory", |_| {
            let new = runs_at(place).into_iter();
            new.into_iter().find(|run| !self.runs.contains(run))
        });
        self.runs.insert(id.clone());
        let seat = &mut self.seats[seat];
        (seat.id, seat.supervisor) = (id, Some(supervisor));
    }

    /// SIGKILL to the supervisor at this seat; what it had started ends with it, before anybody
    /// clears up.
    pub(crate) fn kill(&mut self, seat: usize) {
        let supervisor = self.seats[seat].supervisor.take();
        let mut supervisor = supervisor.expect("somebody sits there");
        supervisor.kill();
        supervisor.leaves_nothing();
    }

    /// The supervisor at this seat.
    pub(crate) fn supervisor(&mut self, seat: usize) -> &mut Supervisor<'a> {
        let supervisor = self.seats[seat].supervisor.as_mut();
        supervisor.expect("somebody sits there")
    }

    /// Seats that nobody sits on.
    pub(crate) fn vacant(&self) -> Vec<usize> {
        let vacant = |seat: &usize| self.seats[*seat].supervisor.is_none();
        (0..self.seats.len()).filter(vacant).collect()
    }

    /// The supervisors of a host.
    pub(crate) fn owners(&self, host: usize) -> HashSet<String> {
        let seats = self.seats.iter().filter(|seat| seat.host == host);
        let seats = seats.filter(|seat| seat.supervisor.is_some());
        seats.map(|seat| seat.id.clone()).collect()
    }

    /// Cuts a host off.
    pub(crate) fn cut(&self, host: usize) {
        self.ground.network.cut(host);
    }

    /// Ends the cut.
    pub(crate) fn mend(&self, host: usize) {
        self.ground.network.mend(host);
    }

    /// SIGKILL to the server, and after `pause` a start from its file.
    pub(crate) fn restart_server(&mut self, pause: Duration) {
        self.server.kill();
        let since = Now::read().mono;
        until("the end of the pause", PATIENCE, || {
            (Now::read().mono - since >= pause).then_some(())
        });
        self.server.start_again();
    }

    /// Submits jobs in this order, and insists until they are accepted.
    pub(crate) fn submit(&mut self, kinds: impl IntoIterator<Item = Kind>) -> Vec<Uuid> {
        let kinds: Vec<Kind> = kinds.into_iter().collect();
        let lines = self.attempts.path();
        let places = u64::try_from(self.jobs.len()).unwrap()..;
        let messages: Vec<Message> = kinds
            .iter()
            .zip(places)
            .map(|(kind, place)| work::message(*kind, lines, Some(place)))
            .collect();
        let client = &self.client;
        until("the store to accept jobs", PATIENCE, || {
            client.submit_many(&messages).ok()
        });
        let uuids: Vec<Uuid> = messages.iter().map(|message| message.uuid).collect();
        let jobs = uuids.iter().zip(kinds);
        self.jobs
            .extend(jobs.map(|(&uuid, kind)| Job { uuid, kind }));
        uuids
    }

    /// Submits flows, and insists until they are accepted.
    pub(crate) fn submit_flows(&mut self, flows: &[Planned]) {
        let client = &self.client;
        let built: Vec<Flow> = flows.iter().map(|one| one.flow.clone()).collect();
        until("the store to accept flows", PATIENCE, || {
            client.submit_flows(&built).ok()
        });
        self.jobs.extend(flows.iter().flat_map(|one| &one.jobs));
    }

    /// Groups and errands that are not done.
    pub(crate) fn flows_left(&self) -> (u64, u64) {
        let flows = self.client.backend().catalog.flows();
        // Asked again where the server is away.
        flows.map_or((u64::MAX, u64::MAX), |flows| (flows.groups, flows.errands))
    }

    /// Looks at what the joins of these flows were given.
    pub(crate) fn check_joins(&self, flows: &[Planned]) {
        flows.iter().for_each(|one| one.check_join(&self.client));
    }

    /// Reads what is new in both logs.
    pub(crate) fn refresh(&mut self) {
        let mut connection = self.connection.take().map(|watch| watch.0);
        self.evidence.refresh(&self.server, &mut connection);
        self.connection = connection.map(Watch);
        self.attempts.refresh();
    }

    /// Waits until `is_so` of what is known.
    pub(crate) fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) {
        until(what, within, || {
            self.refresh();
            is_so(self).then_some(())
        });
    }

    /// The owner of a job that runs, in the attempt that the store knows.
    pub(crate) fn runner(&self, job: Uuid) -> Option<&str> {
        let (owner, fence) = self.evidence.leases().get(&job)?;
        let has_begun = self.attempts.has_begun(&(job, *fence));
        has_begun.then_some(owner.as_str())
    }

    /// Waits until each of these supervisors has begun something that it claimed from now on, as
    /// they do that are back by themselves. There is something for them as long as they are waited
    /// for.
    pub(crate) fn until_they_are_back(&mut self, mut owners: HashSet<String>) {
        let since = Now::read().mono;
        let known = self.evidence.all().len();
        self.until("supervisors to be back", PATIENCE, |fleet| {
            for step in &fleet.evidence.all()[known..] {
                let attempt = (step.uuid, step.new.fence);
                if let Some(owner) = &step.new.owner
                    && fleet.attempts.has_begun(&attempt)
                {
                    owners.remove(owner);
                }
            }
            if fleet.evidence.endings() + 40 > fleet.jobs.len() {
                fleet.submit([Kind::Nap { ms: 20 }; 40]);
            }
            owners.is_empty()
        });
        let after = Now::read().mono - since;
        #[expect(clippy::print_stderr, reason = "figures for people")]
        {
            eprintln!("supervisors are back after {after:.1?}");
        }
    }

    /// Lets the jobs that wait for it go on.
    pub(crate) fn open_gate(&self, number: usize) {
        fs::write(work::gate(&self.ground.common.path(""), number), "").unwrap();
    }

    /// Ends all supervisors of their own accord.
    pub(crate) fn stop(&mut self) {
        let supervisors = self.seats.iter_mut().filter_map(|seat| {
            let mut supervisor = seat.supervisor.take()?;
            // One that has just begun does not listen to signals yet.
            until("a supervisor to listen", PATIENCE, || {
                (supervisor.log().contains("store: ") || !supervisor.is_alive()).then_some(())
            });
            supervisor.term();
            Some(supervisor)
        });
        // All at once: a host's last one clears up after the others.
        let supervisors: Vec<_> = supervisors.collect();
        for mut supervisor in supervisors {
            assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
        }
    }

    /// Holds everything against everything, once all jobs have ended and all supervisors too.
    pub(crate) fn judge(&mut self) -> laws::Figures {
        self.refresh();
        for place in &self.ground.places {
            assert_eq!(runs_at(place), [""; 0], "runs left behind");
        }
        for run in &self.runs {
            let left = cgroups_of_run(run);
            assert!(left.is_empty(), "left behind: {left:?}");
        }
        laws::hold(&self.jobs, &self.evidence, &self.attempts)
    }
}

/// The runs that have a directory at this place now.
fn runs_at(place: &Place) -> Vec<String> {
    let me = nix::unistd::geteuid();
    let base: PathBuf = place.temporary().join(format!("bulkhead-{me}"));
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    directories
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}
