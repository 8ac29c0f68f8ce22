//! What supervisors and clients wait with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::address::Address;
use super::call::Call;
use super::door::Door;
use super::ear::{Ear, Listener, NAME};
use super::lines::Lines;
use super::record::name;
use super::store::{Store, all_queues};
use crate::broker::{Bell, BrokerError, Heed, Interrupt, Selection, SupervisorId, Wake};
use crate::name::{LockName, StreamName};
use crate::time::Now;
use crate::wake::wait;

/// For so long queues remember that somebody waits for their jobs, ...
const REMEMBERED: Duration = Duration::from_secs(30);

/// ... and so often they are reminded.
const REMIND_EVERY: Duration = Duration::from_secs(10);

/// Waits for work and for revocations.
#[derive(Debug)]
struct WorkBell {
    bell: Arc<Interrupt>,
    doors: Vec<Door>,
    own: Arc<Listener>,
    _ear: Ear,
}

/// Waits for jobs to change.
#[derive(Debug)]
struct JobsBell {
    bell: Arc<Interrupt>,
    listener: Arc<Listener>,
    /// Shared by all that wait in this store.
    _ear: Arc<Ear>,
    lines: Arc<Lines>,
    namespace: String,
    reminded: Instant,
}

/// Waits for one of some names to be published: of locks, or of streams.
#[derive(Debug)]
struct NameBell {
    bell: Arc<Interrupt>,
    listener: Arc<Listener>,
    /// Shared by all that wait in this store.
    _ear: Arc<Ear>,
}

/// A bell for a supervisor.
pub(super) fn for_work(
    store: &Store,
    owner: SupervisorId,
    selection: &Selection,
) -> Result<Box<dyn Bell>, BrokerError> {
    let lines = &store.lines;
    let bell = Arc::new(Interrupt::new().map_err(away)?);
    let channel = format!("{}own:{}", store.common_tag(), name(owner.0));
    let ear = Ear::open(&lines.address, &lines.place, channel)?;
    let own = Listener::new(None, Arc::clone(&bell));
    ear.add(&own);
    let keys = |queue| {
        let tag = store.tag(queue);
        let tasks = selection.tasks.iter();
        tasks
            .map(|task| format!("{tag}b:{task}"))
            .collect::<Vec<_>>()
    };
    let mut waits: Vec<Vec<String>> = selection.queues.iter().map(keys).collect();
    if !matches!(lines.address, Address::Cluster(_)) {
        // One slot is as good as another, so one wait does for all.
        waits = vec![waits.concat()];
    }
    waits.retain(|keys| !keys.is_empty());
    let door = |keys| Door::open(lines.address.clone(), &lines.place, keys, Arc::clone(&bell));
    let doors = waits.into_iter().map(door).collect::<Result<_, _>>()?;
    Ok(Box::new(WorkBell {
        bell,
        doors,
        own,
        _ear: ear,
    }))
}

/// A bell for a client.
pub(super) fn for_jobs(store: &Store, uuids: &[Uuid]) -> Result<Box<dyn Bell>, BrokerError> {
    let lines = &store.lines;
    let bell = Arc::new(Interrupt::new().map_err(away)?);
    let wanted: HashSet<_> = uuids.iter().map(|uuid| name(*uuid).into_bytes()).collect();
    let listener = Listener::new(Some(wanted), Arc::clone(&bell));
    let mut ear = store.ear();
    let open = match &*ear {
        Some(open) => Arc::clone(open),
        None => {
            let channel = format!("{}jobs", store.common_tag());
            Arc::new(Ear::open(&lines.address, &lines.place, channel)?)
        }
    };
    open.add(&listener);
    *ear = Some(Arc::clone(&open));
    drop(ear);
    let bell = JobsBell {
        bell,
        listener,
        _ear: open,
        lines: Arc::clone(lines),
        namespace: store.namespace.to_string(),
        reminded: Now::read().mono,
    };
    bell.remind()?;
    Ok(Box::new(bell))
}

/// What is published for a name: 32 digits, as listeners hear by.
pub(super) fn rung(name: &str) -> String {
    redis::Script::new(name).get_hash()[..NAME].into()
}

/// A bell for one who waits for a lock.
pub(super) fn for_lock(store: &Store, lock: &LockName) -> Result<Box<dyn Bell>, BrokerError> {
    for_names(
        store,
        &store.free,
        "free",
        &mut std::iter::once(lock.as_str()),
    )
}

/// A bell for one who serves processors of these streams.
pub(super) fn for_streams(
    store: &Store,
    streams: &[StreamName],
) -> Result<Box<dyn Bell>, BrokerError> {
    let mut names = streams.iter().map(StreamName::as_str);
    for_names(store, &store.flowing, "streams", &mut names)
}

fn for_names(
    store: &Store,
    ear: &Mutex<Option<Arc<Ear>>>,
    channel: &str,
    names: &mut dyn Iterator<Item = &str>,
) -> Result<Box<dyn Bell>, BrokerError> {
    let lines = &store.lines;
    let bell = Arc::new(Interrupt::new().map_err(away)?);
    let wanted: HashSet<_> = names.map(|name| rung(name).into_bytes()).collect();
    let listener = Listener::new(Some(wanted), Arc::clone(&bell));
    let mut ear = ear.lock().unwrap_or_else(PoisonError::into_inner);
    let open = match &*ear {
        Some(open) => Arc::clone(open),
        None => {
            let channel = format!("{}{channel}", store.common_tag());
            Arc::new(Ear::open(&lines.address, &lines.place, channel)?)
        }
    };
    open.add(&listener);
    *ear = Some(Arc::clone(&open));
    Ok(Box::new(NameBell {
        bell,
        listener,
        _ear: open,
    }))
}

impl Bell for NameBell {
    fn wait(
        &mut self,
        _: Heed,
        interrupt: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        let has_rung = || Ok(self.listener.has_heard());
        until(&self.bell, has_rung, interrupt, at_most)
    }
}

impl Bell for WorkBell {
    fn wait(
        &mut self,
        heed: Heed,
        interrupt: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        for door in &self.doors {
            match heed {
                Heed::Everything => door.want(),
                Heed::Revocations => door.refuse(),
            }
        }
        let has_rung = || {
            let mut has_rung = self.own.has_heard();
            for door in &self.doors {
                has_rung |= door.has_rung()?;
            }
            Ok(has_rung)
        };
        until(&self.bell, has_rung, interrupt, at_most)
    }
}

impl Bell for JobsBell {
    fn wait(
        &mut self,
        _: Heed,
        interrupt: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        let now = Now::read().mono;
        if now.saturating_duration_since(self.reminded) > REMIND_EVERY {
            self.remind()?;
            self.reminded = now;
        }
        let has_rung = || Ok(self.listener.has_heard());
        until(&self.bell, has_rung, interrupt, at_most)
    }
}

impl JobsBell {
    /// Tells all queues that somebody waits: nothing is published to nobody.
    fn remind(&self) -> Result<(), BrokerError> {
        let of_namespace = format!("{{{}|}}", self.namespace);
        let ms = REMEMBERED.as_millis().to_string();
        let call = |queue| {
            let key = format!("{{{}|{queue}}}w", self.namespace);
            Call::plain(&[b"SET", key.as_bytes(), b"1", b"PX", ms.as_bytes()])
        };
        let queues = all_queues(&self.lines, &of_namespace)?;
        let calls: Vec<_> = queues.iter().map(call).collect();
        self.lines.run_again(&calls).map(drop)
    }
}

/// Waits until `has_rung`, which is asked whenever `bell` is raised.
fn until(
    bell: &Interrupt,
    has_rung: impl Fn() -> Result<bool, BrokerError>,
    interrupt: Option<&Interrupt>,
    at_most: Duration,
) -> Result<Wake, BrokerError> {
    use std::os::fd::AsFd;
    let end = Now::read().mono.checked_add(at_most);
    loop {
        let left = end.map_or(at_most, |end| {
            end.saturating_duration_since(Now::read().mono)
        });
        match wait(Some(bell.as_fd()), interrupt, left)? {
            Wake::Bell => {
                bell.clear();
                if has_rung()? {
                    return Ok(Wake::Bell);
                }
            }
            other => return Ok(other),
        }
    }
}

fn away(error: nix::Error) -> BrokerError {
    BrokerError::Away {
        reason: format!("cannot wait: {error}"),
    }
}
