//! What a store does with streams. Each method is one atomic move, and may be called again after an
//! error.
//!
//! Who holds a partition for a processor is the store's to say: a lease with a fence, which goes up
//! by one whenever the partition changes hands and never comes back; the first one may be any. A
//! partition is taken only while nobody's lease on it runs; whoever has lost it can pass nothing.
//!
//! Events go only when others come: where a partition has more than its size (a tenth more, by a
//! thousand at most, so that it is not trimmed at each send), those go that all processors have passed.
//! A processor that nobody serves any more counts as well, until it is forgotten.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Event, EventId, Fields, Place, StreamSpec};
use crate::broker::{BrokerError, SupervisorId};
use crate::name::{StreamName, TaskName};
use crate::time::Timestamp;

/// Events in one part of an answer.
pub const READ_MOST: u32 = 1_000;

/// Bytes of the events of one partition in one answer, about; the first event always comes.
pub const READ_BYTES: usize = 1 << 20;

/// Dead letters kept for one processor of one partition; the oldest goes.
pub const DEAD_MOST: u64 = 10_000;

/// A record on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub partition: u16,
    /// Its id, if the sender wants to say; else the store's time. Both its numbers are below 2^53.
    pub id: Option<EventId>,
    /// Named fields; none is called `#`.
    pub fields: Fields,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is stored.
    Stored(Place),
    /// Not stored: the partition is full, or an earlier record of the same call found it so.
    Full,
    /// Not stored: the id it asks for is not greater than the last one of its partition.
    NotNewer {
        /// That last one.
        last: EventId,
    },
}

/// A processor of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Duty {
    /// The stream.
    pub stream: StreamName,
    /// The processor's name; that of its task.
    pub processor: TaskName,
}

/// The right to one partition, good while `fence` is its newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The partition.
    pub partition: u16,
    /// Raised by one whenever the partition is taken.
    pub fence: u64,
}

/// A sign of life of a supervisor that serves a processor.
#[derive(Debug, Clone, Copy)]
pub struct Attendance<'a> {
    /// The processor.
    pub duty: &'a Duty,
    /// Who lives.
    pub member: SupervisorId,
    /// How long it is believed to, and how long what it holds is its own.
    pub lease: Duration,
    /// What it holds: these leases are renewed.
    pub holds: &'a [Hold],
}

/// Why a partition rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Until it is held anew, or released.
    Halted,
    /// Until it is released.
    Quarantined,
}

/// A failure at an event, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The event: the first that was not passed.
    pub place: Place,
    /// How often it was tried and failed at, this time included.
    pub tries: u32,
    /// When it failed last.
    pub at: Timestamp,
    /// The cause, such as `crash`.
    pub cause: String,
    /// The failure, JSON: an [`crate::outcome::ErrorDetails`].
    pub error: String,
    /// Whether the partition rests for it.
    pub rest: Option<Rest>,
}

/// One partition as a processor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The partition.
    pub partition: u16,
    /// Who holds it: its lease runs.
    pub owner: Option<SupervisorId>,
    /// The newest fence; 0 if it was never held.
    pub fence: u64,
    /// The last event that was passed.
    pub passed: Place,
    /// Where it is to go on instead, as an operator wished; done when it is taken anew.
    pub moved_to: Option<Seek>,
    /// The last event that was stored.
    pub last: Place,
    /// When the first event that was not passed was stored, by its id; `None` if there is none.
    pub waiting_since: Option<Timestamp>,
    /// What it failed at last, if it has not passed that.
    pub trouble: Option<Trouble>,
    /// Dead letters that are kept.
    pub dead: u64,
}

/// A processor at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Who lives, ordered by when it came.
    pub members: Vec<SupervisorId>,
    /// Each partition, in order.
    pub shares: Vec<Share>,
    /// Nothing is to be delivered for now, and why: by whom it was paused.
    pub paused: Option<String>,
}

/// What is taken out of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The right to it.
    pub hold: Hold,
    /// The last event that was passed.
    pub passed: Place,
    /// What it failed at, if it has not passed that; a halted one rests no more.
    pub trouble: Option<Trouble>,
}

/// How far a holder has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The right to say so.
    pub hold: Hold,
    /// What is so from now on.
    pub pass: Pass,
}

/// See [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// All events up to here are passed. What was kept of a failure is forgotten if it lies before.
    To(Place),
    /// The same, and these were put away as dead letters.
    Buried {
        /// The last of them.
        to: Place,
        /// Them.
        events: Vec<Event>,
        /// What they failed with.
        trouble: Trouble,
    },
    /// Nothing is passed; this is kept.
    Failed(Trouble),
}

/// A wish to read a partition. Reading needs no right and writes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The partition.
    pub partition: u16,
    /// Events after this one.
    pub after: Place,
    /// At most so many, and [`READ_MOST`].
    pub most: u32,
}

/// What a turn brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// For each step, whether it was made: the fence was the newest.
    pub steps: Vec<bool>,
    /// For each wish, the events; fewer than asked for where there are no more, or where they are
    /// large.
    pub events: Vec<Vec<Event>>,
}

/// Where an operator wants a processor to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seek {
    /// At the first event that is kept.
    Start,
    /// Behind the last one there is when the wish is fulfilled.
    End,
    /// At the first event whose id is this or greater. A time is the id of its first event.
    Id(EventId),
    /// Over so many events more.
    Skip(u64),
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadEvent {
    /// Its partition.
    pub partition: u16,
    /// It, as it lay there.
    pub event: Event,
    /// What it failed with.
    pub trouble: Trouble,
}

/// A partition as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Events that are kept.
    pub len: u64,
    /// The first of them.
    pub first: Option<Place>,
    /// The last event that was stored, kept or not.
    pub last: Place,
}

/// A stream at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// What it is.
    pub spec: StreamSpec,
    /// Its partitions, in order.
    pub partitions: Vec<Kept>,
    /// Its processors, by name.
    pub processors: Vec<(TaskName, View)>,
}

/// Keeps streams.
pub trait Streams: Send + Sync + fmt::Debug {
    /// Makes a stream, or changes what can be changed of it: its size and what happens when it is full.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if there is one with another number of partitions.
    fn declare(&self, spec: &StreamSpec) -> Result<(), BrokerError>;

    /// Stores records, each by itself, in this order. Events that all processors have passed make room
    /// where a partition has more than its size.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if the stream or a partition is unknown, or a record too large; after
    /// [`BrokerError::Away`] records may be stored, some or all of them from the first on.
    fn send(&self, stream: &StreamName, records: &[Record]) -> Result<Vec<Sent>, BrokerError>;

    /// Says that a supervisor serves a processor, renews what it holds, and tells how things are. A new
    /// member comes last. Members and leases whose time is over are no more; a lease that has run out is
    /// renewed like others while nobody else has taken the partition. A processor that was unknown
    /// begins before the first event that is kept.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if the stream is unknown.
    fn attend(&self, attendance: Attendance<'_>) -> Result<View, BrokerError>;

    /// Takes those of these partitions that nobody holds, but no quarantined ones. Not for members that
    /// have not attended, or are believed dead: they get nothing.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream or partition are unknown; after [`BrokerError::Away`] they may be taken, and are given again when asked
    /// for again by the same member, under a new fence.
    fn take(
        &self,
        duty: &Duty,
        member: SupervisorId,
        partitions: &[u16],
        lease: Duration,
    ) -> Result<Vec<Taken>, BrokerError>;

    /// Gives partitions back: others may take them at once. Those held no more are passed over.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn give_back(&self, duty: &Duty, holds: &[Hold]) -> Result<(), BrokerError>;

    /// Says that a supervisor serves a processor no more.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn depart(&self, duty: &Duty, member: SupervisorId) -> Result<(), BrokerError>;

    /// Makes steps, then reads. A step of a hold that is not the newest changes nothing; one whose
    /// lease has run out counts while nobody else has taken the partition. Steps never go back, nor
    /// beyond the last event.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream or partition are unknown; a step may be made again.
    fn step(&self, duty: &Duty, steps: &[Step], reads: &[Read]) -> Result<Turn, BrokerError>;

    /// Wishes that a processor goes on elsewhere: in these partitions, or in all if none are named. Also
    /// ends their rest. Done when a partition is taken anew, which its owner sees to; until then a later
    /// wish takes the place of an earlier one.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream, processor or partition are unknown.
    fn seek(&self, duty: &Duty, partitions: &[u16], to: Seek) -> Result<(), BrokerError>;

    /// Ends the rest of these partitions, or of all. Returns which rested. Their events are tried afresh.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream, processor or partition are unknown.
    fn release(&self, duty: &Duty, partitions: &[u16]) -> Result<Vec<u16>, BrokerError>;

    /// Lets a processor, or all of the stream that there are now, be delivered nothing, and says why; or
    /// (`None`) lets them go on.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream or processor are unknown.
    fn pause(
        &self,
        stream: &StreamName,
        processor: Option<&TaskName>,
        why: Option<&str>,
    ) -> Result<(), BrokerError>;

    /// Forgets a processor, so that events need not wait for it; refused while a member lives.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if it is served.
    fn forget(&self, duty: &Duty) -> Result<bool, BrokerError>;

    /// Dead letters of one partition, oldest first, at most `most` and [`READ_MOST`], fewer where they
    /// are large.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream or partition are unknown.
    fn dead(&self, duty: &Duty, partition: u16, most: u32) -> Result<Vec<DeadEvent>, BrokerError>;

    /// Removes the dead letters of one partition up to this place. Returns how many.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if stream or partition are unknown.
    fn drop_dead(&self, duty: &Duty, partition: u16, to: Place) -> Result<u64, BrokerError>;

    /// One stream, or all, by name.
    ///
    /// # Errors
    /// [`BrokerError`].
    fn streams(&self, only: Option<&StreamName>) -> Result<Vec<Overview>, BrokerError>;
}
