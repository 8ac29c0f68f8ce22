//! Threads that come with the work and go when there is none.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bulkhead_shared::frame::{Group, Run};

use super::{Crew, locked};
use crate::call;
use crate::context::Stop;

/// A call, and what tells it to stop.
type Call = (Run, Stop);

/// Calls that wait for one thread.
#[derive(Debug, Default)]
pub(crate) struct Line {
    state: Mutex<(VecDeque<Call>, bool)>,
    change: Condvar,
}

impl Line {
    pub(super) fn push(&self, call: Call) {
        locked(&self.state).0.push_back(call);
        self.change.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        locked(&self.state).1 = true;
        self.change.notify_all();
    }

    /// The next call; `None` once the line is closed.
    pub(super) fn next(&self) -> Option<Call> {
        let state = locked(&self.state);
        let wait =
            |(calls, is_closed): &mut (VecDeque<Call>, bool)| !*is_closed && calls.is_empty();
        let waited = self.change.wait_while(state, wait);
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }
}

#[derive(Debug, Default)]
struct State {
    calls: VecDeque<Call>,
    /// All threads there are, ...
    threads: usize,
    /// ... and those of them that wait for a call.
    idle: usize,
}

/// As many threads as there is work for, up to a ceiling.
#[derive(Debug)]
pub(crate) struct Threads {
    crew: Arc<Crew>,
    most: usize,
    stack: usize,
    idle: Duration,
    state: Mutex<State>,
    change: Condvar,
}

impl Threads {
    pub(super) fn new(crew: Arc<Crew>, group: &Group) -> Arc<Self> {
        Arc::new(Self {
            crew,
            most: usize::try_from(group.threads).unwrap_or(usize::MAX),
            stack: usize::try_from(group.stack).unwrap_or(usize::MAX),
            idle: Duration::from_millis(group.idle_ms),
            state: Mutex::default(),
            change: Condvar::new(),
        })
    }

    pub(super) fn start(self: &Arc<Self>, call: Call) {
        let mut state = locked(&self.state);
        state.calls.push_back(call);
        if state.idle >= state.calls.len() || state.threads >= self.most {
            drop(state);
            return self.change.notify_one();
        }
        state.threads += 1;
        drop(state);
        let own = Arc::clone(self);
        let builder = thread::Builder::new()
            .name("task".into())
            .stack_size(self.stack);
        if let Err(error) = builder.spawn(move || own.serve()) {
            self.go_without(&error.to_string());
        }
    }

    /// There is no thread more to be had: those that are there must do, or the call fails.
    fn go_without(&self, why: &str) {
        let mut state = locked(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for (run, _) in calls {
            let text =
                format!("no thread can be started: {why} (lower --threads, or --thread-stack)");
            let failed = call::failure("sandbox", text, false);
            self.crew.answer(run.nonce, failed.into(), (0, 0));
        }
    }

    fn serve(&self) {
        while let Some(call) = self.next() {
            self.crew.run(&call);
        }
    }

    /// The next call; `None` if there was none for so long that this thread ends.
    fn next(&self) -> Option<Call> {
        let mut state = locked(&self.state);
        state.idle += 1;
        let is_empty = |state: &mut State| state.calls.is_empty();
        let waited = self.change.wait_timeout_while(state, self.idle, is_empty);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.idle -= 1;
        let call = state.calls.pop_front();
        if call.is_none() {
            state.threads -= 1;
        }
        call
    }
}
