//! Limits of a message as they are typed: `name=value`, or an object.

use bulkhead_shared::limits::Limits;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::line::kind;

/// Those of several options `--limit`: of one that is given twice the last counts.
pub(super) fn together(options: &[Limits]) -> Limits {
    let options = options.iter();
    options.fold(Limits::NONE, |all, one| one.or(all))
}

/// Reads the key `limits`.
pub(super) fn key<'de, D: Deserializer<'de>>(d: D) -> Result<Limits, D::Error> {
    let limits = match Value::deserialize(d)? {
        Value::Null => return Ok(Limits::NONE),
        Value::Object(limits) => limits,
        other => {
            return Err(Error::custom(format!(
                "`limits` is {} (write `{{\"cpu-time\": \"10s\", \"processes\": 4}}`)",
                kind(&other)
            )));
        }
    };
    let mut all = Limits::NONE;
    for (name, value) in limits {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        all = all.or(Limits::one(&name, &text).map_err(Error::custom)?);
    }
    Ok(all)
}
