//! `async fn` tasks: all on one runtime, which has a thread of its own from the first of them on.
#![forbid(unsafe_code)]

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Wakes, Poll};
use std::thread;

use bulkhead_shared::frame::Run;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::{Crew, Wish};
use crate::answer::Reply;
use crate::context::Stop;
use crate::registry::Future;
use crate::{call, panics, process, usage};

type Call = (Run, oneshot::Receiver<()>);

/// The way to the runtime.
#[derive(Debug)]
pub(super) struct Futures {
    crew: Arc<Crew>,
    /// Bounded by the jobs that the supervisor sends at once.
    calls: Option<UnboundedSender<Call>>,
}

impl Futures {
    pub(super) const fn new(crew: Arc<Crew>) -> Self {
        Self { crew, calls: None }
    }

    pub(super) fn start(&mut self, run: Run) {
        let (sender, stop) = oneshot::channel();
        let nonce = run.nonce;
        self.crew.begin(nonce, Wish::Drop(sender));
        let sent = self.runtime().and_then(|calls| {
            let gone = |_| "the asynchronous runtime has ended".to_owned();
            calls.send((run, stop)).map_err(gone)
        });
        if let Err(text) = sent {
            let failed = call::failure("sandbox", text, false);
            self.crew.answer(nonce, failed.into(), (0, 0));
        }
    }

    fn runtime(&mut self) -> Result<&UnboundedSender<Call>, String> {
        if self.calls.is_none() {
            let (sender, inbox) = unbounded_channel();
            let runtime = call::runtime().map_err(|failure| failure.text)?;
            let crew = Arc::clone(&self.crew);
            thread::Builder::new()
                .name("async".into())
                .spawn(move || runtime.block_on(serve(crew, inbox)))
                .map_err(|error| format!("no thread can be started: {error}"))?;
            self.calls = Some(sender);
        }
        self.calls.as_ref().ok_or_else(String::new)
    }
}

async fn serve(crew: Arc<Crew>, mut inbox: UnboundedReceiver<Call>) {
    while let Some((run, stop)) = inbox.recv().await {
        tokio::spawn(drive(Arc::clone(&crew), run, stop));
    }
}

/// Drives one call to its answer.
async fn drive(crew: Arc<Crew>, run: Run, stop: oneshot::Receiver<()>) {
    let nonce = run.nonce;
    process::set_own_call(Some(nonce));
    let before = usage::thread_cpu_us();
    let future = call::later(&crew.registry, &run, &crew.desk, Stop::default());
    let mut cpu_us = since(before);
    process::set_own_call(None);
    drop(run);
    let ended = match future {
        Ok((future, call)) => call.ended(one(nonce, future, stop, &mut cpu_us).await),
        Err(failure) => failure.into(),
    };
    process::flush_output();
    crew.answer(nonce, ended, cpu_us);
}

async fn one(
    nonce: u64,
    future: Future,
    mut stop: oneshot::Receiver<()>,
    cpu_us: &mut (u64, u64),
) -> Reply {
    let mut future = Some(future);
    let reply = poll_fn(|wakes| {
        if let Poll::Ready(Ok(())) = Pin::new(&mut stop).poll(wakes) {
            let text = "dropped where it awaited, because it was to stop".into();
            return Poll::Ready(Err(call::failure("stopped", text, false)));
        }
        process::set_own_call(Some(nonce));
        let before = usage::thread_cpu_us();
        let polled = poll(future.as_mut(), wakes);
        let (user, system) = since(before);
        *cpu_us = (cpu_us.0 + user, cpu_us.1 + system);
        process::set_own_call(None);
        polled
    })
    .await;
    // Its destructors are the task's code, and may panic.
    match panics::catch(|| {
        drop(future.take());
        Ok(())
    }) {
        Ok(()) => reply,
        Err(failure) => reply.and(Err(failure)),
    }
}

fn poll(future: Option<&mut Future>, wakes: &mut Wakes<'_>) -> Poll<Reply> {
    let Some(future) = future else {
        return Poll::Pending;
    };
    match panics::catch(|| Ok(future.as_mut().poll(wakes))) {
        Ok(polled) => polled,
        Err(failure) => Poll::Ready(Err(failure)),
    }
}

/// CPU time of this thread since `before`.
fn since((user, system): (u64, u64)) -> (u64, u64) {
    let (user_now, system_now) = usage::thread_cpu_us();
    (
        user_now.saturating_sub(user),
        system_now.saturating_sub(system),
    )
}
