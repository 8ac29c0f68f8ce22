//! Streams as programs declare them: what is in their records, and where each goes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Fields;
use super::partition::{self, Hash};
use super::record::{Compression, RecordError, Serializer, Shape};
use super::{Full, SpecError, StreamSpec};
use crate::name::{NameError, StreamName};

/// The key of a record, as it is hashed.
type KeyOf<T> = Arc<dyn Fn(&T) -> Result<Vec<u8>, RecordError> + Send + Sync>;

/// Why a stream cannot be as it was declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// One of its numbers.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Nothing says which records belong together.
    #[error(
        "stream `{stream}` has no key (say which records keep their order: `.partition_by(|record| record.id)`)"
    )]
    NoKey {
        /// The stream.
        stream: String,
    },
}

/// A stream of records of type `T`: declared once, in a function that producers and processors
/// call.
///
/// ```
/// use bulkhead_shared::stream::{Compression, Stream};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     order_id: u64,
///     items: Vec<String>,
/// }
///
/// /// Orders with one id keep their order.
/// fn orders() -> Stream<Order> {
///     Stream::new("orders")
///         .partition_by(|order: &Order| order.order_id)
///         .partition_count(8)
///         .compression(Compression::Lz4)
/// }
///
/// let order = Order { order_id: 7, items: vec!["tea".into()] };
/// assert!(orders().partition_of(&order).unwrap() < 8);
/// ```
pub struct Stream<T> {
    name: String,
    partitions: u16,
    size: u64,
    full: Full,
    shape: Shape,
    hash: Hash,
    key: Option<KeyOf<T>>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            partitions: self.partitions,
            size: self.size,
            full: self.full,
            shape: self.shape,
            hash: self.hash.clone(),
            key: self.key.clone(),
        }
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .field("size", &self.size)
            .field("full", &self.full)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl<T> Stream<T> {
    /// A stream of that name with the usual numbers: 16 partitions of about 50,000 events, JSON, no
    /// compression, senders wait where it is full. It needs [`Stream::partition_by`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            partitions: super::DEFAULT_PARTITIONS,
            size: super::DEFAULT_SIZE,
            full: Full::default(),
            shape: Shape::default(),
            hash: Hash::default(),
            key: None,
        }
    }

    /// Records with the same key lie in the same partition and keep their order. A key is a text, a
    /// whole number, a truth value, or a list or tuple of those.
    #[must_use]
    pub fn partition_by<K: Serialize>(
        mut self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Arc::new(move |record| partition::key(&key(record))));
        self
    }

    /// How many partitions it has, 1 to 1,024: so many events may be worked at once. It can not be
    /// changed once the stream is there.
    #[must_use]
    pub const fn partition_count(mut self, count: u16) -> Self {
        self.partitions = count;
        self
    }

    /// How many events each partition keeps, about.
    #[must_use]
    pub const fn partition_size(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    /// What happens when a partition keeps as many events as that, and not all processors have passed
    /// the oldest.
    #[must_use]
    pub const fn full(mut self, full: Full) -> Self {
        self.full = full;
        self
    }

    /// How records are written. Those that are there stay readable when it changes.
    #[must_use]
    pub const fn serializer(mut self, serializer: Serializer) -> Self {
        self.shape = match self.shape {
            Shape::Nested { compression, .. } => Shape::Nested {
                serializer,
                compression,
            },
            Shape::Primitive => Shape::Nested {
                serializer,
                compression: Compression::None,
            },
        };
        self
    }

    /// How records are compressed. Those that are there stay readable when it changes.
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.shape = match self.shape {
            Shape::Nested { serializer, .. } => Shape::Nested {
                serializer,
                compression,
            },
            Shape::Primitive => Shape::Nested {
                serializer: Serializer::Json,
                compression,
            },
        };
        self
    }

    /// Records are structs of numbers, texts, truth values and `Option`s of those: each becomes a field
    /// of its own in the store, as text, that other programs can read. It goes without a serializer
    /// and without compression.
    #[must_use]
    pub const fn primitive(mut self) -> Self {
        self.shape = Shape::Primitive;
        self
    }

    /// What finds the partition: it gets the key as JSON without spaces, and its answer is taken modulo
    /// the number of partitions. Without it that is [`sha256`](super::sha256), which never changes.
    ///
    /// All producers of a stream need the same one.
    #[must_use]
    pub fn hasher(mut self, hasher: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        self.hash = Hash::new(hasher);
        self
    }

    /// The stream as stores know it.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn spec(&self) -> Result<StreamSpec, StreamError> {
        let spec = StreamSpec {
            name: StreamName::new(&self.name)?,
            partitions: self.partitions,
            size: self.size,
            full: self.full,
        };
        spec.check()?;
        match self.key {
            Some(_) => Ok(spec),
            None => Err(StreamError::NoKey {
                stream: self.name.clone(),
            }),
        }
    }

    /// The partition that a record goes to.
    ///
    /// # Errors
    /// [`RecordError::Key`].
    pub fn partition_of(&self, record: &T) -> Result<u16, RecordError> {
        let no_key = || RecordError::Key {
            reason: format!("stream `{}` has none", self.name),
        };
        let key = self.key.as_ref().ok_or_else(no_key)?(record)?;
        Ok(self.hash.partition(&key, self.partitions))
    }
}

impl<T: Serialize> Stream<T> {
    /// A record as it is stored.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn encode(&self, record: &T) -> Result<Fields, RecordError> {
        self.shape.encode(record)
    }
}

/// Read alike by all: a record says itself how it was written.
impl<T: for<'de> Deserialize<'de>> Stream<T> {
    /// A record from what is stored.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(&self, fields: &Fields) -> Result<T, RecordError> {
        super::record::decode(fields)
    }
}
