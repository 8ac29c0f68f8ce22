//! Checkpoints of streams that a store keeps: how far one is, and its delivery as something that can be
//! paused.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, Dependent};
use crate::name::{StreamName, TaskName};
use crate::stream::keep::{Overview, Streams};
use crate::time::Timestamp;

/// The delivery of a stream's events to its processors, or to one of them: paused by a checkpoint while
/// a stream that they depend on is down. `supervisor stream ls` shows it as paused, and why.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use bulkhead_shared::{StreamName, Timestamp};
/// # use bulkhead_shared::backend::{self, Options};
/// # use bulkhead_shared::checkpoint::{Checkpoint, Delivery, Dependency};
/// # use bulkhead_shared::stream::StreamSpec;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = backend::open(&Options::new("sqlite::memory:"))?;
/// let orders = StreamName::new("orders")?;
/// backend.streams.declare(&StreamSpec::new(orders.clone()))?;
/// let delivery = Delivery::new(Arc::clone(&backend.streams), orders, None, "prices are late");
/// let _checkpoint: Checkpoint<Timestamp, Duration> = Checkpoint::builder("orders")
///     .dependency(Dependency::new("prices"))
///     .store(Arc::clone(&backend.checkpoints))
///     .dependent(delivery)
///     .open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Delivery {
    streams: Arc<dyn Streams>,
    stream: StreamName,
    processor: Option<TaskName>,
    why: String,
}

impl Delivery {
    /// That to one processor of a stream, or to all; `why` is shown to people while it is paused.
    #[must_use]
    pub fn new(
        streams: Arc<dyn Streams>,
        stream: StreamName,
        processor: Option<TaskName>,
        why: &str,
    ) -> Self {
        Self {
            streams,
            stream,
            processor,
            why: why.into(),
        }
    }

    fn set(&self, why: Option<&str>) -> Result<(), Cause> {
        let paused = self
            .streams
            .pause(&self.stream, self.processor.as_ref(), why);
        paused.map_err(Into::into)
    }
}

impl Dependent for Delivery {
    fn pause(&mut self) -> Result<(), Cause> {
        self.set(Some(&self.why))
    }

    fn resume(&mut self) -> Result<(), Cause> {
        self.set(None)
    }
}

/// How far a stream has come, as a dependency's marker: the time of the latest event of the partition
/// that is behind most. Partitions whose latest event is older than `idle_after` hold nobody up, unless
/// all are: then the latest event of all counts. `None` if there never was one.
///
/// An event's time is that of its id: when it was stored, unless its sender chose the id.
#[must_use]
pub fn marker_of(stream: &Overview, idle_after: Duration, now: Timestamp) -> Option<Timestamp> {
    let latest = stream
        .partitions
        .iter()
        .filter(|kept| kept.last.position > 0);
    let latest: Vec<_> = latest
        .map(|kept| Timestamp::from_millis(kept.last.id.ms))
        .collect();
    let busy = latest.iter().filter(|at| now.since(**at) <= idle_after);
    busy.min().or_else(|| latest.iter().max()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::keep::Kept;
    use crate::stream::{EventId, Place, StreamSpec};

    fn stream(latest: &[u64]) -> Overview {
        let kept = |&ms: &u64| Kept {
            len: 1,
            first: None,
            last: Place {
                position: u64::from(ms > 0),
                id: EventId { ms, seq: 0 },
            },
        };
        Overview {
            spec: StreamSpec::new(StreamName::new("prices").unwrap()),
            partitions: latest.iter().map(kept).collect(),
            processors: Vec::new(),
        }
    }

    fn marker(latest: &[u64]) -> Option<u64> {
        let now = Timestamp::from_millis(100_000);
        let marker = marker_of(&stream(latest), Duration::from_secs(10), now);
        marker.map(Timestamp::as_millis)
    }

    #[test]
    fn a_stream_is_as_far_as_its_last_partition_that_is_not_idle() {
        assert_eq!(marker(&[99_000, 95_000, 97_000]), Some(95_000));
        // The second one is idle, the last one was never used.
        assert_eq!(marker(&[99_000, 89_999, 97_000, 0]), Some(97_000));
        assert_eq!(marker(&[99_000, 90_000]), Some(90_000));
        // Nothing comes at all: that is no reason to look up to date.
        assert_eq!(marker(&[60_000, 50_000]), Some(60_000));
        assert_eq!(marker(&[0, 0]), None);
        assert_eq!(marker(&[]), None);
    }
}
