//! What these tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkhead_shared::backend::{self, Backend, Options};
use bulkhead_shared::catalog::{Filter, JobRow, State};
use bulkhead_shared::schedule::Body;
use bulkhead_shared::{ScheduleName, Timestamp};
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::Value;

/// A clock that this test turns.
pub(crate) struct Clock(pub PathBuf);

impl Clock {
    pub(crate) fn new(place: &Place, ms: i64) -> Self {
        Self(place.file("clock", &ms.to_string()))
    }

    /// Turned so that it shows `time` now; how far.
    pub(crate) fn at(place: &Place, time: Timestamp) -> (Self, i64) {
        let ms = i64::try_from(time.as_millis()).unwrap()
            - i64::try_from(Timestamp::now().as_millis()).unwrap();
        (Self::new(place, ms), ms)
    }

    /// Replaced at once: nobody reads half of it.
    pub(crate) fn turn(&self, ms: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, ms.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

pub(crate) fn start<'a>(place: &'a Place, clock: Option<&Clock>) -> Supervisor<'a> {
    let builder =
        Supervisor::at(place)
            .tasks_of("ticking-child")
            .args(["--processes", "2", "--lease", "2s"]);
    match clock {
        Some(clock) => builder.env("BULKHEAD_TEST_CLOCK", clock.text()).start(),
        None => builder.start(),
    }
}

/// A command whose clock is turned.
pub(crate) fn run(place: &Place, clock: &Clock, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    command.env("BULKHEAD_TEST_CLOCK", clock.text());
    Ran::of(command)
}

pub(crate) fn store(place: &Place) -> Backend {
    backend::open(&Options::new(&place.url())).unwrap()
}

/// On a SQLite file and on a Redis server.
pub(crate) fn on_both(test: impl Fn(&Place)) {
    test(&Place::new());
    let server = RedisServer::start(&[]);
    test(&Place::with_store(&server.url()));
}

pub(crate) fn body(store: &Backend, name: &str) -> Option<Body> {
    let name = ScheduleName::new(name).unwrap();
    let row = store.schedules.find(&name).unwrap();
    row.map(|row| Body::read(&row).unwrap())
}

/// The jobs of a schedule by their firings.
///
/// # Panics
/// If a firing has two jobs.
pub(crate) fn fired(store: &Backend, name: &str) -> BTreeMap<Timestamp, JobRow> {
    let mut found = BTreeMap::new();
    for job in store.catalog.list(&Filter::default(), 100_000).unwrap() {
        let header: Value = serde_json::from_slice(&job.header).unwrap();
        let metadata = &header["metadata"];
        if metadata["schedule"] == name {
            let at = Timestamp::parse(metadata["firing"].as_str().unwrap()).unwrap();
            let twice = found.insert(at, job);
            assert!(twice.is_none(), "{at} was fired twice");
        }
    }
    found
}

/// Waits until all firings up to `time` are decided and their jobs have succeeded.
pub(crate) fn settled(store: &Backend, name: &str, time: Timestamp) -> Vec<Timestamp> {
    until(&format!("firings of {name} up to {time}"), PATIENCE, || {
        let body = body(store, name)?;
        if body.standing.decided < time {
            return None;
        }
        let fired = fired(store, name);
        let is_done = |job: &JobRow| job.state == State::Succeeded;
        let mut before = fired.range(..=time);
        before.all(|(_, job)| is_done(job)).then(|| {
            let before = fired.range(..=time);
            before.map(|(at, _)| *at).collect()
        })
    })
}
