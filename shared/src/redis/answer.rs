//! The server's answers as the types they are meant to be.

use redis::Value;

use super::trouble::Trouble;

/// A number.
pub(super) fn number(value: &Value) -> Result<i64, Trouble> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(unexpected(value)),
    }
}

/// A number that counts.
pub(super) fn count(value: &Value) -> Result<u64, Trouble> {
    u64::try_from(number(value)?).map_err(|_| unexpected(value))
}

/// A list.
pub(super) fn list(value: Value) -> Result<Vec<Value>, Trouble> {
    match value {
        Value::Array(list) | Value::Set(list) => Ok(list),
        _ => Err(unexpected(&value)),
    }
}

/// Bytes.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>, Trouble> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected(&value)),
    }
}

/// The items of a list, one after the other.
#[derive(Debug)]
pub(super) struct Items(std::vec::IntoIter<Value>);

impl Items {
    pub(super) fn of(value: Value) -> Result<Self, Trouble> {
        Ok(Self(list(value)?.into_iter()))
    }

    /// The next one, which must be there.
    pub(super) fn next(&mut self) -> Result<Value, Trouble> {
        self.0
            .next()
            .ok_or_else(|| Trouble::Nonsense("an answer is too short".into()))
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn unexpected(value: &Value) -> Trouble {
    // Its kind alone: it may hold what a user does not want to see in a log.
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a text",
        Value::Array(_) | Value::Set(_) => "a list",
        _ => "something",
    };
    Trouble::Nonsense(format!("{kind} is no answer to what was asked"))
}
