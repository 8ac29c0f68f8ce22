//! The fields of a record as one text of bytes, where a store does not keep them one by one.

use serde_bytes::ByteBuf;

/// Names and values, one after the other, each with its length before it.
pub(crate) fn pack(fields: &[(String, ByteBuf)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        for part in [name.as_bytes(), value.as_slice()] {
            // A record above a megabyte has been refused before.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

/// The fields that were packed; `None` if these bytes are something else.
pub(crate) fn unpack(mut bytes: &[u8]) -> Option<Vec<(String, ByteBuf)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let name = String::from_utf8(part(&mut bytes)?.to_vec()).ok()?;
        fields.push((name, ByteBuf::from(part(&mut bytes)?)));
    }
    Some(fields)
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            fields in prop::collection::vec((".{0,8}", prop::collection::vec(any::<u8>(), 0..20)), 0..5)
        ) {
            let fields: Vec<_> =
                fields.into_iter().map(|(name, value)| (name, ByteBuf::from(value))).collect();
            let packed = pack(&fields);
            prop_assert_eq!(unpack(&packed), Some(fields));
            for cut in 1..packed.len() {
                if let Some(some) = unpack(&packed[..cut]) {
                    prop_assert!(pack(&some) == packed[..cut]);
                }
            }
        }

        #[test]
        fn any_bytes_are_fields_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpack(&bytes);
        }
    }
}
