//! Waits at doorbells: lists that get an element when there is work. Of all that wait the server
//! wakes one. Runs on a thread and a connection of its own, since a blocked connection cannot be
//! interrupted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;

use super::address::Address;
use super::answer::{Items, bytes};
use super::call::Call;
use super::line::Line;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Interrupt};

/// The server lets go of a waiting connection after this: a ring that went to somebody who died
/// is heard at most so much later.
const BLOCK: Duration = Duration::from_secs(2);

/// Longer than [`BLOCK`]: otherwise an element would be given to somebody who waits no more.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
struct State {
    /// Somebody waits for work.
    is_wanted: bool,
    /// The bell that rang, until it is asked for.
    rang: Option<Vec<u8>>,
    /// A bell that rang and is to ring for somebody else.
    surplus: Option<Vec<u8>>,
    /// Why nothing can be heard.
    failed: Option<BrokerError>,
    is_closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    change: Condvar,
    bell: Arc<Interrupt>,
    place: String,
}

/// Waits at the doorbells of one slot, or of one server.
#[derive(Debug)]
pub(super) struct Door(Arc<Shared>);

impl Door {
    pub(super) fn open(
        address: Address,
        place: &str,
        keys: Vec<String>,
        bell: Arc<Interrupt>,
    ) -> Result<Self, BrokerError> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            change: Condvar::new(),
            bell,
            place: place.into(),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("door".into())
            .spawn(move || own.serve(&address, &keys))
            .map_err(|error| BrokerError::Away {
                reason: format!("no thread to be had: {error}"),
            })?;
        Ok(Self(shared))
    }

    /// From now on a ring is ours.
    pub(super) fn want(&self) {
        let mut state = self.0.state();
        if state.rang.is_none() && state.failed.is_none() {
            state.is_wanted = true;
            drop(state);
            self.0.change.notify_one();
        }
    }

    /// From now on a ring is for others; one that has come is passed on.
    pub(super) fn refuse(&self) {
        let mut state = self.0.state();
        state.is_wanted = false;
        if let Some(key) = state.rang.take() {
            state.surplus = Some(key);
            drop(state);
            self.0.change.notify_one();
        }
    }

    /// Whether it has rung since the last time.
    pub(super) fn has_rung(&self) -> Result<bool, BrokerError> {
        let mut state = self.0.state();
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(state.rang.take().is_some()),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_wanted = false;
        state.is_closed = true;
        state.surplus = state.surplus.take().or_else(|| state.rang.take());
        drop(state);
        self.0.change.notify_one();
    }
}

/// What the thread does next.
enum Next {
    Wait,
    PassOn(Vec<u8>),
    End,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if let Some(key) = state.surplus.take() {
                return Next::PassOn(key);
            }
            if state.is_closed {
                return Next::End;
            }
            if state.is_wanted {
                return Next::Wait;
            }
            state = self
                .change
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn serve(&self, address: &Address, keys: &[String]) {
        let mut line = None;
        loop {
            let done = match self.next() {
                Next::End => return,
                Next::PassOn(key) => pass_on(&mut line, address, &key),
                Next::Wait => self.wait(&mut line, address, keys),
            };
            if let Err(trouble) = done {
                line = None;
                let mut state = self.state();
                state.is_wanted = false;
                state.failed = Some(trouble.translate(&self.place));
                self.bell.raise();
            }
        }
    }

    fn wait(
        &self,
        line: &mut Option<Line>,
        address: &Address,
        keys: &[String],
    ) -> Result<(), Trouble> {
        let mut call = Call::plain(&[b"BLPOP"]);
        for key in keys {
            call.arg(key);
        }
        call.number(BLOCK.as_secs());
        let answer = at(line, address)?.run(&[call])?.swap_remove(0);
        if answer == Value::Nil {
            return Ok(());
        }
        let key = bytes(Items::of(answer)?.next()?)?;
        let mut state = self.state();
        if state.is_wanted {
            state.is_wanted = false;
            state.rang = Some(key);
            self.bell.raise();
            return Ok(());
        }
        drop(state);
        pass_on(line, address, &key)
    }
}

fn at<'a>(line: &'a mut Option<Line>, address: &Address) -> Result<&'a mut Line, Trouble> {
    if line.is_none() {
        *line = Some(Line::open_for(address, ANSWER_WITHIN)?);
    }
    Ok(line.as_mut().expect("made one line above"))
}

/// Rings for somebody else; there may be no job behind it any more.
fn pass_on(line: &mut Option<Line>, address: &Address, key: &[u8]) -> Result<(), Trouble> {
    at(line, address)?
        .run(&[Call::plain(&[b"RPUSH", key, b"1"])])
        .map(drop)
}
