//! How frames become bytes: a u32 length (little endian), then bincode. The only file that
//! names bincode.
//!
//! Lengths are checked before anything is allocated, and every decode has a limit: without one,
//! ten hostile bytes that claim a terabyte abort the process.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::PAYLOAD_LIMIT;

/// Largest frame in bytes: the largest payload or result, and 1 MiB for what surrounds it.
pub const FRAME_LIMIT: usize = PAYLOAD_LIMIT + (1 << 20);

/// Largest frame to a task: the largest payload, the largest previous result, and what surrounds
/// them.
pub const RUN_LIMIT: usize = FRAME_LIMIT + PAYLOAD_LIMIT;

/// Length of the length.
pub const PREFIX: usize = 4;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is over the limit.
    #[error("frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// What the prefix claims, or what was to be sent.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes have no meaning here.
    #[error("frame cannot be decoded: {reason}")]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<RUN_LIMIT>()
}

/// `message` as a frame body, without its length.
///
/// # Errors
/// [`FrameError::TooLong`] if it is over [`RUN_LIMIT`].
pub fn body(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = bincode::serde::encode_to_vec(message, config()).map_err(|error| {
        FrameError::Malformed {
            reason: error.to_string(),
        }
    })?;
    if body.len() > RUN_LIMIT {
        return Err(FrameError::TooLong {
            len: body.len(),
            limit: RUN_LIMIT,
        });
    }
    Ok(body)
}

/// `message` as a frame: its length, then its body.
///
/// # Errors
/// As [`body`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = body(message)?;
    let len = u32::try_from(body.len()).expect("a body is at most RUN_LIMIT bytes");
    let mut frame = Vec::with_capacity(PREFIX + body.len());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// `message` as a frame at the start of `buffer`, and the frame's length; `None` if it does not
/// fit. Allocates nothing for messages of plain numbers: for signal handlers.
pub fn encode_into(message: &impl Serialize, buffer: &mut [u8]) -> Option<usize> {
    let (prefix, body) = buffer.split_first_chunk_mut::<PREFIX>()?;
    let len = body_into(message, body)?;
    *prefix = u32::try_from(len).ok()?.to_le_bytes();
    Some(PREFIX + len)
}

/// [`body`] at the start of `buffer`, and its length; `None` if it does not fit. Allocates as
/// little as [`encode_into`].
pub fn body_into(message: &impl Serialize, buffer: &mut [u8]) -> Option<usize> {
    bincode::serde::encode_into_slice(message, buffer, config()).ok()
}

/// The message in a frame body; every byte must have been used.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    decode_borrowed(body)
}

/// [`decode`] for messages that may keep a part of `body`.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode_borrowed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, FrameError> {
    let malformed = |reason: String| FrameError::Malformed { reason };
    let (message, used) = bincode::serde::borrow_decode_from_slice(body, config())
        .map_err(|error| malformed(error.to_string()))?;
    if used != body.len() {
        return Err(malformed(format!(
            "{} bytes are left over",
            body.len() - used
        )));
    }
    Ok(message)
}

/// The length of the frame that begins with `prefix`.
///
/// # Errors
/// [`FrameError::TooLong`] if it is over `limit`.
pub fn frame_len(prefix: [u8; PREFIX], limit: usize) -> Result<usize, FrameError> {
    let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if len > limit {
        Err(FrameError::TooLong { len, limit })
    } else {
        Ok(len)
    }
}

/// Takes frames out of a stream of bytes that arrives in pieces.
#[derive(Debug)]
pub struct Assembler {
    bytes: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::up_to(FRAME_LIMIT)
    }
}

impl Assembler {
    /// For frames of at most `limit` bytes.
    #[must_use]
    pub const fn up_to(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            limit,
        }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `N` bytes that have not been taken, once they are there. They stay.
    #[must_use]
    pub fn first<const N: usize>(&self) -> Option<[u8; N]> {
        self.bytes.get(self.start..)?.first_chunk::<N>().copied()
    }

    /// The first `N` bytes that have not been taken, once they are there.
    pub fn take_exact<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.first()?;
        self.start += N;
        Some(bytes)
    }

    /// The next frame's message, once all of it is there.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be read any further.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some(prefix) = rest.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = frame_len(*prefix, self.limit)?;
        let Some(body) = rest.get(PREFIX..PREFIX + len) else {
            return Ok(None);
        };
        let message = decode(body)?;
        self.start += PREFIX + len;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > 1 << 16 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(message))
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FromTask;
    use proptest::prelude::*;

    #[test]
    fn ten_bytes_that_claim_a_terabyte_are_an_error_not_an_abort() {
        // Variant 1 (Progress), nonce 0, then a byte string of 2^40 bytes.
        let mut hostile = vec![1, 0, 253];
        hostile.extend_from_slice(&(1u64 << 40).to_le_bytes());
        assert!(decode::<FromTask>(&hostile).is_err());
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let mut frames = Assembler::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            frames.next_frame::<FromTask>(),
            Err(FrameError::TooLong { .. })
        ));
    }

    #[test]
    fn a_frame_built_in_place_has_the_bytes_of_one_on_the_heap() {
        let message = FromTask::AllocationFailed {
            nonce: u64::MAX,
            bytes: 1 << 40,
        };
        let mut buffer = [0; 64];
        let len = encode_into(&message, &mut buffer).unwrap();
        assert_eq!(buffer[..len], encode(&message).unwrap());
        assert_eq!(encode_into(&message, &mut buffer[..len - 1]), None);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode::<FromTask>(&bytes);
            let mut frames = Assembler::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.next_frame::<FromTask>() {}
        }

        #[test]
        fn frames_come_out_as_they_went_in_however_they_were_cut(
            details in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
            cut in 1usize..64,
        ) {
            let sent: Vec<_> = details.into_iter().enumerate().map(|(i, d)| FromTask::Progress {
                nonce: i as u64, details: serde_bytes::ByteBuf::from(d),
            }).collect();
            let stream: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
            let mut frames = Assembler::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.next_frame::<FromTask>().unwrap() { got.push(message); }
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!(frames.pending(), 0);
        }
    }
}
