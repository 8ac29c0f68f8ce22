//! What one call of a processor has of its partition: events that were read ahead, and those in the
//! hands of its function.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_shared::ask::{Ask, Reply as Told};
use bulkhead_shared::frame::Failure;
use bulkhead_shared::stream::{
    DEFAULT_PREFETCH, Event, EventId, Fields, PREFETCH_MOST, Place, RecordError,
};
use bulkhead_shared::time::millis;

use super::{Assignment, Middleware, Processor};
use crate::answer::Reply;
use crate::context::Context;
use crate::desk::{AskError, Sent};
use crate::hooks::TaskError;

#[derive(Debug)]
pub(super) struct Feed {
    context: Context,
    assignment: Assignment,
    prefetch: u32,
    around: Around,
    state: Mutex<State>,
}

/// Batches that may be on their way while the function works off one.
pub(super) const BATCHES_AHEAD: usize = 15;

#[derive(Debug, Default)]
struct State {
    /// Asked for, and not waited for yet.
    asked: VecDeque<Sent>,
    /// Read ahead, and never seen by the function.
    ahead: VecDeque<Event>,
    /// In its hands.
    hand: Vec<Event>,
    /// Why it gets no more.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    /// There is no more for this call.
    Over,
    /// An event has failed outside of the function.
    Failed(Failure),
}

impl Feed {
    pub(super) fn new(processor: &Processor, context: Context, assignment: Assignment) -> Self {
        Self {
            context,
            assignment,
            prefetch: processor.prefetch.unwrap_or(DEFAULT_PREFETCH),
            around: Around(processor.middleware),
            state: Mutex::default(),
        }
    }

    /// One without a supervisor, that has these.
    pub(super) fn of(records: Vec<Fields>) -> Self {
        let events = (1..).zip(records).map(|(position, fields)| {
            let id = EventId {
                ms: position,
                seq: 0,
            };
            let place = Place { position, id };
            Event { place, fields }
        });
        let state = State {
            ahead: events.collect(),
            ..State::default()
        };
        Self {
            context: Context::detached("test"),
            assignment: Assignment {
                stream: "test".into(),
                partition: 0,
            },
            prefetch: DEFAULT_PREFETCH,
            around: Around(&[]),
            state: Mutex::new(state),
        }
    }

    pub(super) fn stream(&self) -> &str {
        &self.assignment.stream
    }

    pub(super) const fn partition(&self) -> u16 {
        self.assignment.partition
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A middleware that panics leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes what is in hand, and takes the next.
    pub(super) fn next<T>(&self, read: fn(&Event) -> Result<T, RecordError>) -> Option<T> {
        let mut state = self.state();
        let ask = Ask::Events {
            most: self.prefetch,
            within_ms: None,
            as_one: false,
        };
        self.advance(&mut state, &ask, 1)?;
        let event = state.ahead.pop_front()?;
        let record = read(&event);
        state.hand.push(event);
        match record {
            Ok(record) => self.hand_out(&mut state).then_some(record),
            Err(error) => self.unreadable(&mut state, &error),
        }
    }

    /// Passes the batch in hand, and takes the next.
    pub(super) fn next_batch<T>(
        &self,
        read: fn(&Event) -> Result<T, RecordError>,
        most: usize,
        within: Duration,
    ) -> Option<Vec<T>> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let most = most.clamp(1, PREFETCH_MOST);
        let mut state = self.state();
        let ask = Ask::Events {
            most,
            within_ms: Some(millis(within)),
            as_one: true,
        };
        // As many as are to be read ahead, and one in any case: who works off a batch does not wait for
        // the next one then.
        let ahead = usize::try_from(self.prefetch / most).unwrap_or(usize::MAX);
        self.advance(&mut state, &ask, 1 + ahead.clamp(1, BATCHES_AHEAD))?;
        let mut records = Vec::with_capacity(state.ahead.len().min(most as usize));
        while records.len() < most as usize
            && let Some(event) = state.ahead.pop_front()
        {
            match read(&event) {
                Ok(record) => records.push(record),
                Err(error) if records.is_empty() => {
                    state.hand.push(event);
                    return self.unreadable(&mut state, &error);
                }
                // Those before it are a batch, so that they are passed and it is the one that failed.
                Err(_) => {
                    state.ahead.push_front(event);
                    let last = state.hand.last().map(|event| event.place.position);
                    last.into_iter().for_each(|last| self.context.part(last));
                    break;
                }
            }
            state.hand.push(event);
        }
        self.hand_out(&mut state).then_some(records)
    }

    /// Passes what is in hand, and sees to it that there is something ahead, and that so many asks for
    /// more are open before it waits for one; `None` is the end.
    fn advance(&self, state: &mut State, ask: &Ask, open: usize) -> Option<()> {
        if state.end.is_some() {
            return None;
        }
        if let Err(failure) = self.around.after(&state.hand) {
            state.end = Some(End::Failed(failure));
            return None;
        }
        let passed = state.hand.last().map(|event| event.place.position);
        if !state.ahead.is_empty() || self.context.is_stopping() {
            self.context.pass(passed);
            state.hand.clear();
            if self.context.is_stopping() {
                state.end = Some(End::Over);
                return None;
            }
            return Some(());
        }
        // From here on they may be known as passed, whatever the answer is.
        state.hand.clear();
        let missing = open.saturating_sub(state.asked.len());
        let asked = self
            .context
            .ask_for_events(passed, vec![ask.clone(); missing]);
        let answer = asked.and_then(|sent| {
            state.asked.extend(sent);
            let first = state.asked.pop_front();
            self.context.events(first.ok_or(AskError::Over)?)
        });
        match answer {
            Ok(Told::Events(events)) if !events.is_empty() => {
                state.ahead = events.into();
                return Some(());
            }
            Ok(Told::Events(_)) | Err(AskError::Stopped | AskError::Over) => {
                state.end = Some(End::Over);
            }
            Ok(other) => state.end = Some(End::Failed(denied(&AskError::of(other)))),
            Err(error) => state.end = Some(End::Failed(denied(&error))),
        }
        None
    }

    /// Begins with what is in hand; whether the function is to have it.
    fn hand_out(&self, state: &mut State) -> bool {
        self.context.restart_timeout();
        match self.around.before(&state.hand) {
            Ok(()) => true,
            Err(failure) => {
                state.end = Some(End::Failed(failure));
                false
            }
        }
    }

    fn unreadable<T>(&self, state: &mut State, error: &RecordError) -> Option<T> {
        let id = state.hand.last()?.place.id;
        let text = format!(
            "event {id} of partition {} of stream `{}` cannot be read: {error} (make the processor read it, or choose an `exception_policy` that goes on after it, such as `dead_letter`)",
            self.partition(),
            self.stream(),
        );
        state.end = Some(End::Failed(failure("record", text)));
        None
    }

    /// The end of the call.
    pub(super) fn finish(&self, reply: Reply) -> Reply {
        let mut state = self.state();
        let reply = match (state.end.take(), reply) {
            // Whatever the function made of it: it may have taken that for the end.
            (Some(End::Failed(failure)), _) => Err(failure),
            (_, Ok(result)) => self.around.after(&state.hand).map(|()| result),
            (_, Err(failure)) => Err(failure),
        };
        match &reply {
            Ok(_) => {
                let passed = state.hand.last().map(|event| event.place.position);
                self.context.pass(passed);
            }
            Err(failure) => self.around.failed(&state.hand, failure),
        }
        state.hand.clear();
        state.end = Some(End::Over);
        reply
    }
}

fn denied(error: &AskError) -> Failure {
    failure("events", format!("the next events: {error}"))
}

fn failure(name: &str, text: String) -> Failure {
    Failure {
        name: name.into(),
        text,
        traceback: None,
        is_final: false,
    }
}

/// The middleware of a processor.
#[derive(Clone, Copy)]
struct Around(&'static [&'static dyn Middleware]);

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} around", self.0.len())
    }
}

impl Around {
    fn before(self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            for one in self.0 {
                one.before(event).map_err(|error| fault(&error))?;
            }
        }
        Ok(())
    }

    fn after(self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            for one in self.0.iter().rev() {
                one.after(event).map_err(|error| fault(&error))?;
            }
        }
        Ok(())
    }

    fn failed(self, events: &[Event], failure: &Failure) {
        let error = TaskError {
            name: failure.name.clone(),
            text: failure.text.clone(),
            traceback: failure.traceback.clone(),
        };
        for event in events {
            for one in self.0.iter().rev() {
                // It has said what it had to say: the event has failed already.
                let _ = catch_unwind(AssertUnwindSafe(|| one.failed(event, &error)));
            }
        }
    }
}

fn fault(error: &anyhow::Error) -> Failure {
    failure("middleware", format!("{error:#}"))
}
