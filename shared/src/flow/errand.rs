//! What an ending brings with it, and what stores keep about groups.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Member, OnFailed};
use crate::message::Message;
use crate::name::QueueName;

/// Something that a store does in the move that ends a job, or makes sure that it is done.
#[derive(Debug, Clone)]
pub enum Errand {
    /// Submits a message, unless its queue knows it.
    Submit {
        /// Where it goes.
        queue: QueueName,
        /// The message.
        message: Box<Message>,
    },
    /// Counts a member's end, once for each place in the group.
    Count(Box<Count>),
    /// Opens a group and starts its members, unless it is known.
    Open(Box<Opening>),
}

/// The errands of one settlement.
#[derive(Debug, Clone, Default)]
pub struct Errands {
    /// Done if the settlement is applied.
    pub applied: Vec<Errand>,
    /// Done if the store finds that the job was revoked.
    pub revoked: Vec<Errand>,
}

impl Errands {
    /// Adds others, to be done after these.
    pub fn add(&mut self, more: Self) {
        self.applied.extend(more.applied);
        self.revoked.extend(more.revoked);
    }
}

/// A member's end.
#[derive(Debug, Clone)]
pub struct Count {
    /// Its place.
    pub member: Member,
    /// How it ended.
    pub end: MemberEnd,
}

/// How a member ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEnd {
    /// The job that ended it.
    pub uuid: Uuid,
    /// Badly.
    pub is_failed: bool,
    /// Its result, or `{"uuid", "cause", "name", "text"}`, as JSON.
    pub body: Vec<u8>,
}

/// What opens a group.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its id.
    pub uuid: Uuid,
    /// The queue it is kept with.
    pub home: QueueName,
    /// What is to be known when it is complete.
    pub record: GroupRecord,
    /// What starts its members.
    pub members: Vec<Errand>,
}

/// What a store keeps about a group until it is complete, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The id of each member's first message, or of the group that it begins with.
    pub members: Vec<Uuid>,
    /// What is done about members that have failed.
    pub on_failed: OnFailed,
    /// What follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<RawValue>>,
    /// Its own place in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Box<Member>>,
    /// The first message, or group, of the flow.
    pub progenitor_uuid: Uuid,
}

/// A group whose members have all ended.
#[derive(Debug, Clone)]
pub struct Complete {
    /// Its id.
    pub uuid: Uuid,
    /// The queue it is kept with.
    pub home: QueueName,
    /// [`GroupRecord`] as JSON.
    pub record: Vec<u8>,
    /// Bytes of all bodies, those included that were too many to be kept.
    pub bytes: u64,
    /// How its members ended, in their order.
    pub ends: Vec<MemberEnd>,
}
