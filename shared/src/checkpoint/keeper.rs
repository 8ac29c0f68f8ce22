//! Keeps one record in a store, and knows what it does not know: after a write that failed it may
//! be there or not.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::seal::{seal, unseal};
use super::{Broken, CheckpointError, Checkpoints, Keep, Kept};
use crate::name::CheckpointName;

/// What is known about the stored record.
#[derive(Debug, Clone)]
enum Known {
    /// Nothing.
    Unread,
    /// Its version; 0 if there is none.
    At(u64),
    /// A write failed: it is the record of version `before`, or has this body.
    Doubt { before: u64, body: Vec<u8> },
    /// Somebody else has changed it.
    Lost,
}

/// One record of type `T`.
#[derive(Debug)]
pub(super) struct Keeper<T> {
    store: Arc<dyn Checkpoints>,
    name: CheckpointName,
    kind: &'static str,
    known: Known,
    holds: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Keeper<T> {
    pub(super) fn new(
        store: Arc<dyn Checkpoints>,
        name: CheckpointName,
        kind: &'static str,
    ) -> Self {
        Self {
            store,
            name,
            kind,
            known: Known::Unread,
            holds: PhantomData,
        }
    }

    pub(super) const fn name(&self) -> &CheckpointName {
        &self.name
    }

    /// Whether the record is the one that was read or written last, as far as this keeper knows.
    pub(super) const fn is_known(&self) -> bool {
        matches!(self.known, Known::At(_))
    }

    /// What is stored, whoever wrote it. Writes nothing.
    pub(super) fn read(&mut self) -> Result<Option<T>, CheckpointError> {
        let kept = self.store.checkpoint(&self.name)?;
        let found = self.open(kept.as_ref())?;
        self.known = Known::At(kept.map_or(0, |kept| kept.version));
        Ok(found)
    }

    /// What is stored, unless somebody else has changed it since this keeper read it.
    pub(super) fn read_own(&mut self) -> Result<Option<T>, CheckpointError> {
        let kept = self.store.checkpoint(&self.name)?;
        let version = kept.as_ref().map_or(0, |kept| kept.version);
        let is_own = match &self.known {
            Known::Unread => true,
            Known::At(known) => version == *known,
            Known::Doubt { before, body } => {
                version == *before || kept.as_ref().is_some_and(|kept| kept.body == *body)
            }
            Known::Lost => false,
        };
        if !is_own {
            self.known = Known::Lost;
            return Err(self.overtaken());
        }
        let found = self.open(kept.as_ref())?;
        self.known = Known::At(version);
        Ok(found)
    }

    /// Whether the stored record is still the one that is known. If it is not, it is to be read.
    pub(super) fn is_current(&mut self) -> Result<bool, CheckpointError> {
        let kept = self.store.checkpoint(&self.name)?;
        let version = kept.map_or(0, |kept| kept.version);
        let is_current = matches!(self.known, Known::At(known) if known == version);
        if !is_current {
            self.known = Known::Lost;
        }
        Ok(is_current)
    }

    /// Writes over the record that is known. Without one, it is [`Self::overtaken`].
    pub(super) fn write(&mut self, content: &T) -> Result<(), CheckpointError> {
        let Known::At(before) = self.known else {
            return Err(self.overtaken());
        };
        let content = serde_json::to_vec(content).map_err(|error| self.broken(&error))?;
        let body = seal(self.kind, &content);
        match self.store.keep(&self.name, before, &body) {
            Ok(Keep::Written { version }) => {
                self.known = Known::At(version);
                Ok(())
            }
            Ok(Keep::Stale) => {
                self.known = Known::Lost;
                Err(self.overtaken())
            }
            Ok(Keep::Full) => Err(CheckpointError::Full {
                name: self.name.clone(),
            }),
            Err(error) => {
                self.known = Known::Doubt { before, body };
                Err(error.into())
            }
        }
    }

    pub(super) fn overtaken(&self) -> CheckpointError {
        CheckpointError::Overtaken {
            place: self.store.place_of(&self.name),
        }
    }

    fn open(&self, kept: Option<&Kept>) -> Result<Option<T>, CheckpointError> {
        let Some(kept) = kept else {
            return Ok(None);
        };
        let body = unseal(self.kind, &kept.body).map_err(|what| self.damaged(what))?;
        let content = serde_json::from_slice(body).map_err(|error| self.broken(&error))?;
        Ok(Some(content))
    }

    fn broken(&self, error: &serde_json::Error) -> CheckpointError {
        self.damaged(Broken::Content(error.to_string()))
    }

    fn damaged(&self, what: Broken) -> CheckpointError {
        CheckpointError::Damaged {
            place: self.store.place_of(&self.name),
            what,
        }
    }
}
