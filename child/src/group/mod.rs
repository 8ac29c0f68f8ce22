//! Several jobs at once in one process: threads that come and go with the work, the main thread
//! for tasks that want it, and a runtime for `async fn` tasks.
//!
//! One thread reads what the supervisor says, so that a call can be asked to stop whatever the
//! others do. How many jobs there are is the supervisor's to say: it sends no more than it may.
#![forbid(unsafe_code)]

#[cfg(feature = "async")]
mod futures;
mod threads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulkhead_shared::frame::{Group, Run, ToTask};
#[cfg(feature = "async")]
use bulkhead_shared::task::Mechanism;

use crate::call::Ended;
use crate::context::Stop;
use crate::desk::Desk;
use crate::registry::Registry;
use crate::{call, process, usage};
pub(crate) use threads::{Line, Threads};

/// How a call is asked to stop.
#[derive(Debug)]
enum Wish {
    /// It looks at this when it likes to.
    Flag(Stop),
    /// It is dropped.
    #[cfg(feature = "async")]
    Drop(tokio::sync::oneshot::Sender<()>),
}

/// What all calls of a group share.
#[derive(Debug)]
pub(crate) struct Crew {
    registry: Registry,
    desk: Desk,
    /// The calls that have not been answered.
    calls: Mutex<HashMap<u64, Wish>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole after every single operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    pub(crate) fn new(registry: Registry, desk: Desk) -> Arc<Self> {
        let calls = Mutex::default();
        Arc::new(Self {
            registry,
            desk,
            calls,
        })
    }

    fn begin(&self, nonce: u64, wish: Wish) {
        locked(&self.calls).insert(nonce, wish);
    }

    fn ask_to_stop(&self, nonce: u64) {
        // If it is not there it has been answered.
        let wish = locked(&self.calls).remove(&nonce);
        match wish {
            Some(Wish::Flag(stop)) => stop.ask(),
            #[cfg(feature = "async")]
            Some(Wish::Drop(sender)) => {
                // It may be answering just now.
                let _ = sender.send(());
            }
            None => {}
        }
    }

    /// Runs a call on this thread and answers it.
    fn run(&self, (run, stop): &(Run, Stop)) {
        process::set_own_call(Some(run.nonce));
        let (user, system) = usage::thread_cpu_us();
        let ended = call::now(&self.registry, run, &self.desk, stop.clone());
        process::flush_output();
        let (user_now, system_now) = usage::thread_cpu_us();
        self.answer(run.nonce, ended, (user_now - user, system_now - system));
        process::set_own_call(None);
    }

    fn answer(&self, nonce: u64, ended: Ended, cpu_us: (u64, u64)) {
        locked(&self.calls).remove(&nonce);
        let done = call::done(nonce, ended, usage::shared(cpu_us));
        // A broken pipe means that the supervisor is gone, and this process will be soon.
        let _ = self.desk.finish(nonce, &done);
    }
}

/// Where calls go.
#[derive(Debug)]
pub(crate) struct Dispatch {
    crew: Arc<Crew>,
    threads: Arc<Threads>,
    /// Calls for the main thread.
    main: Arc<Line>,
    #[cfg(feature = "async")]
    futures: futures::Futures,
}

impl Dispatch {
    pub(crate) fn new(crew: Arc<Crew>, group: &Group) -> Self {
        Self {
            threads: Threads::new(Arc::clone(&crew), group),
            main: Arc::default(),
            #[cfg(feature = "async")]
            futures: futures::Futures::new(Arc::clone(&crew)),
            crew,
        }
    }

    /// The line of the main thread.
    pub(crate) fn main(&self) -> Arc<Line> {
        Arc::clone(&self.main)
    }

    /// Does what the supervisor says.
    pub(crate) fn take(&mut self, message: ToTask) {
        match message {
            ToTask::Run(run) => self.start(run),
            ToTask::Stop { nonce } => self.crew.ask_to_stop(nonce),
            // It is one already, and the others have gone to whom they are for.
            ToTask::Group(_)
            | ToTask::Reply { .. }
            | ToTask::Secret { .. }
            | ToTask::Command { .. }
            | ToTask::Limits { .. } => {}
        }
    }

    fn start(&mut self, run: Run) {
        let task = self.crew.registry.find(&run.task);
        let definition = task.map(|task| task.definition());
        #[cfg(feature = "async")]
        if definition.is_some_and(|one| one.mechanism == Mechanism::Async) {
            return self.futures.start(run);
        }
        let stop = Stop::default();
        self.crew.begin(run.nonce, Wish::Flag(stop.clone()));
        match definition {
            Some(one) if one.run_in_main_thread => self.main.push((run, stop)),
            _ => self.threads.start((run, stop)),
        }
    }
}

/// Runs what comes for the main thread, one call after the other, until the line is closed.
pub(crate) fn serve_main(crew: &Crew, line: &Line) {
    while let Some(call) = line.next() {
        crew.run(&call);
    }
}
