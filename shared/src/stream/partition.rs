//! Where a record goes: a hash of its key, the same for ever.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::record::RecordError;

/// The first eight bytes of a key's SHA-256, as a number with its highest byte first: what finds
/// the partition unless a stream has a hasher of its own.
///
/// Any language can do it. In Python:
/// `int.from_bytes(sha256(json.dumps(key, ensure_ascii=False, separators=(",", ":")).encode()).digest()[:8], "big")`,
/// modulo the number of partitions.
///
/// ```
/// # use bulkhead_shared::stream::sha256;
/// assert_eq!(sha256(b"\"ada\"") % 16, 5);
/// assert_eq!(sha256(b"42") % 16, 13);
/// ```
#[must_use]
pub fn sha256(key: &[u8]) -> u64 {
    let digest = Sha256::digest(key);
    let first = digest.iter().take(8);
    first.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The partition, of `count`, of records with this key: a text, a whole number, a truth value, or a
/// list of those.
///
/// # Errors
/// [`RecordError::Key`] for another key.
pub fn partition_of(key: &impl Serialize, count: u16) -> Result<u16, RecordError> {
    Ok(Hash::default().partition(&self::key(key)?, count))
}

/// A key as it is hashed: JSON without spaces.
pub(super) fn key(key: &impl Serialize) -> Result<Vec<u8>, RecordError> {
    let wrong = |reason: String| RecordError::Key { reason };
    let value = serde_json::to_value(key).map_err(|error| wrong(error.to_string()))?;
    if let Some(what) = unfit(&value) {
        return Err(wrong(what.into()));
    }
    serde_json::to_vec(&value).map_err(|error| wrong(error.to_string()))
}

/// What has more than one form as JSON is no key.
fn unfit(value: &Value) -> Option<&'static str> {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            Some("it is no whole number of 64 bits")
        }
        Value::Object(_) => Some("it has fields of its own"),
        Value::Array(items) => items.iter().find_map(unfit),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A program's own way from a key to a number.
type Own = dyn Fn(&[u8]) -> u64 + Send + Sync;

/// What becomes of a key.
#[derive(Clone, Default)]
pub(super) struct Hash(Option<Arc<Own>>);

impl Hash {
    pub(super) fn new(hash: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hash)))
    }

    pub(super) fn partition(&self, key: &[u8], count: u16) -> u16 {
        let hash = self
            .0
            .as_ref()
            .map_or_else(|| sha256(key), |hash| hash(key));
        let at = hash % u64::from(count.max(1));
        u16::try_from(at).expect("a rest is less than the count, which has 16 bits")
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("sha256", |_| "own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_keep_their_partitions_for_ever() {
        let golden: Vec<_> = ["", "ada", "bob", "gr\u{fc}n", "a\"b\n"]
            .iter()
            .map(|key| partition_of(key, 16).unwrap())
            .collect();
        assert_eq!(golden, [1, 5, 12, 15, 11]);
        let golden: Vec<_> = [0_i64, 1, 42, -7, i64::MAX]
            .iter()
            .map(|key| partition_of(key, 1_000).unwrap())
            .collect();
        assert_eq!(golden, [40, 913, 637, 525, 519]);
        assert_eq!(partition_of(&("eu", 7, true), 1_024), Ok(541));
        assert_eq!(sha256(b""), 0xe3b0_c442_98fc_1c14);
    }

    #[test]
    fn a_key_of_more_than_one_form_is_refused() {
        for (key, words) in [
            (serde_json::json!(1.5), "whole number"),
            (serde_json::json!({"a": 1}), "fields"),
            (serde_json::json!([1, [{}]]), "fields"),
        ] {
            let error = partition_of(&key, 16).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn keys_are_spread_over_all_partitions() {
        let mut counts = [0_u32; 16];
        for key in 0..16_000 {
            counts[usize::from(partition_of(&key, 16).unwrap())] += 1;
        }
        // About 1,000 each: six times the usual deviation is 190.
        assert!(
            counts.iter().all(|count| (810..1_190).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn a_partition_is_one_of_those_there_are(key in ".*", count in 1..=1_024_u16) {
            let first = partition_of(&key, count).unwrap();
            prop_assert!(first < count);
            prop_assert_eq!(partition_of(&key, count), Ok(first));
            prop_assert_eq!(partition_of(&Value::String(key), count), Ok(first));
        }
    }
}
