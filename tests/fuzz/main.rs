//! Hostile bytes for everything that is read from pipes and stores: nothing panics, nothing grows,
//! and what is understood is understood the same way again.
//!
//! Each target changes good examples at random, with `proptest`: it works on the stable toolchain, finds
//! the smallest failing input by itself, and is there already. It is not guided by coverage. A
//! run here takes a second; `PROPTEST_CASES=100000000 timeout 600 cargo nextest run ...` takes as long
//! as you like.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod commands;
mod envelopes;
mod examples;
mod frames;
mod stored;

use proptest::prelude::*;
use proptest::sample::Index;

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        // Bytes with a meaning: marks of numbers, JSON, braces, the ends of ranges.
        (
            at(),
            prop::sample::select(&b"\x00\xff\xfb\xfc\xfd\xfe{}[]\",:-0129e\\u\n"[..])
        )
            .prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), any::<u8>()).prop_map(|(at, count)| Edit::Remove(at, count)),
        (at(), any::<u8>()).prop_map(|(at, count)| Edit::Repeat(at, count)),
        at().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match edit {
        Edit::Set(at, byte) => bytes[at.index(len)] = *byte,
        Edit::Insert(at, more) => {
            let at = at.index(len);
            bytes.splice(at..at, more.iter().copied());
        }
        Edit::Remove(at, count) => {
            let at = at.index(len);
            bytes.drain(at..len.min(at + usize::from(*count)));
        }
        Edit::Repeat(at, count) => {
            let at = at.index(len);
            let part = bytes[at..len.min(at + usize::from(*count))].to_vec();
            bytes.splice(at..at, part);
        }
        Edit::Cut(at) => bytes.truncate(at.index(len)),
    }
}

/// One of these, changed a few times; now and then nothing like them.
fn hostile(examples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec(edit(), 0..6);
    let changed = (prop::sample::select(examples), edits).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        bytes
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}
