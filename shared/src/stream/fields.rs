//! The fields of a record as one run of bytes: made once, and passed on by stores and the wire without
//! another look at what is in them.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "sqlite")]
use super::keep::READ_BYTES;
use super::{Event, Place};

/// Bytes of the length before a name or a value.
const LENGTH: usize = 4;

/// Named fields, in the order in which they were sent. A copy shares its bytes with the original.
///
/// ```
/// use bulkhead_shared::stream::Fields;
///
/// let fields: Fields = [("colour", "red"), ("size", "7")].into_iter().collect();
/// assert_eq!(fields.get("size"), Some(b"7".as_slice()));
/// assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["colour", "size"]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Fields(Bytes);

impl Fields {
    /// Fields that were kept as [`Fields::packed`]; `None` if these bytes are something else.
    #[cfg(any(feature = "redis", feature = "sqlite"))]
    pub(crate) fn unpack(bytes: Bytes) -> Option<Self> {
        are_packed(&bytes).then_some(Self(bytes))
    }

    /// Names and values, one after the other, each with its length before it.
    #[cfg(any(feature = "redis", feature = "sqlite"))]
    pub(crate) fn packed(&self) -> &[u8] {
        &self.0
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let text = |(name, value)| Some((std::str::from_utf8(name).ok()?, value));
        self.pairs().map_while(text)
    }

    /// The same, but names are not looked at again.
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.0.as_ref();
        std::iter::from_fn(move || Some((part(&mut rest)?, part(&mut rest)?)))
    }

    /// The value of the first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.pairs();
        let found = fields.find(|(found, _)| *found == name.as_bytes());
        found.map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len() - 2 * LENGTH * self.len()
    }
}

/// Whether these are fields as [`Fields::packed`] has them.
#[cfg(any(feature = "redis", feature = "sqlite"))]
pub(crate) fn are_packed(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let name = part(&mut bytes).map(std::str::from_utf8);
        if !matches!(name, Some(Ok(_))) || part(&mut bytes).is_none() {
            return false;
        }
    }
    true
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn push(packed: &mut Vec<u8>, part: &[u8]) -> Result<(), std::num::TryFromIntError> {
    packed.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
    packed.extend_from_slice(part);
    Ok(())
}

/// # Panics
/// If a name or a value has 4 GiB or more: records end far below that.
impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut packed = Vec::new();
        for (name, value) in fields {
            for part in [name.as_ref().as_bytes(), value.as_ref()] {
                push(&mut packed, part).expect("a field of a record has less than 4 GiB");
            }
        }
        Self(packed.into())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.iter();
        let texts = texts.map(|(name, value)| (name, String::from_utf8_lossy(value)));
        f.debug_map().entries(texts).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_text = serializer.is_human_readable();
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        let bytes = serde_bytes::Bytes::new;
        match is_text {
            true => self
                .iter()
                .try_for_each(|(name, value)| list.serialize_element(&(name, bytes(value))))?,
            // Bytes and text are written alike, and nobody has to look for what is no text.
            false => self.pairs().try_for_each(|(name, value)| {
                list.serialize_element(&(bytes(name), bytes(value)))
            })?,
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut packed = Vec::new();
        List(&mut packed).deserialize(deserializer)?;
        Ok(Self(packed.into()))
    }
}

/// Events whose fields lie in one run of bytes.
#[derive(Default)]
pub(crate) struct Together {
    packed: Vec<u8>,
    ends: Vec<(Place, usize)>,
}

impl Together {
    /// One more, of packed fields.
    #[cfg(feature = "sqlite")]
    pub(crate) fn push(&mut self, place: Place, packed: &[u8]) {
        self.packed.extend_from_slice(packed);
        self.ends.push((place, self.packed.len()));
    }

    #[cfg(feature = "sqlite")]
    pub(crate) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether one more of that length would be too much for an answer with at most so many events.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_enough(&self, most: u32, len: usize) -> bool {
        let count = self.ends.len();
        count >= most as usize || count > 0 && self.packed.len() + len > READ_BYTES
    }

    pub(crate) fn into_events(self) -> Vec<Event> {
        let (bytes, mut from) = (Bytes::from(self.packed), 0);
        let ends = self.ends.into_iter();
        ends.map(|(place, end)| {
            let packed = bytes.slice(std::mem::replace(&mut from, end)..end);
            let fields = Fields(packed);
            Event { place, fields }
        })
        .collect()
    }

    /// Reads a list of events of the wire: each is its place and its fields.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn read<'de, D: Deserializer<'de>>(wire: D) -> Result<Vec<Event>, D::Error> {
        wire.deserialize_seq(Self::default())
    }
}

impl<'de> Visitor<'de> for Together {
    type Value = Vec<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Vec<Event>, A::Error> {
        while let Some(place) = list.next_element_seed(One(&mut self.packed))? {
            self.ends.push((place, self.packed.len()));
        }
        Ok(self.into_events())
    }
}

/// Reads one event of the wire.
struct One<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut event: A) -> Result<Place, A::Error> {
        let missing = |at| A::Error::invalid_length(at, &"a place and fields");
        let place = event.next_element()?.ok_or_else(|| missing(0))?;
        let fields = event.next_element_seed(List(self.0))?;
        fields.ok_or_else(|| missing(1))?;
        Ok(place)
    }
}

/// Reads a list of pairs into a run of bytes.
struct List<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names and values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Pair(self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads one name and its value.
struct Pair<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        let missing = |at| A::Error::invalid_length(at, &"a name and a value");
        let packed = self.0;
        let name = pair.next_element_seed(Part::Name(packed))?;
        name.ok_or_else(|| missing(0))?;
        let value = pair.next_element_seed(Part::Value(packed))?;
        value.ok_or_else(|| missing(1))
    }
}

/// Reads one of the two.
enum Part<'a> {
    Name(&'a mut Vec<u8>),
    Value(&'a mut Vec<u8>),
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Self::Name(_) => deserializer.deserialize_str(self),
            Self::Value(_) => deserializer.deserialize_bytes(self),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name(_) => "a name",
            Self::Value(_) => "bytes",
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<(), E> {
        let (Self::Name(packed) | Self::Value(packed)) = self;
        push(packed, bytes).map_err(E::custom)
    }

    /// As JSON has bytes.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self::Value(_) = self else {
            return Err(A::Error::custom("a name is a text"));
        };
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::codec;

    fn pairs() -> impl Strategy<Value = Vec<(String, ByteBuf)>> {
        let value = prop::collection::vec(any::<u8>(), 0..20).prop_map(ByteBuf::from);
        prop::collection::vec((".{0,8}", value), 0..5)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(pairs in pairs()) {
            let fields: Fields = pairs.clone().into_iter().collect();
            let sizes = pairs.iter().map(|(name, value)| name.len() + value.len());
            prop_assert_eq!((fields.len(), fields.size()), (pairs.len(), sizes.sum()));
            let again = fields.iter().map(|(name, value)| (name.into(), ByteBuf::from(value)));
            prop_assert!(again.eq(pairs));
            let packed = fields.packed();
            prop_assert_eq!(Fields::unpack(Bytes::copy_from_slice(packed)), Some(fields.clone()));
            for cut in 1..packed.len() {
                if let Some(some) = Fields::unpack(Bytes::copy_from_slice(&packed[..cut])) {
                    prop_assert_eq!(some.packed(), &packed[..cut]);
                    prop_assert_eq!(&some.iter().collect::<Fields>(), &some);
                }
            }
        }

        #[test]
        fn any_bytes_are_fields_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(fields) = Fields::unpack(bytes.clone().into()) {
                prop_assert_eq!(fields.packed(), bytes);
                prop_assert_eq!(&fields.iter().collect::<Fields>(), &fields);
            }
        }

        #[test]
        fn on_the_wire_they_are_a_list_of_pairs(pairs in pairs()) {
            let fields: Fields = pairs.clone().into_iter().collect();
            let body = codec::body(&fields).unwrap();
            prop_assert_eq!(&body, &codec::body(&pairs).unwrap());
            prop_assert_eq!(codec::decode::<Fields>(&body).unwrap(), fields.clone());
            let text = serde_json::to_string(&fields).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&pairs).unwrap());
            prop_assert_eq!(serde_json::from_str::<Fields>(&text).unwrap(), fields);
        }
    }

    #[test]
    fn what_is_no_list_of_pairs_is_refused() {
        for (text, words) in [
            (r#"[["a"]]"#, "expected a name and a value"),
            (r#"[[[1], [2]]]"#, "expected a name"),
            (r#"[["a", 1]]"#, "expected bytes"),
            ("{}", "expected a list of names and values"),
        ] {
            let error = serde_json::from_str::<Fields>(text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
