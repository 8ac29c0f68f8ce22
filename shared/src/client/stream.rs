//! Records for streams.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Client;
use crate::broker::BrokerError;
use crate::name::StreamName;
use crate::reconnect;
use crate::stream::keep::{Record, Sent, Streams};
use crate::stream::{EventId, Full, Place, RecordError, Stream, StreamError, StreamSpec};
use crate::time::Now;
use crate::units::show_duration;

impl Client {
    /// A sender to this stream, which is made if it is not there.
    ///
    /// ```
    /// # use bulkhead_shared::client::{Client, SendError};
    /// use bulkhead_shared::stream::Stream;
    /// use serde::Serialize;
    ///
    /// #[derive(Serialize)]
    /// struct Order {
    ///     order_id: u64,
    ///     amount: i64,
    /// }
    ///
    /// fn orders() -> Stream<Order> {
    ///     Stream::new("orders").partition_by(|order: &Order| order.order_id)
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = Client::open("sqlite::memory:")?;
    /// let sender = client.stream(orders())?;
    /// sender.send(&Order { order_id: 7, amount: 30 })?;
    /// let many = (0..1_000).map(|order_id| Order { order_id, amount: 1 });
    /// assert_eq!(sender.send_many(many)?, 1_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`StreamSender::new`].
    pub fn stream<T>(&self, stream: Stream<T>) -> Result<StreamSender<T>, SendError> {
        StreamSender::new(Arc::clone(&self.backend.streams), stream)
    }
}

/// Records in one move of the store, and bytes of them, about.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

/// How long a sender waits for room, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAt {
    /// Its partition.
    pub partition: u16,
    /// Its position and id there.
    pub place: Place,
}

/// Why records were not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream cannot be as it was declared.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The record cannot be a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no room: the oldest events of the partition have not been passed by all processors, or
    /// there is none.
    #[error(
        "partition {partition} of stream `{stream}` is full{} (its oldest events have not been passed by all processors: `supervisor stream lag {stream}` shows who is behind; a larger `partition_size` gives it time, `full = drop-oldest` drops what it has not seen)",
        after(*.waited)
    )]
    Full {
        /// The stream.
        stream: StreamName,
        /// The partition of the first record without room.
        partition: u16,
        /// How long room was waited for.
        waited: Duration,
    },
    /// The id is not greater than all before it.
    #[error(
        "id {id} is not greater than {last}, the last one of partition {partition} (choose a greater one, or leave it out)"
    )]
    NotNewer {
        /// The id that was asked for.
        id: EventId,
        /// The last one.
        last: EventId,
        /// The partition.
        partition: u16,
    },
    /// Some of several records were not stored.
    #[error("record {index} was not stored, those before it are")]
    Partly {
        /// The place of the first one that was not, counted from 0: all before it are stored, and
        /// perhaps some after it, in other partitions.
        index: u64,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// The store could not do its work. If it was away, the records may be stored all the same.
    #[error(transparent)]
    Store(#[from] BrokerError),
}

fn after(waited: Duration) -> String {
    match waited {
        Duration::ZERO => String::new(),
        waited => format!(" after {}", show_duration(waited)),
    }
}

/// Sends records to one stream. Cheap to clone; may be used from several threads. Records of one key that
/// one thread sends keep their order.
pub struct StreamSender<T> {
    streams: Arc<dyn Streams>,
    stream: Stream<T>,
    spec: StreamSpec,
    patience: Duration,
}

impl<T> StreamSender<T> {
    /// To a stream of this store, which is made if it is not there.
    ///
    /// # Errors
    /// [`SendError::Stream`]; [`SendError::Store`], also if there is one with another number of
    /// partitions.
    pub fn new(streams: Arc<dyn Streams>, stream: Stream<T>) -> Result<Self, SendError> {
        let spec = stream.spec()?;
        streams.declare(&spec)?;
        Ok(Self {
            streams,
            stream,
            spec,
            patience: PATIENCE,
        })
    }

    /// How long to wait for room where the stream lets its senders wait; 60 s unless it is said.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The partition that a record goes to.
    ///
    /// # Errors
    /// [`RecordError::Key`].
    pub fn partition_of(&self, record: &T) -> Result<u16, RecordError> {
        self.stream.partition_of(record)
    }
}

impl<T: Serialize> StreamSender<T> {
    /// Stores one record, behind all others of its partition.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, record: &T) -> Result<StoredAt, SendError> {
        self.send_one(record, None)
    }

    /// Stores one record under an id of its own, which must be greater than all before it in its
    /// partition: a sender that knows its ids cannot store a record twice.
    ///
    /// # Errors
    /// [`SendError::NotNewer`] and others.
    pub fn send_as(&self, id: EventId, record: &T) -> Result<StoredAt, SendError> {
        self.send_one(record, Some(id))
    }

    /// Stores records in this order, 500 of them in a move of the store, and says how many there were.
    ///
    /// # Errors
    /// [`SendError::Partly`] says how far it came; [`SendError::Store`] and others if none is stored.
    pub fn send_many<R: Borrow<T>>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<u64, SendError> {
        let mut records = records.into_iter();
        let mut count = 0;
        loop {
            let (batch, trouble) = self.batch(&mut records);
            let len = batch.len() as u64;
            if len > 0 {
                self.store(batch).map_err(|error| partly(count, error))?;
                count += len;
            }
            if let Some(error) = trouble {
                return Err(partly(count, error));
            }
            if len == 0 {
                return Ok(count);
            }
        }
    }

    /// What goes in one move, and what ended it, if that was a record that is none.
    fn batch<R: Borrow<T>>(
        &self,
        records: &mut impl Iterator<Item = R>,
    ) -> (Vec<Record>, Option<SendError>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some(record) = records.next() else {
                break;
            };
            match self.record(record.borrow(), None) {
                Ok(record) => {
                    bytes += record.fields.size();
                    batch.push(record);
                }
                Err(error) => return (batch, Some(error.into())),
            }
        }
        (batch, None)
    }

    fn record(&self, record: &T, id: Option<EventId>) -> Result<Record, RecordError> {
        Ok(Record {
            partition: self.stream.partition_of(record)?,
            id,
            fields: self.stream.encode(record)?,
        })
    }

    fn send_one(&self, record: &T, id: Option<EventId>) -> Result<StoredAt, SendError> {
        let record = self.record(record, id)?;
        let partition = record.partition;
        let stored = self.store(vec![record]).map_err(|error| match error {
            SendError::Partly { source, .. } => *source,
            error => error,
        })?;
        let no_answer = || BrokerError::Damaged {
            reason: "the store does not say where it put a record".into(),
            way_out: "update this program and the store's".into(),
        };
        let place = stored.first().copied().ok_or_else(no_answer)?;
        Ok(StoredAt { partition, place })
    }

    /// Stores all of these, or says which is the first that is not.
    fn store(&self, records: Vec<Record>) -> Result<Vec<Place>, SendError> {
        let ids: Vec<_> = records.iter().map(|one| (one.partition, one.id)).collect();
        let became = self.push(records)?;
        let mut places = Vec::with_capacity(became.len());
        for (index, ((partition, id), sent)) in ids.into_iter().zip(became).enumerate() {
            let error = match sent {
                Sent::Stored(place) => {
                    places.push(place);
                    continue;
                }
                Sent::Full => SendError::Full {
                    stream: self.spec.name.clone(),
                    partition,
                    waited: match self.spec.full {
                        Full::Block => self.patience,
                        Full::Error | Full::DropOldest => Duration::ZERO,
                    },
                },
                Sent::NotNewer { last } => SendError::NotNewer {
                    id: id.unwrap_or_default(),
                    last,
                    partition,
                },
            };
            return Err(SendError::Partly {
                index: index as u64,
                source: Box::new(error),
            });
        }
        Ok(places)
    }

    fn push(&self, records: Vec<Record>) -> Result<Vec<Sent>, BrokerError> {
        match push(&*self.streams, &self.spec, &records, self.patience) {
            // Somebody has cleared the store since the stream was made.
            Err(BrokerError::Refused { .. }) => {
                self.streams.declare(&self.spec)?;
                push(&*self.streams, &self.spec, &records, self.patience)
            }
            became => became,
        }
    }
}

/// With the number of records before it.
fn partly(before: u64, error: SendError) -> SendError {
    match error {
        SendError::Partly { index, source } => SendError::Partly {
            index: before + index,
            source,
        },
        error if before == 0 => error,
        error => SendError::Partly {
            index: before,
            source: Box::new(error),
        },
    }
}

/// Stores records, each partition's in their order, and says what became of each. Where the stream lets
/// its senders wait for room it does, `within` at most, with pauses that grow.
///
/// # Errors
/// [`BrokerError`]; after [`BrokerError::Away`] some may be stored.
pub fn push(
    streams: &dyn Streams,
    spec: &StreamSpec,
    records: &[Record],
    within: Duration,
) -> Result<Vec<Sent>, BrokerError> {
    let mut became = streams.send(&spec.name, records)?;
    let until = Now::read().mono.checked_add(within);
    let mut tries = 0;
    while spec.full == Full::Block && became.contains(&Sent::Full) {
        let now = Now::read().mono;
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            break;
        }
        let pause = reconnect::pause(tries).min(left);
        crossbeam::channel::after(pause).recv().ok();
        tries += 1;
        let waiting: Vec<_> = full(&became);
        let again: Vec<_> = waiting
            .iter()
            .map(|&index| records[index].clone())
            .collect();
        for (index, sent) in waiting.into_iter().zip(streams.send(&spec.name, &again)?) {
            became[index] = sent;
        }
    }
    Ok(became)
}

fn full(became: &[Sent]) -> Vec<usize> {
    let all = became.iter().enumerate();
    all.filter(|(_, sent)| **sent == Sent::Full)
        .map(|(index, _)| index)
        .collect()
}

impl<T> Clone for StreamSender<T> {
    fn clone(&self) -> Self {
        Self {
            streams: Arc::clone(&self.streams),
            stream: self.stream.clone(),
            spec: self.spec.clone(),
            patience: self.patience,
        }
    }
}

impl<T> fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender")
            .field("spec", &self.spec)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
