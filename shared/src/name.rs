//! Names that cannot be built wrong: tasks, queues, namespaces, locks, streams, keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name in bytes: it is part of every key and row.
pub const MAX_BYTES: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was given.
    #[error("a {kind} name is empty (give it at least one letter)")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// More than [`MAX_BYTES`] bytes.
    #[error(
        "{kind} name `{start}...` has {len} bytes, more than {MAX_BYTES} (shorten it or hash the tail)"
    )]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// How the text begins.
        start: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A character that keys, lists or shells give a meaning to.
    #[error("{kind} name `{name}` contains {found:?} (use letters, digits and `_ - . : / @ +`)")]
    Character {
        /// What was to be named.
        kind: &'static str,
        /// The text.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
}

fn check(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > MAX_BYTES {
        let start = name.chars().take(24).collect();
        return Err(NameError::TooLong {
            kind,
            start,
            len: name.len(),
        });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/@+".contains(c);
    match name.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(NameError::Character {
            kind,
            name: name.into(),
            found,
        }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `name` and takes it.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with it and what is allowed.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($kind, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// The name of a task: a function registered in a child binary.
    TaskName, "task"
);
name!(
    /// The name of a queue: a line of jobs.
    QueueName, "queue"
);
name!(
    /// The name of a schedule: a trigger and what it starts.
    ScheduleName, "schedule"
);
name!(
    /// The name of a namespace: everything of one installation in a shared store.
    Namespace, "namespace"
);
name!(
    /// The name of a lock: one of each in a namespace.
    LockName, "lock"
);
name!(
    /// Who holds a lock.
    LockOwner, "owner"
);
name!(
    /// The name of a checkpoint: how far somebody has come.
    CheckpointName, "checkpoint"
);
name!(
    /// The name of a stream: records in order, in partitions.
    StreamName, "stream"
);
name!(
    /// What jobs have in common that are counted together, or of which one is enough.
    Key, "key"
);

impl Default for QueueName {
    /// `default`: where a message goes that names no queue and whose task names none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for Namespace {
    /// `bulkhead`.
    fn default() -> Self {
        Self("bulkhead".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_over_long_name_is_refused_with_its_length_and_a_way_out() {
        let error = TaskName::new(&"x".repeat(129)).unwrap_err().to_string();
        assert!(
            error.contains("129 bytes") && error.contains("shorten"),
            "{error}"
        );
    }

    #[test]
    fn a_name_with_braces_is_refused_because_keys_use_them() {
        assert!(matches!(
            QueueName::new("a{b}"),
            Err(NameError::Character { found: '{', .. })
        ));
    }

    #[test]
    fn names_survive_json() {
        let name = QueueName::new("mail.eu-1").unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<QueueName>(&json).unwrap(), name);
        assert!(serde_json::from_str::<QueueName>("\"\"").is_err());
    }
}
