//! Streams: records in order, in partitions, and who has passed how much of them.
//!
//! A stream has a fixed number of partitions. Records with one key lie in one partition and keep
//! their order. A processor passes the events of each partition one after the other; which events
//! it has passed is one number for each partition, written under the fence of whoever holds it.
//!
//! This module is data; [`keep`] is what stores do with it.

mod event;
mod fields;
#[cfg(feature = "store")]
pub mod keep;
mod partition;
mod primitive;
mod record;
#[cfg(any(feature = "redis", feature = "sqlite"))]
pub(crate) mod sending;
mod spec;
mod typed;

pub use event::{Event, EventId, EventIdError, Place};
pub use fields::Fields;
pub(crate) use fields::Together;
#[cfg(feature = "sqlite")]
pub(crate) use fields::are_packed;
pub use partition::{partition_of, sha256};
pub use record::{Compression, EXPANDED_LIMIT, RecordError, Serializer, decode, encode};
pub use spec::{
    DEFAULT_PARTITIONS, DEFAULT_PREFETCH, DEFAULT_SIZE, ExceptionPolicy, FIELDS_MOST, Full,
    LastResort, PARTITIONS_MOST, PREFETCH_MOST, ProcessorSpec, RECORD_LIMIT, SIZE_MOST, SpecError,
    StreamSpec,
};
pub use typed::{Stream, StreamError};
