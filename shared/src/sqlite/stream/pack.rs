//! Events of one send as one row: many small rows cost more to write and to read than what is in them.
//!
//! A row has the place of its last event. Of one event it holds the fields as they are packed; of
//! more, for each of them its id and the length of its fields (16 and 4 bytes, the lowest first), then
//! the fields.

use crate::stream::{EventId, Place};

/// Bytes in one row, if it has more than one event. SQLite takes a row of a little more, 1,002 bytes with
/// all its columns, out of its page; then it reads whole rows to find the place of another.
const BYTES_MOST: usize = 960;

/// What is before the fields of an event.
const HEAD: usize = 20;

/// A row that is being filled.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) last: Place,
    pub(super) count: u32,
    /// With the head of each event.
    bytes: Vec<u8>,
}

impl Pack {
    pub(super) fn new(place: Place, fields: &[u8]) -> Self {
        let mut pack = Self {
            last: place,
            count: 0,
            bytes: Vec::with_capacity(HEAD + fields.len()),
        };
        pack.push(place, fields);
        pack
    }

    /// Whether one more fits.
    pub(super) fn has_room(&self, fields: &[u8]) -> bool {
        self.bytes.len() + HEAD + fields.len() <= BYTES_MOST
    }

    /// The event behind the last one.
    pub(super) fn push(&mut self, place: Place, fields: &[u8]) {
        let len = u32::try_from(fields.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&place.id.ms.to_le_bytes());
        self.bytes.extend_from_slice(&place.id.seq.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(fields);
        (self.last, self.count) = (place, self.count + 1);
    }

    /// As the row holds it.
    pub(super) fn bytes(&self) -> &[u8] {
        match self.count {
            1 => &self.bytes[HEAD..],
            _ => &self.bytes,
        }
    }
}

/// A row as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) last: Place,
    pub(super) count: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Its events, in order, with their fields as they should be packed; `None` is where the row makes no
    /// sense, and nothing after it does.
    pub(super) fn events(self) -> impl Iterator<Item = Option<(Place, &'a [u8])>> {
        let Self { last, count, bytes } = self;
        let before = last.position.checked_sub(count);
        let mut rest = bytes;
        // Of none there is one that makes no sense.
        (1..=count.max(1)).map(move |nth| {
            let (id, fields) = match count {
                1 => (last.id, std::mem::take(&mut rest)),
                _ => event(&mut rest)?,
            };
            let position = before? + nth;
            let is_whole = nth < count || rest.is_empty() && id == last.id;
            let place = Place { position, id };
            is_whole.then_some((place, fields))
        })
    }
}

fn event<'a>(bytes: &mut &'a [u8]) -> Option<(EventId, &'a [u8])> {
    let (ms, rest) = bytes.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (fields, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    let (ms, seq) = (u64::from_le_bytes(*ms), u64::from_le_bytes(*seq));
    Some((EventId { ms, seq }, fields))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{Fields, are_packed};

    fn place(position: u64) -> Place {
        let (ms, seq) = (1_000 + position / 3, position % 3);
        let id = EventId { ms, seq };
        Place { position, id }
    }

    fn packed(pack: &Pack) -> Packed<'_> {
        Packed {
            last: pack.last,
            count: pack.count.into(),
            bytes: pack.bytes(),
        }
    }

    proptest! {
        #[test]
        fn events_come_out_as_they_went_in(
            first in 1..1_000_u64,
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..300),
        ) {
            let fields = values.iter().map(|value| [("f", value)].into_iter().collect());
            let fields: Vec<Fields> = fields.collect();
            let mut packs: Vec<Pack> = Vec::new();
            for (fields, position) in fields.iter().zip(first..) {
                match packs.last_mut() {
                    Some(pack) if pack.has_room(fields.packed()) => {
                        pack.push(place(position), fields.packed());
                    }
                    _ => packs.push(Pack::new(place(position), fields.packed())),
                }
            }
            let events: Vec<_> = packs.iter().flat_map(|pack| packed(pack).events()).collect();
            let sent = fields.iter().zip(first..);
            let sent = sent.map(|(fields, position)| Some((place(position), fields.packed())));
            prop_assert!(events.into_iter().eq(sent));
            prop_assert!(packs.iter().all(|pack| pack.bytes().len() <= BYTES_MOST));
            prop_assert!(packs.len() <= values.len().div_ceil(4));
        }

        #[test]
        fn what_is_no_row_of_that_many_events_is_told_apart(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            count in prop_oneof![0..5_u64, any::<u64>()],
            cut in any::<prop::sample::Index>(),
        ) {
            let mut pack = Pack::new(place(5), b"");
            pack.push(place(6), b"");
            pack.push(place(7), b"");
            let whole = packed(&pack);
            let is_good = |row: Packed<'_>| row.events().all(|event| event.is_some_and(|(_, fields)| are_packed(fields)));
            prop_assert!(is_good(whole));
            prop_assert_eq!(is_good(Packed { count, ..whole }), count == 3);
            let cut = &whole.bytes[..cut.index(whole.bytes.len())];
            let cut = Packed { bytes: cut, ..whole };
            prop_assert!(!is_good(cut));
            let other = Packed { bytes: &bytes, count, ..whole };
            let _ = other.events().take(9).count();
        }
    }
}
