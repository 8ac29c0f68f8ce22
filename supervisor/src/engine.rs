//! Puts the parts of a run together, runs them, and takes them apart again.

mod account;
mod ground;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bulkhead_shared::backend::{self, Backend};
use bulkhead_shared::broker::{BrokerError, Presence, Selection, SupervisorId};
use bulkhead_shared::frame::Group;
use bulkhead_shared::policy::Defaults;
use bulkhead_shared::redis::evidence;
use bulkhead_shared::turned::{self, TurnedError};
use bulkhead_shared::{Timestamp, Uuid, fault};
use tracing::{debug, info, warn};

use crate::config::{self, Again, Configured, RunConfig};
use crate::exit::Exit;
use crate::job::{DEFAULT_TIMEOUT, Rules};
use crate::notice::Notices;
use crate::pool::{Limits, Pools};
use crate::process::dead;
use crate::process::zygote::Recipe;
use crate::reactor::{Finished, Parts, Reactor};
use crate::registrar::Registrar;
use crate::reload::Reloader;
use crate::sandbox::menu::{Entry, Menu, Refusal};
use crate::sandbox::probe::Host;
use crate::sandbox::profile::Profiles;
use crate::schedule::{self, Scheduler};
use crate::services::Clerk;
use crate::source::guard;
use crate::source::queue::{self, Order, Setting};
use crate::source::renew::Renewer;
use crate::source::{Held, Place};
use crate::streams;
use crate::upkeep::Upkeep;
use crate::watch::Watch;
use ground::Ground;

/// Why a run could not begin, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EngineError {
    #[error("the store cannot be used")]
    Store(#[from] BrokerError),
    #[error(transparent)]
    Clock(#[from] TurnedError),
    #[error("failed to {step}")]
    System {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "every slot is retired: what their tasks left could not be killed or removed (look for processes in state D, and at the load; then start again)"
    )]
    AllRetired,
    #[error("there is no user `{name}`, whom {asked} names (name an account, or write `keep`)")]
    NoUser { name: String, asked: String },
    #[error(transparent)]
    Sandbox(#[from] Refusal),
    #[error("{asked} is `{name}`, which needs root (run the supervisor as root, or write `keep`)")]
    NotRoot { name: String, asked: String },
}

impl EngineError {
    /// The exit code it ends the supervisor with.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Store(_) => Exit::StoreAway,
            Self::System { .. } | Self::AllRetired => Exit::Internal,
            Self::NoUser { .. } | Self::NotRoot { .. } | Self::Clock(_) | Self::Sandbox(_) => {
                Exit::Usage
            }
        }
    }
}

trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, EngineError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, EngineError> {
        self.map_err(|error| EngineError::System {
            step,
            source: error.into(),
        })
    }
}

/// Runs until drained.
pub(crate) fn run(again: Again, start: Configured) -> Result<Exit, EngineError> {
    let (config, settings) = start;
    if let Some(point) = fault::arm(config.fault.as_deref()) {
        warn!(point, "TEST FAULT ARMED: this supervisor will kill itself");
    }
    if config.evidence {
        evidence::keep();
        warn!("TEST EVIDENCE KEPT: the store grows with every transition");
    }
    // Probing forks, so it comes before the first thread.
    let host = Host::probe(&config.without);
    let mut menu = Menu::resolve(&config, &host)?;
    harden()?;
    if let Some(path) = &config.test_clock {
        turned::follow(path)?;
        warn!(file = %path.display(), ms = bulkhead_shared::time::turned(), "TEST CLOCK: THIS SUPERVISOR'S TIME IS NOT THE TIME");
    }
    let backend = backend::open(&config.store)?;
    let id = SupervisorId(Uuid::now_v7());
    let ground = Ground::prepare(&host, &mut menu, id)?;
    let profiles = config.profiles.clone();
    let exit = run_on(config, menu, &backend, id, ground, |notices| {
        reload(again, settings, profiles, notices)
    })?;
    info!("ended");
    Ok(exit)
}

/// Adopts what tasks leave behind, and keeps its own memory to itself.
fn harden() -> Result<(), EngineError> {
    use nix::sys::prctl;
    prctl::set_child_subreaper(true).step("become a subreaper")?;
    // Whatever the usual profile is: a task may have another.
    prctl::set_dumpable(false).step("hide its memory from tasks")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .step("start a thread")
}

fn run_on(
    config: RunConfig,
    menu: Menu,
    backend: &Backend,
    id: SupervisorId,
    ground: Ground,
    reload: impl FnOnce(Notices) -> Result<Option<UnixStream>, EngineError>,
) -> Result<Exit, EngineError> {
    let host = nix::unistd::gethostname().step("learn the host's name")?;
    let host = host.to_string_lossy().into_owned();
    let (notices, inbox, wake) = Notices::new().step("make a wake-up")?;
    let held = Arc::new(Held::new(config.lease));
    let (queue, claim_and_settle) = queue::queue(Setting {
        broker: Arc::clone(&backend.broker),
        owner: id,
        lease: config.lease,
        place: Place { host: host.clone() },
        held: Arc::clone(&held),
        notices: notices.clone(),
        delivered: inbox.clone(),
    })
    .step("make a wake-up")?;
    let stream_held = Arc::new(Held::new(config.lease));
    let (streams, process) = streams::streams(streams::Setting {
        store: Arc::clone(&backend.streams),
        broker: Arc::clone(&backend.broker),
        me: id,
        lease: config.lease,
        slots: config.stream_processes,
        held: Arc::clone(&stream_held),
        notices: notices.clone(),
    })
    .step("make a wake-up")?;
    let (notes, notes_inbox) = crossbeam::channel::bounded(NOTES);
    let renewer = Renewer {
        broker: Arc::clone(&backend.broker),
        lease: config.lease,
        held: Arc::clone(&held),
        notices: notices.clone(),
        notes: notes_inbox,
    };
    let (words, words_inbox) = crossbeam::channel::unbounded();
    let defaults = defaults(&config);
    let rules = Rules {
        defaults: defaults.clone(),
        specs: Arc::default(),
        extras: Arc::default(),
        menu: Some(menu.clone()),
        most_memory: None,
    };
    let selection = Selection {
        queues: config.queues.clone().unwrap_or_default(),
        tasks: vec![],
    };
    let (of_schedules, schedules_inbox) = crossbeam::channel::unbounded();
    let is_draining = Arc::new(AtomicBool::new(false));
    let scheduler = Scheduler::new(schedule::Setting {
        backend: backend.clone(),
        me: id,
        started_at: Timestamp::now(),
        is_draining: Arc::clone(&is_draining),
        words: schedules_inbox,
        upkeep: words.clone(),
    });
    let (services, wishes) = crossbeam::channel::unbounded();
    let clerk = Clerk {
        backend: backend.clone(),
        notices: notices.clone(),
        menu: menu.clone(),
        words: wishes,
    };
    let pid = std::process::id();
    let presence = Presence {
        id,
        host,
        pid,
        selection,
        tasks: Vec::new(),
        version: env!("CARGO_PKG_VERSION").into(),
        slots: u32::from(config.processes.get()),
        started_at: Timestamp::now(),
    };
    let upkeep = Upkeep {
        broker: Arc::clone(&backend.broker),
        catalog: Arc::clone(&backend.catalog),
        control: Arc::clone(&backend.control),
        journals: Arc::clone(&backend.journals),
        presence,
        rules,
        lease: config.lease,
        unknown_after: config.unknown_after,
        burst: config.burst,
        below: ground.below.clone(),
        controllers: ground.controllers.clone(),
        queue: queue.clone(),
        notices: notices.clone(),
        schedules: (!config.burst).then(|| of_schedules.clone()),
        each: Vec::new(),
        is_told: false,
        words: words_inbox,
    };
    let of_guard = notices.clone();
    let of_stream_guard = notices.clone();
    let reloading = reload(notices.clone())?;
    let below = ground.below.clone();
    let controllers = ground.controllers.clone();
    // Who reads where it works may stop it.
    let signals = signals()?;
    say_where(&config, &menu, &backend.catalog.place());
    let directory = Arc::clone(&ground.directory);
    let needs_watch = |entry: &Entry| entry.is_open && entry.plan.watches_memory;
    let watch = match menu.entries().iter().any(needs_watch) {
        true => Some(Watch::start(notices.clone()).step("start a thread")?),
        false => None,
    };
    let parts = Parts {
        pool: Pools::new(
            limits(&config, &menu),
            config.stream_processes,
            menu.usual(),
        )
        .with_groups_under(menu.groups()),
        slots: config.processes.get(),
        // One more group, for those who ride alone.
        groups: config.groups + 1,
        group: Group {
            threads: config.threads.into(),
            stack: config.thread_stack,
            idle_ms: GROUP_IDLE_MS,
        },
        tasks_per_process: config.tasks_per_process,
        memory: config.memory,
        output: config.task_output,
        recipes: recipes(&config, &menu),
        menu: menu.clone(),
        cgroups: ground.cgroups,
        cages: ground.cages,
        users: ground.users,
        run_directory: Some(ground.directory),
        queue: queue.clone(),
        notes,
        notices,
        inbox,
        wake,
        signals,
        is_draining,
        stream_slots: config.stream_processes,
        registrar: Registrar::new(config, defaults, menu, words.clone(), streams.clone()),
        services,
        streams: streams.clone(),
        watch,
    };
    let threads = [
        spawn("queue", claim_and_settle)?,
        spawn("renew", || renewer.run())?,
    ];
    let upkeep = spawn("upkeep", || upkeep.run())?;
    let clerk = spawn("services", || clerk.run())?;
    let schedules = spawn("schedules", || scheduler.run())?;
    let guarded = Arc::clone(&held);
    let guard = spawn("guard", move || guard::guard(&guarded, &of_guard))?;
    let processing = spawn("streams", process)?;
    let guarded = Arc::clone(&stream_held);
    let stream_guard = spawn("stream-guard", move || {
        guard::guard(&guarded, &of_stream_guard);
    })?;
    let finished = Reactor::new(parts).step("make the loop")?.run();
    if let Some(signals) = reloading {
        // Its thread ends; if it is in the middle of a file, with the process.
        let _ = signals.shutdown(Shutdown::Both);
    }
    // In this order: what upkeep has taken over is settled too, and the store hears that this
    // supervisor is gone only when nothing of it is on the way. Before, others would take what is
    // not settled yet for lost, and run it again.
    streams.send(streams::Word::Stop);
    wait_for(processing);
    stream_held.close();
    wait_for(stream_guard);
    wait_for(clerk);
    let _ = of_schedules.send(schedule::Word::Stop);
    wait_for(schedules);
    drop(words);
    wait_for(upkeep);
    queue.send(Order::Stop);
    threads.into_iter().for_each(wait_for);
    held.close();
    wait_for(guard);
    if let Err(error) = backend.broker.leave(id) {
        debug!(%error, "the store was not told that this supervisor is gone");
    }
    if let Ok(directory) = Arc::try_unwrap(directory) {
        directory.remove();
    }
    // What could not be removed at the start is left to nobody, if no other supervisor follows.
    if let Err(error) = dead::clear_up(below.as_deref(), controllers.as_ref()) {
        debug!(%error, "what dead supervisors left was not cleared away");
    }
    match finished.step("go on")? {
        Finished::Drained => Ok(Exit::Done),
        Finished::Released => Ok(Exit::Released),
        Finished::AllRetired => Err(EngineError::AllRetired),
    }
}

/// Listens to SIGHUP, if there is a file that can be read again; else it ends the supervisor, as
/// when a terminal is closed. Returns what ends the listening.
fn reload(
    again: Again,
    settings: Vec<config::Setting>,
    profiles: Profiles,
    notices: Notices,
) -> Result<Option<UnixStream>, EngineError> {
    if !again.has_file() {
        return Ok(None);
    }
    let (ours, theirs) = UnixStream::pair().step("make a signal pipe")?;
    signal_hook::low_level::pipe::register(libc::SIGHUP, theirs).step("listen to signals")?;
    let end = ours.try_clone().step("make a signal pipe")?;
    let reloader = Reloader {
        again,
        settings,
        profiles,
        notices,
        signals: ours,
    };
    spawn("reload", || reloader.run())?;
    Ok(Some(end))
}

fn wait_for(thread: JoinHandle<()>) {
    // A thread that panicked has said so; there is nothing left for it to do.
    let _ = thread.join();
}

/// Batches of notes on their way: one every tenth of a second; a store that is slower for longer
/// than this holds the reactor up, so the queue is deep.
const NOTES: usize = 1024;

/// A thread of a group that has had no job for so long ends.
const GROUP_IDLE_MS: u64 = 10_000;

fn defaults(config: &RunConfig) -> Defaults {
    Defaults {
        timeout: DEFAULT_TIMEOUT,
        patience: config.patience,
        memory: config.memory,
        profile: config.sandbox.clone(),
    }
}

/// A process that has answered has nothing left to do, however patient its job is.
pub(crate) fn exit_within(patience: Duration) -> Duration {
    patience.min(Duration::from_secs(5))
}

fn limits(config: &RunConfig, menu: &Menu) -> Limits {
    Limits {
        slots: config.processes.get(),
        groups: config.groups,
        group_floor: config.group_floor,
        threads: config.threads,
        async_tasks: config.async_tasks,
        tasks_per_process: config.tasks_per_process,
        single_use: menu.single_use(),
        ready_within: Duration::from_secs(10),
        exit_within: exit_within(config.patience),
        kill_within: Duration::from_secs(5),
        clear_within: Duration::from_secs(300),
        grace: config.grace,
        rest_first: Duration::from_millis(100),
        rest_longest: Duration::from_secs(10),
        prefetch_window: Duration::from_millis(50),
        prefetch_hold: Duration::from_millis(100),
    }
}

fn recipes(config: &RunConfig, menu: &Menu) -> Vec<Recipe> {
    let recipe = |entry: &Entry| entry.plan.recipe(config);
    menu.entries().iter().map(recipe).collect()
}

fn signals() -> Result<UnixStream, EngineError> {
    let (ours, theirs) = UnixStream::pair().step("make a signal pipe")?;
    ours.set_nonblocking(true).step("make a signal pipe")?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let end = theirs.try_clone().step("make a signal pipe")?;
        signal_hook::low_level::pipe::register(signal, end).step("listen to signals")?;
    }
    Ok(ours)
}

fn say_where(config: &RunConfig, menu: &Menu, place: &str) {
    let plan = &menu.entry(menu.usual()).plan;
    let processes = config.processes;
    let isolation = plan.description.as_str();
    info!(store = place, child = %config.child.display(), processes, isolation, "starting");
    if !tracing::enabled!(tracing::Level::INFO) {
        // Which store this is must be seen also by those who want to see little.
        let _ = writeln!(io::stderr(), "store: {place}");
    }
    for missing in &plan.missing {
        warn!(missing, "a guarantee is missing on this host");
    }
    for entry in menu.entries().iter().filter(|entry| entry.is_open) {
        for lack in &entry.plan.lacks {
            let (profile, asked) = (&entry.profile.name, &lack.asked);
            warn!(
                profile,
                asked,
                lacks = lack.lacks,
                "less than the profile asks for is applied"
            );
        }
    }
}
