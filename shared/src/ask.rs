//! What a running task asks of its supervisor, and what it is told: a part of the wire.
//!
//! A child holds no way to the store. What it wants of it goes through its pipe, is allowed by its
//! profile, and is done under the lease of its attempt: an attempt that has lost its job changes
//! nothing. The rules of [`crate::frame`] hold here, too: what is new comes at the end.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::stream::{Event, Together};

/// Asks of one attempt that may wait for their answers at once, unless its profile says otherwise.
pub const OPEN_MOST: u16 = 16;

/// Asks of one run for its job's journal: each of its entries, begun and ended.
pub const JOURNAL_MOST: u32 = 3 * ENTRIES_MOST;

/// Asks of one attempt for other things, unless its profile says otherwise.
pub const ALL_MOST: u32 = 1_000;

/// Largest body of an entry in a job's journal, in bytes.
pub const ENTRY_LIMIT: usize = 1 << 20;

/// Entries in one journal.
pub const ENTRIES_MOST: u32 = 10_000;

/// Bytes of all bodies in one journal.
pub const BYTES_MOST: i64 = 16 << 20;

/// What to do when the same owner holds a lock already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfMine {
    /// It is a mistake, and an error.
    #[default]
    Refuse,
    /// Go on under the fence it is held by. The guard does not release what it did not take.
    Share,
    /// As if somebody else held it, at once.
    Leave,
}

/// What a task asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A lock, owned by the attempt: it falls with it.
    Acquire {
        /// Its name.
        lock: String,
        /// How long it is held unless renewed; `None` is to the end of the attempt.
        ttl_ms: Option<u64>,
        /// How long to wait for it if somebody else holds it.
        wait_ms: u64,
    },
    /// To hold a lock for longer.
    Renew {
        /// Its name.
        lock: String,
        /// The fence it is held under.
        fence: u64,
        /// From now on.
        ttl_ms: Option<u64>,
    },
    /// To free a lock.
    Free {
        /// Its name.
        lock: String,
        /// The fence it is held under.
        fence: u64,
    },
    /// To have an entry written into the job's journal.
    Record {
        /// Names it: 1 to 256 printable characters.
        key: String,
        /// What is kept, at most [`ENTRY_LIMIT`] bytes.
        body: ByteBuf,
        /// The asker takes the journal for empty.
        is_first: bool,
    },
    /// To read the job's journal.
    Recall {
        /// Entries to pass over.
        after: u32,
    },
    /// To be given a signal.
    Take {
        /// Its name.
        name: String,
        /// The entry that takes it.
        by: String,
    },
    /// To be given the next events of the partition that this call processes.
    Events {
        /// At most so many.
        most: u32,
        /// Wait for all of them, but from the first one on no longer than this; `None` is not to wait
        /// once there is one.
        within_ms: Option<u64>,
        /// They are passed together or not at all.
        as_one: bool,
    },
    /// To have a flow submitted.
    Submit {
        /// Its steps as JSON, the form in which stores keep them: [`crate::flow::Step`].
        flow: ByteBuf,
    },
    /// To be told how a job of the own flow has ended.
    Result {
        /// The job.
        uuid: [u8; 16],
        /// How long to wait for its end.
        wait_ms: u64,
    },
}

/// What became of a flow that a task has submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Became {
    /// It is stored.
    New,
    /// The queue knew the uuid, with the same task and arguments; nothing was changed.
    Known,
    /// The queue knows another job with the same unique key; nothing was changed.
    NotUnique {
        /// That job.
        by: [u8; 16],
    },
    /// The queue is draining; nothing was stored.
    Draining,
}

/// How a job stands that a task asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It has not ended, and did not to the end of the wait.
    Open {
        /// Its status.
        status: String,
    },
    /// It has ended well.
    Succeeded {
        /// What it returned, if that is kept.
        result: Option<ByteBuf>,
    },
    /// It has ended badly.
    Failed {
        /// Its cause.
        cause: String,
        /// What is known of its error.
        text: String,
    },
}

/// An entry of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its name.
    pub key: String,
    /// When its key was first written, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was written last.
    pub body: ByteBuf,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was not done.
    Denied {
        /// Why, for programs.
        why: Denied,
        /// Why, for people, with a way out.
        text: String,
    },
    /// The lock is taken.
    Acquired {
        /// The fence it is held under.
        fence: u64,
    },
    /// The attempt had it already.
    AlreadyYours {
        /// The fence it is held under.
        fence: u64,
    },
    /// Somebody else holds it, and did to the end of the wait.
    Held {
        /// Who.
        owner: String,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// How long it is held unless renewed.
        left_ms: Option<u64>,
    },
    /// It was done, or there was nothing to do it to.
    Done(bool),
    /// The entry is written.
    Written {
        /// When its key was first written, in milliseconds since 1970.
        at_ms: u64,
        /// The store's time now.
        now_ms: u64,
    },
    /// It is not: the journal is not empty.
    Behind,
    /// A part of the journal, in the order of first writing.
    Page {
        /// The entries.
        entries: Vec<Remembered>,
        /// There are more, after the last of these.
        more: bool,
        /// The store's time now.
        now_ms: u64,
    },
    /// The signal, if there is one that nobody has taken.
    Signal {
        /// What came with it.
        payload: Option<ByteBuf>,
        /// The store's time now.
        now_ms: u64,
    },
    /// The next events, in order; none if there will be no more for this call, which is to return.
    Events(#[serde(deserialize_with = "Together::read")] Vec<Event>),
    /// The flow was looked at.
    Submitted {
        /// Its first message, or the group that it begins with.
        uuid: [u8; 16],
        /// The queue of that.
        queue: String,
        /// What became of it.
        became: Became,
        /// Its messages: each counts as an ask of the attempt.
        messages: u32,
    },
    /// How the job stands.
    Standing(Standing),
}

/// Why an ask is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// The profile of the task does not allow it.
    Forbidden,
    /// The attempt has asked too often, or too much at once.
    TooMany,
    /// It makes no sense.
    Invalid,
    /// The store cannot be reached, or cannot do it.
    Away,
    /// The job is somebody else's by now, or has ended.
    Lost,
    /// There is no room.
    Full,
}

impl Reply {
    /// An answer that says no.
    #[must_use]
    pub fn denied(why: Denied, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Denied { why, text }
    }
}
