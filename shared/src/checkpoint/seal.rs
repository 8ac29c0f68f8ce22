//! The form of a record: a line that says what it is, how long and with which sum, then the bytes.
//!
//! So a record that was torn, changed or never one of ours is told from a good one. Pure.

const HEAD: &str = "bulkhead-checkpoint-1 ";

/// Longest first line: that of a longer one is not read.
const LINE: usize = 100;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Somebody else wrote it.
    #[error("it does not begin as a checkpoint does")]
    Foreign,
    /// It is a checkpoint of another kind.
    #[error("it is a checkpoint of kind `{found}`, not `{wanted}`")]
    Kind {
        /// What it says it is.
        found: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Some of it is missing, or there is more of it.
    #[error("it has {found} bytes where {said} were written")]
    Torn {
        /// How many there are.
        found: usize,
        /// How many it says there should be.
        said: usize,
    },
    /// Its bytes are not those that were written.
    #[error("its bytes are not those that were written")]
    Changed,
    /// It is whole and makes no sense.
    #[error("its content makes no sense: {0}")]
    Content(String),
}

/// FNV-1a over 64 bits: a change of one byte always changes it.
fn sum(kind: &str, body: &[u8]) -> u64 {
    let bytes = kind.as_bytes().iter().chain(body);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A record of that kind, which is a word.
pub(super) fn seal(kind: &str, body: &[u8]) -> Vec<u8> {
    let (length, sum) = (body.len(), sum(kind, body));
    let mut sealed = format!("{HEAD}{kind} {length} {sum:016x}\n").into_bytes();
    sealed.extend_from_slice(body);
    sealed
}

/// What a record of that kind holds.
pub(super) fn unseal<'a>(kind: &'static str, record: &'a [u8]) -> Result<&'a [u8], Broken> {
    let line = &record[..record.len().min(LINE)];
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = std::str::from_utf8(&line[..end.unwrap_or(line.len())]);
    let words = line.ok().and_then(|line| line.strip_prefix(HEAD));
    let mut words = words.ok_or(Broken::Foreign)?.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (found, length, said) = (word(), word(), word());
    let (Some(end), None) = (end, words.next()) else {
        return Err(Broken::Foreign);
    };
    if found != kind {
        let found = found.into();
        let wanted = kind;
        return Err(Broken::Kind { found, wanted });
    }
    let body = &record[end + 1..];
    let length: usize = length.parse().map_err(|_| Broken::Foreign)?;
    if length != body.len() {
        let found = body.len();
        return Err(Broken::Torn {
            found,
            said: length,
        });
    }
    if said != format!("{:016x}", sum(kind, body)) {
        return Err(Broken::Changed);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written_and_no_part_of_it_is(
            body in proptest::collection::vec(any::<u8>(), 0..200), cut in any::<proptest::sample::Index>(),
        ) {
            let sealed = seal("offset", &body);
            prop_assert_eq!(unseal("offset", &sealed), Ok(&body[..]));
            let part = &sealed[..cut.index(sealed.len())];
            prop_assert!(unseal("offset", part).is_err());
            let mut longer = sealed.clone();
            longer.push(b'\n');
            prop_assert!(unseal("offset", &longer).is_err());
        }

        #[test]
        fn a_changed_byte_is_seen(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(), by in 1u8..,
        ) {
            let mut sealed = seal("offset", &body);
            let at = at.index(sealed.len());
            sealed[at] ^= by;
            // The digits of a length may get a leading `+` or zeros; nothing else is read alike.
            prop_assert!(unseal("offset", &sealed).is_err());
        }

        #[test]
        fn whatever_bytes_there_are_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(unseal("offset", &bytes).is_err());
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let sealed = seal("offset", b"12");
        let said = |bytes: &[u8]| unseal("offset", bytes).unwrap_err().to_string();
        assert!(said(b"").contains("does not begin"));
        assert!(said(b"{\"offset\": 3}").contains("does not begin"));
        assert!(said(&sealed[..sealed.len() - 1]).contains("1 bytes where 2"));
        assert!(said(&seal("pulse", b"12")).contains("kind `pulse`, not `offset`"));
        let mut changed = sealed;
        *changed.last_mut().unwrap() = b'3';
        assert!(said(&changed).contains("not those that were written"));
    }
}
