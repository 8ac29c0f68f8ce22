//! Events as a processor's loop gets them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::stream::{Event, EventId, RecordError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::feed::Feed;

/// Makes of an event what the loop gets.
type Read<T> = fn(&Event) -> Result<T, RecordError>;

/// The events of one partition, in order: an iterator that waits for the next one.
///
/// Asking for the next event says that the one before is done with. The iterator ends when the partition is
/// given to somebody else, when the supervisor stops, or at an event that cannot be read; then the
/// function is to return.
///
/// ```
/// use bulkhead_child::{Events, Stream, processor, tasks};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     order_id: u64,
///     amount: i64,
/// }
///
/// fn orders() -> Stream<Order> {
///     Stream::new("orders").partition_by(|order: &Order| order.order_id)
/// }
///
/// #[processor(stream = orders)]
/// fn printer(events: Events<Order>) -> Result<(), std::num::TryFromIntError> {
///     for order in events {
///         println!("{}", u64::try_from(order.amount)?);
///     }
///     Ok(())
/// }
///
/// // In a child binary: `bulkhead_child::run(tasks![printer])`.
/// assert_eq!(tasks![printer][0].name(), "printer");
/// // In a test, the function is called with events of one's own.
/// let order = |amount| Order { order_id: 1, amount };
/// assert!(printer(Events::of([order(7)])).is_ok());
/// assert!(printer(Events::of([order(7), order(-1)])).is_err());
/// ```
#[must_use = "a processor passes only what it iterates over"]
pub struct Events<T> {
    feed: Arc<Feed>,
    read: Read<T>,
}

/// Several events at a time: see [`Events::take`].
#[must_use = "a processor passes only what it iterates over"]
pub struct Batches<T> {
    events: Events<T>,
    most: usize,
    within: Duration,
}

impl<T> Events<T> {
    pub(super) const fn new(feed: Arc<Feed>, read: Read<T>) -> Self {
        Self { feed, read }
    }

    /// Batches: each has at most `most` events (and at most 10,000), and is there when it is full, or
    /// `within` after its first event came. A batch is passed as one when the loop asks for the next, or
    /// not at all.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bulkhead_child::Events;
    ///
    /// let events = Events::of(["a".to_owned(), "b".into(), "c".into()]);
    /// let sizes: Vec<_> = events.take(2, Duration::from_millis(50)).map(|batch| batch.len()).collect();
    /// assert_eq!(sizes, [2, 1]);
    /// ```
    pub const fn take(self, most: usize, within: Duration) -> Batches<T> {
        Batches {
            events: self,
            most,
            within,
        }
    }

    /// The events as they are stored: place, id and fields, not decoded.
    pub fn raw(self) -> Events<Event> {
        Events::new(self.feed, |event| Ok(event.clone()))
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.feed.stream()
    }

    /// The partition, from 0.
    #[must_use]
    pub fn partition_number(&self) -> u16 {
        self.feed.partition()
    }
}

impl<T: DeserializeOwned> Events<T> {
    /// Each record with the id of its event. Ids grow along a partition, so a processor that keeps
    /// the last one beside what it writes can tell an event that comes again.
    pub fn with_ids(self) -> Events<(EventId, T)> {
        Events::new(self.feed, |event| {
            Ok((event.place.id, decode(&event.fields)?))
        })
    }
}

impl<T: Serialize + DeserializeOwned> Events<T> {
    /// These records as the events of partition 0 of a stream `test`: for tests of processors. They
    /// go through the same encoding as those of a stream.
    ///
    /// # Panics
    /// If one of them cannot be written as JSON, or is too large.
    pub fn of(records: impl IntoIterator<Item = T>) -> Self {
        let fields = records.into_iter().map(|record| encode(&record));
        let fields: Result<Vec<_>, _> = fields.collect();
        let fields = fields.unwrap_or_else(|error| panic!("a record of a test: {error}"));
        Self::new(Arc::new(Feed::of(fields)), |event| decode(&event.fields))
    }
}

impl<T> Iterator for Events<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.feed.next(self.read)
    }
}

impl<T> Iterator for Batches<T> {
    type Item = Vec<T>;

    fn next(&mut self) -> Option<Vec<T>> {
        let Self {
            events,
            most,
            within,
        } = self;
        events.feed.next_batch(events.read, *most, *within)
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("stream", &self.stream())
            .field("partition", &self.partition_number())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Batches<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("events", &self.events)
            .field("most", &self.most)
            .field("within", &self.within)
            .finish()
    }
}
