//! Frames of all pipes and sockets.

use std::fmt::Debug;

use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{FromTask, FromZygote, InitReport, ToTask, ToZygote};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::examples::{frames, said_by_tasks};

/// What is understood is written and understood again.
fn is_stable<T: DeserializeOwned + Serialize + PartialEq + Debug>(
    body: &[u8],
) -> Result<(), TestCaseError> {
    if let Ok(message) = codec::decode::<T>(body) {
        let again = codec::body(&message).unwrap();
        prop_assert_eq!(codec::decode::<T>(&again).unwrap(), message);
    }
    Ok(())
}

fn taken(bytes: &[u8], piece: usize) -> (Vec<FromTask>, bool) {
    let mut assembler = Assembler::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        assembler.push(piece);
        loop {
            match assembler.next_frame::<FromTask>() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

proptest! {
    #[test]
    fn any_body_of_a_frame_is_read_or_refused(frame in crate::hostile(frames())) {
        let body = frame.get(codec::PREFIX..).unwrap_or_default();
        is_stable::<FromTask>(body)?;
        is_stable::<ToTask>(body)?;
        is_stable::<FromZygote>(body)?;
        is_stable::<InitReport>(body)?;
        if let Ok(message) = codec::decode_borrowed::<ToZygote<'_>>(body) {
            let again = codec::body(&message).unwrap();
            prop_assert_eq!(codec::decode_borrowed::<ToZygote<'_>>(&again).unwrap(), message);
        }
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        stream in crate::hostile(vec![said_by_tasks().concat()]),
        piece in 1..40_usize,
    ) {
        let (whole, is_good) = taken(&stream, usize::MAX);
        let (cut, is_still_good) = taken(&stream, piece);
        prop_assert_eq!((whole, is_good), (cut, is_still_good));
    }
}
