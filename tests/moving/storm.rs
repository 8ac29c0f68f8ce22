//! A move that is killed at any moment and repeated until it is done.
//!
//! After every death some of what can be claimed in either store is claimed and run. At the end
//! every job must have run once, in one of the two.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use bulkhead_shared::backend::Backend;
use bulkhead_shared::catalog::Filter;
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::cli::{Place, Ran};
use rusqlite::Connection;

use crate::parts::{migrate, migration, run, source, submit, succeed, target};

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

/// Runs `migrate` until the fault point kills it, or to its end; whether it was killed.
fn killed_at(place: &Place, point: &str, n: u64) -> bool {
    let mut command = migration(place);
    command.env("BULKHEAD_TEST_FAULT", format!("{point}:{n}"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || output.status.signal() == Some(libc::SIGKILL),
        "{stderr}"
    );
    !output.status.success()
}

/// Kills `migrate` from outside after it has said `lines` lines about its progress and one of the
/// logs has grown `writes` times since: in the middle of whatever it does then. Whether it was.
fn killed_after(place: &Place, lines: u64, writes: u64) -> bool {
    let mut command = migration(place);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    for _ in 0..lines {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
    }
    let length = |name: &str| std::fs::metadata(place.path(name)).map_or(0, |log| log.len());
    let lengths = || [length("store.db-wal"), length("target.db-wal")];
    let (mut seen, mut changes) = (lengths(), 0);
    while changes < writes && child.try_wait().unwrap().is_none() {
        let now = lengths();
        changes += u64::from(now != seen);
        seen = now;
    }
    // It may have come to its end already.
    let _ = child.kill();
    child.wait().unwrap().signal() == Some(libc::SIGKILL)
}

/// Jobs that a supervisor of this store could run: by the tables, not by the store's own word.
fn runnable(path: &std::path::Path) -> Vec<[u8; 16]> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn
        .prepare("SELECT uuid FROM job WHERE state < 3")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn no_job_is_in_both(place: &Place) {
    let path = place.path("target.db");
    if !path.exists() {
        return;
    }
    let _made = target(place);
    let here: std::collections::HashSet<_> = runnable(&place.store()).into_iter().collect();
    let both = runnable(&path)
        .iter()
        .filter(|uuid| here.contains(*uuid))
        .count();
    assert_eq!(both, 0);
}

fn run_some(store: &Backend, room: usize, runs: &mut HashMap<Uuid, u32>) {
    for claimed in run(store, room, &succeed()) {
        *runs.entry(claimed.receipt.uuid).or_default() += 1;
    }
}

#[test]
fn a_storm_of_kills_loses_nothing_and_doubles_nothing() {
    let place = Place::new();
    let jobs = jobs();
    let store = source(&place);
    let ready: Vec<_> = (0..jobs)
        .map(|n| {
            Message::new("add")
                .arg(n)
                .queue(if n % 5 == 0 { "mail" } else { "default" })
        })
        .collect();
    let ready = submit(&store, ready);
    let later = (0..jobs / 20).map(|_| Message::new("add").delay(Duration::from_secs(9999)));
    let later = submit(&store, later.collect());
    let mut runs = HashMap::new();
    run_some(&store, jobs / 20, &mut runs);
    drop(store);

    let pages = u64::try_from(jobs / 500).unwrap();
    let mut dice = Dice(0x5EED_0F3E);
    let mut deaths = 0;
    for round in 0..ROUNDS {
        let some = 1 + dice.below(pages / 12);
        let was_killed = match POINTS.get(round % 4) {
            Some(point) => killed_at(&place, point, some),
            None => killed_after(&place, dice.below(pages / 12 + 1), dice.below(6)),
        };
        deaths += usize::from(was_killed);
        no_job_is_in_both(&place);
        run_some(&source(&place), 7, &mut runs);
        if place.path("target.db").exists() {
            run_some(&target(&place), 7, &mut runs);
        }
    }
    // The last step has moments of its own.
    for n in [1, 2] {
        killed_at(&place, "admitted", n);
        no_job_is_in_both(&place);
        run_some(&target(&place), 7, &mut runs);
    }
    assert!(deaths > ROUNDS / 2, "only {deaths} deaths: too few jobs");
    let last: Ran = migrate(&place).succeeds();
    assert_eq!(last.json()["left"], 0);

    let (from, into) = (source(&place), target(&place));
    let all = ready.len() + later.len();
    assert_eq!(
        from.catalog
            .list(&Filter::default(), 2 * all)
            .unwrap()
            .len(),
        0
    );
    let mut found: Vec<_> = into
        .catalog
        .list(&Filter::default(), 2 * all)
        .unwrap()
        .into_iter()
        .map(|row| row.uuid)
        .collect();
    found.sort();
    let mut expected = [&ready[..], &later[..]].concat();
    expected.sort();
    assert!(found == expected, "{} jobs of {all}", found.len());
    loop {
        let before = runs.len();
        run_some(&into, 2000, &mut runs);
        if runs.len() == before {
            break;
        }
    }
    assert_eq!(runs.len(), ready.len());
    assert!(runs.values().all(|runs| *runs == 1), "a job ran twice");
    assert!(later.iter().all(|uuid| !runs.contains_key(uuid)));
}
