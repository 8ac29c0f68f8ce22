//! A store in memory that counts its calls and fails one of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::{Checkpoints, Keep, Kept};
use crate::broker::BrokerError;
use crate::name::CheckpointName;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Nothing is done.
    Before,
    /// It is done, and nobody is told.
    After,
}

#[derive(Debug, Default)]
struct Inside {
    kept: BTreeMap<String, Kept>,
    /// Every body that was ever written.
    written: Vec<Vec<u8>>,
    calls: usize,
    fails: Option<(usize, How)>,
}

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Inside>);

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store whose `n`-th call fails, counted from 0.
    pub(super) fn failing(n: usize, how: How) -> Arc<Self> {
        let memory = Self::default();
        memory.0.lock().unwrap().fails = Some((n, how));
        Arc::new(memory)
    }

    pub(super) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    pub(super) fn written(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().written.clone()
    }

    pub(super) fn body(&self, name: &str) -> Option<Vec<u8>> {
        let inside = self.0.lock().unwrap();
        inside.kept.get(name).map(|kept| kept.body.clone())
    }

    /// Puts something there that no checkpoint has written.
    pub(super) fn spoil(&self, name: &str, body: &[u8]) {
        let (version, body) = (7, body.to_vec());
        let mut inside = self.0.lock().unwrap();
        inside.kept.insert(name.into(), Kept { version, body });
    }

    fn call<T>(&self, call: impl FnOnce(&mut Inside) -> T) -> Result<T, BrokerError> {
        let mut inside = self.0.lock().unwrap();
        let number = inside.calls;
        inside.calls += 1;
        let away = || BrokerError::Away {
            reason: format!("call {number} fails"),
        };
        match inside.fails {
            Some((n, How::Before)) if n == number => Err(away()),
            Some((n, How::After)) if n == number => {
                call(&mut inside);
                Err(away())
            }
            _ => Ok(call(&mut inside)),
        }
    }
}

impl Checkpoints for Memory {
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        self.call(|inside| inside.kept.get(name.as_str()).cloned())
    }

    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError> {
        self.call(|inside| {
            let found = inside
                .kept
                .get(name.as_str())
                .map_or(0, |kept| kept.version);
            if found != version {
                return Keep::Stale;
            }
            let (version, body) = (version + 1, body.to_vec());
            inside.written.push(body.clone());
            let kept = Kept { version, body };
            inside.kept.insert(name.as_str().into(), kept);
            Keep::Written { version }
        })
    }

    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError> {
        self.call(|inside| inside.kept.remove(name.as_str()).is_some())
    }

    fn place_of(&self, name: &CheckpointName) -> String {
        format!("`memory/{name}`")
    }
}
