//! From records to fields and back. A record says itself how it was written, so what a stream is
//! declared as may change without harm to what is stored.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FIELDS_MOST, Fields, RECORD_LIMIT, primitive};

/// Largest nested record before it is compressed, in bytes: a small record does not become a large
/// one in its reader's memory.
pub const EXPANDED_LIMIT: usize = 16 << 20;

/// The field of a nested record.
const DATA: &str = "data";

/// The field that says how `data` is written, if it is not plain JSON.
const FORMAT: &str = "format";

/// How nested records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serializer {
    /// Text, which people and other programs read.
    #[default]
    Json,
    /// Smaller.
    MessagePack,
}

/// How nested records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Fast: an LZ4 block after its expanded length (four bytes, the lowest first).
    Lz4,
    /// Small.
    Gzip,
}

/// What records look like in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Nested {
        serializer: Serializer,
        compression: Compression,
    },
    Primitive,
}

impl Default for Shape {
    fn default() -> Self {
        Self::Nested {
            serializer: Serializer::Json,
            compression: Compression::None,
        }
    }
}

/// Why a record cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be written.
    #[error("record cannot be written: {reason}")]
    Write {
        /// Why.
        reason: String,
    },
    /// It is no struct of scalars.
    #[error("primitive record: {reason} (leave `.primitive()` out for nested records)")]
    NotPrimitive {
        /// What is in the way.
        reason: String,
    },
    /// Too many bytes.
    #[error(
        "record has {len} bytes, more than {limit} (compress the stream, or store the data elsewhere and send its path or key)"
    )]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many fields.
    #[error("record has {count} fields, more than {FIELDS_MOST} (leave `.primitive()` out)")]
    TooManyFields {
        /// How many.
        count: usize,
    },
    /// It has no key that finds its partition.
    #[error(
        "the key of the record: {reason} (a key is a text, a whole number, a truth value or a list of those)"
    )]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// It is written in a way that this release does not know.
    #[error(
        "field `{FORMAT}`: the record is written as `{format}`, which this release does not know"
    )]
    Format {
        /// What it says.
        format: String,
    },
    /// A field is not what it should be.
    #[error("field `{field}`: {reason}")]
    Field {
        /// Which.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not what was expected.
    #[error("{reason}")]
    Read {
        /// What is missing or wrong.
        reason: String,
    },
}

impl Shape {
    pub(super) fn encode(self, record: &impl Serialize) -> Result<Fields, RecordError> {
        let fields = match self {
            Self::Primitive => primitive::encode(record)?,
            Self::Nested {
                serializer,
                compression,
            } => nested(record, serializer, compression)?,
        };
        check(&fields)?;
        Ok(fields)
    }
}

/// A record of JSON, as streams have it unless they say otherwise.
///
/// # Errors
/// [`RecordError`].
pub fn encode(record: &impl Serialize) -> Result<Fields, RecordError> {
    Shape::default().encode(record)
}

fn check(fields: &Fields) -> Result<(), RecordError> {
    let count = fields.len();
    if count > FIELDS_MOST {
        return Err(RecordError::TooManyFields { count });
    }
    within(fields.size(), RECORD_LIMIT)
}

const fn within(len: usize, limit: usize) -> Result<(), RecordError> {
    match len > limit {
        true => Err(RecordError::TooLarge { len, limit }),
        false => Ok(()),
    }
}

fn nested(
    record: &impl Serialize,
    serializer: Serializer,
    compression: Compression,
) -> Result<Fields, RecordError> {
    let unwritten = |reason: String| RecordError::Write { reason };
    let bytes = match serializer {
        Serializer::Json => serde_json::to_vec(record).map_err(|error| error.to_string()),
        Serializer::MessagePack => rmp_serde::to_vec_named(record).map_err(|e| e.to_string()),
    };
    let bytes = bytes.map_err(unwritten)?;
    within(bytes.len(), EXPANDED_LIMIT)?;
    let bytes = match compression {
        Compression::None => bytes,
        Compression::Lz4 => lz4_flex::compress_prepend_size(&bytes),
        Compression::Gzip => gzip(&bytes).map_err(|error| unwritten(error.to_string()))?,
    };
    let format = format(serializer, compression).map(|format| (FORMAT, format.as_bytes()));
    Ok([(DATA, bytes.as_slice())]
        .into_iter()
        .chain(format)
        .collect())
}

const fn format(serializer: Serializer, compression: Compression) -> Option<&'static str> {
    match (serializer, compression) {
        (Serializer::Json, Compression::None) => None,
        (Serializer::Json, Compression::Lz4) => Some("json+lz4"),
        (Serializer::Json, Compression::Gzip) => Some("json+gzip"),
        (Serializer::MessagePack, Compression::None) => Some("messagepack"),
        (Serializer::MessagePack, Compression::Lz4) => Some("messagepack+lz4"),
        (Serializer::MessagePack, Compression::Gzip) => Some("messagepack+gzip"),
    }
}

fn read_format(text: &[u8]) -> Result<(Serializer, Compression), RecordError> {
    for serializer in [Serializer::Json, Serializer::MessagePack] {
        for compression in [Compression::None, Compression::Lz4, Compression::Gzip] {
            if format(serializer, compression).map(str::as_bytes) == Some(text) {
                return Ok((serializer, compression));
            }
        }
    }
    let text = String::from_utf8_lossy(text);
    let format = text.chars().take(64).collect();
    Err(RecordError::Format { format })
}

/// A record from its fields, however they were written.
///
/// # Errors
/// [`RecordError`] names the field.
pub fn decode<T: DeserializeOwned>(fields: &Fields) -> Result<T, RecordError> {
    let Some(data) = fields.get(DATA) else {
        return primitive::decode(fields);
    };
    let (serializer, compression) = fields
        .get(FORMAT)
        .map_or_else(|| Ok(Default::default()), read_format)?;
    let wrong = |reason: String| RecordError::Field {
        field: DATA.into(),
        reason,
    };
    let expanded;
    let bytes = match compression {
        Compression::None => data,
        Compression::Lz4 => {
            expanded = unlz4(data).map_err(wrong)?;
            expanded.as_slice()
        }
        Compression::Gzip => {
            expanded = ungzip(data).map_err(wrong)?;
            expanded.as_slice()
        }
    };
    match serializer {
        Serializer::Json => serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string())),
        Serializer::MessagePack => unpack(bytes).map_err(wrong),
    }
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut rest = bytes;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    let record = T::deserialize(&mut decoder).map_err(|error| error.to_string())?;
    match rest.len() {
        0 => Ok(record),
        left => Err(format!("{left} bytes are left over")),
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn ungzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut expanded = Vec::new();
    let limit = EXPANDED_LIMIT as u64;
    let mut decoder = GzDecoder::new(bytes).take(limit + 1);
    let len = decoder.read_to_end(&mut expanded);
    let len = len.map_err(|error| format!("it cannot be expanded: {error}"))?;
    match len > EXPANDED_LIMIT {
        true => Err(too_large()),
        false => Ok(expanded),
    }
}

fn unlz4(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = |reason: String| format!("it cannot be expanded: {reason}");
    let (len, block) = bytes
        .split_first_chunk()
        .ok_or_else(|| wrong("it is cut short".into()))?;
    // Before anything is allocated for it.
    let len = u32::from_le_bytes(*len) as usize;
    if len > EXPANDED_LIMIT {
        return Err(too_large());
    }
    lz4_flex::decompress(block, len).map_err(|error| wrong(error.to_string()))
}

fn too_large() -> String {
    format!("it expands to more than {EXPANDED_LIMIT} bytes")
}

/// Whether nested records need this name for themselves.
pub(super) fn is_reserved(name: &str) -> bool {
    name == DATA
}

#[cfg(test)]
mod tests;
