//! How arguments travel: the header says which way was taken.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Arguments, MessageError};

/// How a message's arguments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// For everybody to read.
    #[default]
    Json,
    /// Smaller, above all for numbers. What a task returns is JSON all the same.
    MessagePack,
}

/// Why arguments cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("arguments are no MessagePack: {0}")]
pub struct EncodingError(#[from] rmp_serde::decode::Error);

impl Encoding {
    /// Writes arguments.
    pub(super) fn write(self, arguments: &Arguments) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::Json => serde_json::to_vec(arguments).map_err(|source| MessageError::Argument {
                parameter: "*".into(),
                source,
            }),
            Self::MessagePack => {
                rmp_serde::to_vec_named(arguments).map_err(|error| MessageError::Argument {
                    parameter: "*".into(),
                    source: serde::ser::Error::custom(error),
                })
            }
        }
    }

    /// Arguments as JSON, whatever they were written in.
    ///
    /// # Errors
    /// [`EncodingError`]. What is said to be JSON is not looked at.
    pub fn to_json(self, payload: &[u8]) -> Result<Cow<'_, [u8]>, EncodingError> {
        match self {
            Self::Json => Ok(Cow::Borrowed(payload)),
            Self::MessagePack => {
                let arguments: Arguments = rmp_serde::from_slice(payload)?;
                let json = serde_json::to_vec(&arguments).expect("JSON values have JSON");
                Ok(Cow::Owned(json))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::flow::FlowError;

    #[test]
    fn arguments_come_back_from_messagepack_as_they_were() {
        let message = || {
            Message::new("add")
                .arg(300)
                .arg("x")
                .kwarg("list", [1.5, -2.0])
        };
        let json = message().build().unwrap();
        let packed = message().encoding(Encoding::MessagePack).build().unwrap();
        assert!(packed.payload.len() < json.payload.len());
        assert_eq!(packed.header.encoding, Some(Encoding::MessagePack));
        assert_eq!(json.header.encoding, None, "the usual way is not said");
        let back = Encoding::MessagePack.to_json(&packed.payload).unwrap();
        assert_eq!(back, json.payload);
        assert_eq!(Encoding::Json.to_json(b"?").unwrap(), &b"?"[..]);
        assert!(Encoding::MessagePack.to_json(b"{}").is_err());
    }

    #[test]
    fn what_follows_another_is_json() {
        let packed = Message::new("b").encoding(Encoding::MessagePack);
        let error = Message::new("a").callback(packed).build().unwrap_err();
        let MessageError::Flow(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(*error, FlowError::Packed { .. }));
    }
}
