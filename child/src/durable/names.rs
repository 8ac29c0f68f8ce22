//! How calls are told apart: by their place in a sequence, or by a name.

use super::Durable;
use super::error::DurableError;

/// Longest name, in bytes.
const LONGEST_NAME: usize = 64;

/// Longest place: names within names.
const LONGEST_PLACE: usize = 250;

impl Durable {
    /// The place of the next call.
    pub(super) fn place(&self) -> Result<String, DurableError> {
        let memory = self.memory();
        match &self.name {
            Some(name) => memory.name(name.clone()),
            None => Ok(memory.next_place(&self.scope)),
        }
    }

    /// A name within this scope.
    pub(super) fn named_as(&self, name: &str) -> Result<String, DurableError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let is_name = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && name.chars().all(is_allowed)
            && !name.starts_with(|c: char| c.is_ascii_digit());
        let full = format!("{}{name}", self.scope);
        if is_name && full.len() <= LONGEST_PLACE {
            return Ok(full);
        }
        let name = name.chars().take(80).collect();
        Err(DurableError::Name { name })
    }
}
