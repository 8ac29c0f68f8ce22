//! A move that is killed at any moment and repeated until it is done.
//!
//! After every death some of what can be claimed in either store is claimed and run. At the end
//! every job must have run once, in one of the two.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bulkhead_shared::backend::{Backend, Options, open};
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::redis_server::RedisServer;
use rusqlite::Connection;

use crate::parts::{all, known, migration_to, run, submit, succeed, url};

/// The moments between two steps.
const POINTS: [&str; 3] = ["sent-off", "received", "forgotten"];

/// Moves that are begun, and mostly killed, before one is left to come to its end.
const ROUNDS: usize = 24;

fn jobs() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a drill is, only its caller knows"
    )]
    let is_long = std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1");
    if is_long { 100_000 } else { 6_000 }
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Two stores, and what is between them.
struct Storm {
    place: Place,
    to: String,
    /// The store that is not a file, if there is one.
    server: Option<RedisServer>,
    runs: HashMap<Uuid, u32>,
}

/// Jobs that a supervisor of this store could run: by the tables, not by the store's own word.
fn runnable_in_file(path: &Path) -> HashSet<String> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn
        .prepare("SELECT lower(hex(uuid)) FROM job WHERE state < 3")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The same for a server, by its keys.
fn runnable_in(server: &RedisServer) -> HashSet<String> {
    let mut uuids = HashSet::new();
    for queue in ["default", "mail"] {
        for key in ["r:add", "d", "l"] {
            let text = server.text(&format!("ZRANGE {{bulkhead|{queue}}}{key} 0 -1"));
            let places = text.lines().filter_map(|line| line.get(14..46));
            uuids.extend(places.map(ToOwned::to_owned));
        }
    }
    uuids
}

impl Storm {
    fn between_files() -> Self {
        let place = Place::new();
        let to = url(&place, "target.db");
        Self::new(place, to, None)
    }

    fn to_a_server() -> Self {
        let server = RedisServer::start(&[]);
        Self::new(Place::new(), server.url(), Some(server))
    }

    fn from_a_server() -> Self {
        let server = RedisServer::start(&[]);
        let place = Place::with_store(&server.url());
        let to = url(&place, "target.db");
        Self::new(place, to, Some(server))
    }

    fn new(place: Place, to: String, server: Option<RedisServer>) -> Self {
        let runs = HashMap::new();
        Self {
            place,
            to,
            server,
            runs,
        }
    }

    fn migration(&self) -> Command {
        migration_to(&self.place, &self.to)
    }

    /// The files that stores of this storm may have.
    fn files(&self) -> [PathBuf; 2] {
        [self.place.store(), self.place.path("target.db")]
    }

    fn source(&self) -> Backend {
        open(&Options::new(&self.place.url())).unwrap()
    }

    /// The target, if it has been made.
    fn target(&self) -> Option<Backend> {
        let is_there = !self.to.starts_with("sqlite:") || self.place.path("target.db").exists();
        is_there.then(|| open(&Options::new(&self.to)).unwrap())
    }

    /// Runs `migrate` until the fault point kills it, or to its end; whether it was killed.
    fn killed_at(&self, point: &str, n: u64) -> bool {
        let mut command = self.migration();
        command.env("BULKHEAD_TEST_FAULT", format!("{point}:{n}"));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() || output.status.signal() == Some(libc::SIGKILL),
            "{stderr}"
        );
        !output.status.success()
    }

    /// Kills `migrate` from outside after it has said `lines` lines about its progress and one of
    /// the logs was written `writes` times since: in the middle of whatever it does then. Whether
    /// it was.
    fn killed_after(&self, lines: u64, writes: u64) -> bool {
        let mut child = self
            .migration()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        for _ in 0..lines {
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
        }
        // A log that was folded in is written from its start again: its length tells nothing.
        let written = |file: PathBuf| {
            let log = std::fs::metadata(file.with_extension("db-wal"));
            log.and_then(|log| log.modified()).ok()
        };
        let look = || self.files().map(written);
        let (mut seen, mut changes) = (look(), 0);
        while changes < writes && child.try_wait().unwrap().is_none() {
            let now = look();
            changes += u64::from(now != seen);
            seen = now;
        }
        // It may have come to its end already.
        let _ = child.kill();
        child.wait().unwrap().signal() == Some(libc::SIGKILL)
    }

    /// No job can be run in both stores; how many can in one.
    fn no_job_is_in_both(&self) -> usize {
        let mut seen = HashSet::new();
        let files = self.files().into_iter().filter(|file| file.exists());
        let mut stores: Vec<_> = files.map(|file| runnable_in_file(&file)).collect();
        stores.extend(self.server.as_ref().map(runnable_in));
        for uuid in stores.into_iter().flatten() {
            assert!(seen.insert(uuid), "a job could run in both stores");
        }
        seen.len()
    }

    fn run_some(&mut self, store: &Backend, room: usize) {
        for claimed in run(store, room, &succeed()) {
            *self.runs.entry(claimed.receipt.uuid).or_default() += 1;
        }
    }

    /// Moves `jobs` jobs in all weathers; then every job must have run once, in one of the two.
    fn rage(&mut self, jobs: usize) {
        let store = self.source();
        let queue = |n: usize| {
            if n.is_multiple_of(5) {
                "mail"
            } else {
                "default"
            }
        };
        let ready = (0..jobs).map(|n| Message::new("add").arg(n).queue(queue(n)));
        let ready = submit(&store, ready.collect());
        let later = (0..jobs / 20).map(|_| Message::new("add").delay(Duration::from_secs(9999)));
        let later = submit(&store, later.collect());
        self.run_some(&store, jobs / 20);
        drop(store);
        let waiting = ready.len() + later.len() - self.runs.len();
        assert_eq!(self.no_job_is_in_both(), waiting);

        let deaths = self.kill_again_and_again(u64::try_from(jobs / 500).unwrap());
        assert!(deaths > ROUNDS / 2, "only {deaths} deaths: too few jobs");
        let last: Ran = Ran::of(self.migration()).succeeds();
        assert_eq!(last.json()["left"], 0);

        let submitted = [&ready[..], &later[..]].concat();
        let (from, into) = (self.source(), self.target().unwrap());
        assert_eq!((known(&from, &submitted), all(&from)), (0, 0));
        assert_eq!(known(&into, &submitted), submitted.len());
        assert_eq!(all(&into), u64::try_from(submitted.len()).unwrap());
        loop {
            let before = self.runs.len();
            self.run_some(&into, 2000);
            if self.runs.len() == before {
                break;
            }
        }
        let runs = &self.runs;
        assert_eq!(runs.len(), ready.len());
        assert!(runs.values().all(|runs| *runs == 1), "a job ran twice");
        assert!(later.iter().all(|uuid| !runs.contains_key(uuid)));
    }

    /// Begins the move again and again; how often it was killed.
    fn kill_again_and_again(&mut self, pages: u64) -> usize {
        let mut dice = Dice(0x5EED_0F3E);
        let mut deaths = 0;
        for round in 0..ROUNDS {
            let some = 1 + dice.below(pages / 12);
            let was_killed = match POINTS.get(round % 4) {
                Some(point) => self.killed_at(point, some),
                None => self.killed_after(dice.below(pages / 12 + 1), dice.below(6)),
            };
            deaths += usize::from(was_killed);
            self.no_job_is_in_both();
            for store in [Some(self.source()), self.target()].into_iter().flatten() {
                self.run_some(&store, 7);
            }
        }
        // The last step has moments of its own.
        for n in [1, 2] {
            self.killed_at("admitted", n);
            self.no_job_is_in_both();
            let target = self.target().unwrap();
            self.run_some(&target, 7);
        }
        deaths
    }
}

#[test]
fn a_storm_of_kills_loses_nothing_and_doubles_nothing() {
    Storm::between_files().rage(jobs());
}

#[test]
fn the_same_storm_on_the_way_to_a_server() {
    Storm::to_a_server().rage(jobs());
}

#[test]
fn the_same_storm_on_the_way_from_a_server() {
    Storm::from_a_server().rage(jobs());
}
