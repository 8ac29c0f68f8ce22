//! Opens a store by its URL.

use std::sync::Arc;

use crate::broker::{Broker, BrokerError};
use crate::catalog::Catalog;
use crate::checkpoint::Checkpoints;
use crate::control::Control;
use crate::journal::Journals;
use crate::lock::Locks;
use crate::name::Namespace;
use crate::schedule::Schedules;
use crate::stream::keep::Streams;
use crate::transit::Transit;

/// The store used where none is named.
pub const DEFAULT_URL: &str = "sqlite:bulkhead.db";

/// An opened store.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Moves jobs.
    pub broker: Arc<dyn Broker>,
    /// Reads jobs.
    pub catalog: Arc<dyn Catalog>,
    /// Pauses queues, clears namespaces.
    pub control: Arc<dyn Control>,
    /// Moves jobs to and from other stores.
    pub transit: Arc<dyn Transit>,
    /// Keeps schedules.
    pub schedules: Arc<dyn Schedules>,
    /// The namespace that was opened.
    pub namespace: Namespace,
    /// Holds locks.
    pub locks: Arc<dyn Locks>,
    /// Keeps what jobs remember.
    pub journals: Arc<dyn Journals>,
    /// Keeps checkpoints.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Keeps streams.
    pub streams: Arc<dyn Streams>,
}

/// Whether a store may be made where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make it.
    Create,
    /// Say that it is missing.
    Refuse,
}

/// How much an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of any process; after a power cut the last writes may be missing.
    #[default]
    Normal,
    /// A power cut.
    Full,
}

/// What to open.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite:PATH`, `sqlite::memory:`, `redis://host:6379/0` and its like.
    pub url: String,
    /// Everything of one installation.
    pub namespace: Namespace,
    /// Whether to make a store that is missing.
    pub missing: Missing,
    /// How much an acknowledged write survives.
    pub durability: Durability,
    /// Let the store's group read and write its files (0660 instead of 0600).
    pub group_access: bool,
}

impl Options {
    /// The store at `url` with the usual settings, made if it is missing.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            namespace: Namespace::default(),
            missing: Missing::Create,
            durability: Durability::Normal,
            group_access: false,
        }
    }
}

/// Opens the store that `options` names.
///
/// # Errors
/// [`BrokerError::Refused`] for a URL that no backend knows or a store that may not be used.
pub fn open(options: &Options) -> Result<Backend, BrokerError> {
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "a path is SQLite's")
    )]
    let (scheme, rest) = options.url.split_once(':').unwrap_or((&options.url, ""));
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => crate::sqlite::open(rest, options),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" | "unix" | "redis+sentinel" | "rediss+sentinel"
        | "redis+cluster" | "rediss+cluster" => crate::redis::open(&options.url, options),
        _ => Err(BrokerError::Refused {
            // Not the whole URL: it may hold a password.
            reason: format!(
                "no backend is called `{}`",
                scheme.chars().take(32).collect::<String>()
            ),
            way_out: "write `sqlite:PATH`, such as `sqlite:bulkhead.db`, or `redis://host:6379/0`"
                .into(),
        }),
    }
}
