//! The one thread per opened store that writes.
//!
//! Callers leave errands and wait. Whatever has gathered while the last commit was under way goes
//! into the next one, so a loaded store commits less often than it is asked to. Renewals go first:
//! a lease must not run out in a queue.

use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, select, unbounded};

use super::bell::Ringer;
use super::files::{Files, Identity};
use super::fold::{self, Folder};
use super::gate::Gate;
use super::ledger::Ledger;
use super::trouble::translate;
use crate::broker::BrokerError;
use crate::fault;

/// Errands in one transaction: enough to spread the cost of a commit, few enough for a renewal
/// to get in between.
const BATCH: usize = 256;

/// Without work for this long, the write-ahead log is folded into the file.
const IDLE: Duration = Duration::from_secs(1);

/// A log this long is folded in even under load.
const LOG_LIMIT: u64 = 64 << 20;

/// Commits between two looks at the length of the log.
const COMMITS_BETWEEN_LOOKS: u32 = 4096;

/// What a caller wants done.
trait Errand: Send {
    /// Tries to do it without writing; true if that was enough.
    fn look(&mut self, ledger: &mut Ledger) -> Result<bool, BrokerError>;
    /// Does it, within a transaction.
    fn work(&mut self, ledger: &mut Ledger) -> rusqlite::Result<()>;
    /// Tells the caller.
    fn reply(self: Box<Self>, failure: Option<BrokerError>);
}

/// An errand made of closures.
struct Call<L, W, T> {
    look: L,
    work: W,
    done: Option<T>,
    reply: mpsc::SyncSender<Result<T, BrokerError>>,
    place: Arc<str>,
}

impl<L, W, T> Errand for Call<L, W, T>
where
    L: FnMut(&mut Ledger) -> rusqlite::Result<Option<T>> + Send,
    W: FnMut(&mut Ledger) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn look(&mut self, ledger: &mut Ledger) -> Result<bool, BrokerError> {
        self.done = (self.look)(ledger).map_err(|error| translate(&error, &self.place))?;
        Ok(self.done.is_some())
    }

    fn work(&mut self, ledger: &mut Ledger) -> rusqlite::Result<()> {
        self.done = Some((self.work)(ledger)?);
        Ok(())
    }

    fn reply(self: Box<Self>, failure: Option<BrokerError>) {
        let answer = match (failure, self.done) {
            (None, Some(done)) => Ok(done),
            (Some(failure), _) => Err(failure),
            (None, None) => Err(stopped(&self.place)),
        };
        // A caller that is gone needs no answer.
        let _ = self.reply.send(answer);
    }
}

/// Which errands go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// In the order of arrival.
    Usual,
    /// Before all usual ones.
    First,
}

/// Hands errands to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Unbounded by itself; bounded by the callers, who each wait for their one errand.
    usual: Option<Sender<Box<dyn Errand>>>,
    first: Option<Sender<Box<dyn Errand>>>,
    thread: Option<JoinHandle<()>>,
    place: Arc<str>,
}

/// What the thread owns.
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    pub(super) gate: Option<Gate>,
    pub(super) ringer: Ringer,
    /// The files of the store and the one that was opened, unless it is in memory.
    pub(super) opened: Option<(Files, Identity)>,
    pub(super) folder: Option<Folder>,
    pub(super) place: Arc<str>,
}

impl Writer {
    pub(super) fn start(desk: Desk) -> Result<Self, BrokerError> {
        let (usual, usual_in) = unbounded();
        let (first, first_in) = unbounded();
        let place = Arc::clone(&desk.place);
        let serve = move || {
            Service {
                desk,
                usual: usual_in,
                first: first_in,
                commits: 0,
            }
            .run()
        };
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(serve)
            .map_err(|error| BrokerError::Away {
                reason: format!("cannot start the store's thread: {error}"),
            })?;
        Ok(Self {
            usual: Some(usual),
            first: Some(first),
            thread: Some(thread),
            place,
        })
    }

    /// Has `work` done in a transaction, together with others.
    pub(super) fn write<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnMut(&mut Ledger) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.call(urgency, |_| Ok(None), work)
    }

    /// Has `look` done, and `work` in a transaction only if that gives nothing.
    pub(super) fn call<T: Send + 'static>(
        &self,
        urgency: Urgency,
        look: impl FnMut(&mut Ledger) -> rusqlite::Result<Option<T>> + Send + 'static,
        work: impl FnMut(&mut Ledger) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.begin(urgency, look, work)?.wait()
    }

    /// The same, without waiting for it.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        urgency: Urgency,
        look: impl FnMut(&mut Ledger) -> rusqlite::Result<Option<T>> + Send + 'static,
        work: impl FnMut(&mut Ledger) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Begun<T>, BrokerError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let place = Arc::clone(&self.place);
        let errand = Box::new(Call {
            look,
            work,
            done: None,
            reply,
            place,
        });
        let channel = match urgency {
            Urgency::Usual => &self.usual,
            Urgency::First => &self.first,
        };
        let gone = || stopped(&self.place);
        let channel = channel.as_ref().ok_or_else(gone)?;
        channel.send(errand).map_err(|_| gone())?;
        let place = Arc::clone(&self.place);
        Ok(Begun { answer, place })
    }
}

/// An errand that is under way.
pub(super) struct Begun<T> {
    answer: mpsc::Receiver<Result<T, BrokerError>>,
    place: Arc<str>,
}

impl<T> Begun<T> {
    pub(super) fn wait(self) -> Result<T, BrokerError> {
        self.answer.recv().map_err(|_| stopped(&self.place))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.usual = None;
        self.first = None;
        // Wait, so that the files are closed and the locks free when the store is gone.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn stopped(place: &str) -> BrokerError {
    BrokerError::Away {
        reason: format!("the writer of `{place}` has stopped; open the store again"),
    }
}

struct Service {
    desk: Desk,
    usual: Receiver<Box<dyn Errand>>,
    first: Receiver<Box<dyn Errand>>,
    commits: u32,
}

impl Service {
    fn run(mut self) {
        let mut is_dirty = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            match self.next(is_dirty) {
                Ok(errand) => batch.push(errand),
                Err(RecvTimeoutError::Timeout) => {
                    self.fold_log();
                    is_dirty = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.gather(&mut batch);
            self.desk.ledger.read_clock();
            self.look(&mut batch);
            if batch.is_empty() {
                continue;
            }
            let failure = self.transact(&mut batch).err();
            for errand in batch.drain(..) {
                errand.reply(failure.clone());
            }
            is_dirty = true;
            self.watch_log();
        }
    }

    fn next(&self, is_dirty: bool) -> Result<Box<dyn Errand>, RecvTimeoutError> {
        if let Ok(errand) = self.first.try_recv() {
            return Ok(errand);
        }
        let gone = |_| RecvTimeoutError::Disconnected;
        if is_dirty {
            select! {
                recv(self.first) -> errand => errand.map_err(gone),
                recv(self.usual) -> errand => errand.map_err(gone),
                default(IDLE) => Err(RecvTimeoutError::Timeout),
            }
        } else {
            select! {
                recv(self.first) -> errand => errand.map_err(gone),
                recv(self.usual) -> errand => errand.map_err(gone),
            }
        }
    }

    fn gather(&self, batch: &mut Vec<Box<dyn Errand>>) {
        let mut urgent: Vec<_> = self.first.try_iter().take(BATCH).collect();
        if !urgent.is_empty() {
            urgent.append(batch);
            *batch = urgent;
        }
        let room = BATCH.saturating_sub(batch.len());
        batch.extend(self.usual.try_iter().take(room));
    }

    /// Answers what can be answered without writing.
    fn look(&mut self, batch: &mut Vec<Box<dyn Errand>>) {
        let mut left = Vec::with_capacity(batch.len());
        for mut errand in batch.drain(..) {
            match errand.look(&mut self.desk.ledger) {
                Ok(false) => left.push(errand),
                Ok(true) => errand.reply(self.still_ours().err()),
                Err(failure) => errand.reply(Some(failure)),
            }
        }
        *batch = left;
    }

    fn transact(&mut self, batch: &mut [Box<dyn Errand>]) -> Result<(), BrokerError> {
        let is_held = self.desk.gate.as_mut().is_some_and(Gate::enter);
        let done = self.transaction(batch);
        if done.is_err() {
            self.desk.ledger.roll_back();
        }
        if is_held && let Some(gate) = &self.desk.gate {
            gate.leave();
        }
        done?;
        let marks = self.desk.ledger.committed();
        if marks.rings {
            self.desk.ringer.ring();
        }
        if marks.has_settled {
            fault::point("settled");
        }
        if marks.has_claimed {
            fault::point("claimed");
        }
        Ok(())
    }

    fn transaction(&mut self, batch: &mut [Box<dyn Errand>]) -> Result<(), BrokerError> {
        let place = Arc::clone(&self.desk.place);
        let sql = |error: rusqlite::Error| translate(&error, &place);
        let ledger = &mut self.desk.ledger;
        ledger.execute("BEGIN IMMEDIATE", []).map_err(sql)?;
        ledger.read_clock();
        for errand in batch {
            errand.work(ledger).map_err(sql)?;
        }
        self.still_ours()?;
        self.desk.ledger.execute("COMMIT", []).map_err(sql)?;
        Ok(())
    }

    fn still_ours(&self) -> Result<(), BrokerError> {
        match &self.desk.opened {
            Some((files, opened)) => files.still(*opened),
            None => Ok(()),
        }
    }

    /// Folds a log that has grown long: a reader may have kept SQLite from doing it bit by bit.
    fn watch_log(&mut self) {
        let next = self.desk.folder.as_mut().map(Folder::committed);
        if next == Some(fold::Next::Fold)
            && let Err(error) = fold::fold(&self.desk.ledger.conn)
        {
            tracing::debug!(%error, "the write-ahead log could not be folded in now");
        }
        self.commits += 1;
        if self.commits < COMMITS_BETWEEN_LOOKS {
            return;
        }
        self.commits = 0;
        let Some((files, _)) = &self.desk.opened else {
            return;
        };
        let length = std::fs::metadata(files.beside("-wal")).map_or(0, |log| log.len());
        if length > LOG_LIMIT {
            self.fold_log();
        }
    }

    fn fold_log(&mut self) {
        if self.desk.opened.is_none() || self.still_ours().is_err() {
            return;
        }
        let is_held = self.desk.gate.as_mut().is_some_and(Gate::enter);
        if let Err(error) = self.desk.ledger.fold_log() {
            tracing::debug!(%error, "the write-ahead log could not be folded in now");
        }
        if is_held && let Some(gate) = &self.desk.gate {
            gate.leave();
        }
    }
}
